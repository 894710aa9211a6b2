"""Every check of a cell that needs no data, no weights and no torch.

The run, `dry_run`, `memory`, `plan` and `prefetch` call it, so that a grid never launches a cell that would end with
exit 2.
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uora_bench.config import registry
from uora_bench.config.cell import BackboneConfig, Cell, Settings, TaskConfig
from uora_bench.config.data_source import IMAGE_FOLDER, OWN_ROWS
from uora_bench.config.metrics import check_metric
from uora_bench.config.run_folders import start_folder
from uora_bench.errors import ImpossiblePair, UserError, nearest, nearest_path

ADAPTER_CONFIG = "adapter_config.json"
IS_ADAPTER = (
    f"is an adapter of PEFT ({ADAPTER_CONFIG}), whose weights are those of another model; merge it (merge_and_unload) "
    "and save the whole model, or name the model itself"
)


def preflight(cell: Cell, library: bool = True) -> None:
    """Raise for a cell that cannot be run as it is configured.

    ``library``: also ask for what the cell needs on the machine that runs it: a metric's file, and libraries, of which
    PEFT takes seconds to import.

    Raises:
        ImpossiblePair: method, task and backbone do not go together; a grid leaves such a pair out.
        UserError: any other mistake in the configuration.
    """
    method, task, backbone = cell.method, cell.task, cell.backbone
    check_pair(cell)
    check_target_modules(backbone, method.adapts)
    task.options.check_splits(task.roles)
    check_is_somewhere(backbone)
    check_architecture(backbone)
    own = task.source.files
    if own is None and task.source.benchmark == OWN_ROWS:
        raise UserError(f"task={task.name} is for rows of your own: name them with task.path=<file or folder>")
    check_metric(task.metric)
    if method.needs_holdout and not cell.holdout:
        raise UserError(
            f"method={method.name} trains a part of itself on rows of its own, and none is held out: set "
            "method.holdout (or trainer.holdout) above 0, or a mode without that step"
        )
    if method.extra_tokens and task.options.packs:
        raise UserError(
            "task.packing=true puts several examples into one sequence, and this method puts its virtual tokens before "
            "the first alone; set task.packing=false"
        )
    if method.acts_in_forward and cell.trainer.gradient_checkpointing:
        raise UserError(
            "method.timing=authors acts in the forward pass, which gradient checkpointing replays; "
            "use method.timing=optimizer_step or trainer.gradient_checkpointing=false"
        )
    _check_frozen_weights(cell)
    if library:
        if own is not None and not Path(own.path).exists():
            raise UserError(f"task.path: there is no file or folder '{own.path}'{nearest_path(own.path)}")
        if own is not None:
            registry.check_rows(task.source, task.to_load, task.options, task.name)
        _check_own_weights(backbone)
        script = task.metric.script
        if script is not None and not script.is_file():
            raise UserError(f"task.metric.name: no file '{script}'; a relative path begins in the current folder")
        if backbone.quantisation != "none" and importlib.util.find_spec("bitsandbytes") is None:
            raise UserError(
                f"backbone.quantisation={backbone.quantisation} needs bitsandbytes, which is not installed: "
                "pip install 'uora_bench[qlora]', or set backbone.quantisation=none"
            )
        method.check_library()


def _check_own_weights(backbone: BackboneConfig) -> None:
    """Raise `UserError` where the folder ``backbone.path`` holds a model of another architecture than the name's.

    Also where its weights are elsewhere: they would not be those that the cell's id is of.
    """
    if backbone.path is None:
        return
    if (Path(backbone.path) / ADAPTER_CONFIG).exists():
        raise UserError(f"backbone.path='{backbone.path}' {IS_ADAPTER}")
    for name in _shards(Path(backbone.path)):
        if not (isinstance(name, str) and name.endswith(".safetensors") and "/" not in name and "\\" not in name):
            raise UserError(
                f"backbone.path='{backbone.path}': its index of weights names {name!r}; only *.safetensors beside the "
                "index are read"
            )
    if backbone.architecture is None:
        return
    try:
        own = json.loads((Path(backbone.path) / "config.json").read_text("utf-8"))
    except (OSError, ValueError):
        return  # loading says what is wrong with it
    for key in ("model_type", "hidden_size", "n_embd", "num_hidden_layers", "n_layer"):
        said, wanted = own.get(key) if isinstance(own, dict) else None, backbone.architecture.get(key)
        if None not in (said, wanted) and said != wanted:
            raise UserError(
                f"backbone.path='{backbone.path}' has {key}={said}, backbone={backbone.name} has {wanted}: it is "
                "another model; for a model of your own write backbone=hf"
            )


def _shards(folder: Path) -> list[Any]:
    """The files that the index of weights in ``folder`` names; none where there is no index that can be read."""
    try:
        return list(json.loads((folder / "model.safetensors.index.json").read_text("utf-8"))["weight_map"].values())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return []  # loading says what is wrong with it


def check_pair(cell: Cell) -> None:
    """Raise `ImpossiblePair` for a task on a backbone of another kind, or a method with nothing to train on it."""
    task, backbone, method = cell.task, cell.backbone, cell.method
    if task.kind != backbone.kind:
        raise ImpossiblePair(
            f"task={task.name} needs a backbone of kind {task.kind}, but backbone={backbone.name} is of kind "
            f"{backbone.kind}; choose another backbone= (uora-bench list backbones)"
        )
    if method.needs_head and not backbone.head:
        raise ImpossiblePair(
            f"method={method.name} trains nothing on backbone={backbone.name}, which has no task head; for the scores "
            "of the un-adapted model take method=lora trainer.lr_adapter=0 trainer.max_steps=1"
        )


def check_places(settings: Settings, task: TaskConfig) -> None:
    """Raise `UserError` for a folder that is to be read and is not there. Rows of one's own may be a file."""
    root = settings.data_root
    is_file = root is not None and task.source.benchmark in (OWN_ROWS, IMAGE_FOLDER) and Path(root).is_file()
    if root is not None and not is_file and not Path(root).is_dir():
        what = "is no folder" if Path(root).exists() else "does not exist"
        raise UserError(
            f"data.root='{root}' {what}{nearest_path(root)}; name the folder that holds the data, drop the key (and "
            "UORA_DATA_DIR) to read from the Hub, or fill one with uora-bench prefetch"
        )
    if root is not None and task.source.benchmark == IMAGE_FOLDER:
        registry.check_pictures(Path(root), task.to_load.values())
    if settings.init_from is not None:
        start_folder(settings.init_from, Path(settings.runs_dir), settings.experiment_name)


def check_is_somewhere(backbone: BackboneConfig) -> None:
    """Raise `UserError` for a backbone of the user's own whose folder is not named."""
    if all(where is None for where in (backbone.path, backbone.id, backbone.package, backbone.converted_by)):
        raise UserError(f"backbone={backbone.name} is a model of your own: name its folder with backbone.path=<folder>")


def check_target_modules(backbone: BackboneConfig, asked: Sequence[str] | None) -> None:
    """Raise `UserError` for invalid target modules (None: the backbone's default ones).

    Invalid: none at all, one named twice, one that the backbone lacks, or one whose place in the model is not given.
    """
    known = backbone.target_modules.modules
    key = "method.target_modules" if asked is not None else "backbone.target_modules.default"
    names = list(backbone.target_modules.default if asked is None else asked)
    if asked is None and not names:
        raise UserError(
            f"{key}=[] leaves nothing to adapt; name some of {', '.join(known)}, or set method.target_modules"
        )
    for name in names:
        if name not in known:
            raise UserError(f"{key}: backbone={backbone.name} has no '{name}'{nearest(name, known)}")
        if names.count(name) > 1:
            raise UserError(f"{key} names '{name}' twice; each module once")
        module, place = known[name], f"backbone.target_modules.modules.{name}"
        if module.path.count("{layer}") != 1:
            raise UserError(
                f"{place}.path='{module.path}' must name a module of every block, with {{layer}} for its number, "
                "e.g. encoder.layer.{layer}.attention.self.query"
            )
        if not 0 <= module.part < module.part + module.parts <= module.of:
            raise UserError(
                f"{place}.part={module.part} of={module.of}: part must be from 0 to of - 1, and parts of them be there"
            )


def check_architecture(backbone: BackboneConfig) -> None:
    """Raise `UserError` for a bundled architecture without a type, or with a size that no model has."""
    if backbone.architecture is None:
        return
    if not isinstance(backbone.architecture.get("model_type"), str):
        raise UserError(
            "backbone.architecture.model_type must be the name of an architecture in transformers (bert, roberta, …); "
            "backbone.architecture=null reads config.json instead"
        )
    for key, value in backbone.architecture.items():
        size = isinstance(value, int) and not key.endswith("_id")
        if size and not 0 <= value < 1 << 31:
            raise UserError(f"backbone.architecture.{key}={value} must be at least 0 and below 2147483648")


def _check_frozen_weights(cell: Cell) -> None:
    """What quantised and sharded weights do not allow."""
    backbone, method, sharded = cell.backbone, cell.method, cell.trainer.sharding != "none"
    if backbone.quantisation != "none":
        asked = f"backbone.quantisation={backbone.quantisation}"
        if method.trains_backbone:
            raise UserError(
                f"method={method.name} trains the backbone's own weights, which {asked} freezes in 4 bits; take an "
                "adapter method, or backbone.quantisation=none"
            )
        if backbone.dtype == "float64":
            raise UserError(f"{asked} computes in float32 or half precision; set backbone.dtype=float32")
        if sharded:
            raise UserError(f"trainer.sharding=full cannot cut weights packed by {asked}; take one of the two")
    if sharded and method.trains_backbone:
        raise UserError(
            f"method={method.name} trains the backbone itself, and trainer.sharding=full cuts frozen weights only; "
            "take an adapter method, or trainer.sharding=none"
        )

"""``backbone=hf``: what a YAML of configs/backbone/ says of a model, read from the model itself.

Kind and architecture are those of its ``config.json``; head and target modules are found in the model, which is built
without weights (meta device). Weights are looked at for their names alone, and only where they are.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

from uora_bench.config.cell import BackboneConfig, TargetModule, TargetModulesConfig
from uora_bench.config.preflight import ADAPTER_CONFIG, IS_ADAPTER
from uora_bench.data import offline
from uora_bench.errors import UserError
from uora_bench.models import backbones, kinds, known_models
from uora_bench.util.schema import build, plain

Kind = Literal["encoder", "causal_lm", "vision"]
_HEADS = {
    "encoder": "AutoModelForSequenceClassification",
    "causal_lm": "AutoModelForCausalLM",
    "vision": "AutoModelForImageClassification",
}
_REFUSED = {"rwkv": "which changes its weights in place when it is evaluated; an adapter cannot sit on them"}
_LABELS = 1009  # of the head that is built to look at: no width of a model is this prime


@dataclass(frozen=True)
class Found:
    """What a model says of itself.

    ``head``: the modules of the task head; ``fresh``: those of them beside the output layer, which the weights lack;
    ``modules`` and ``default``: the target modules by kind, and the kinds that are adapted unless others are named;
    ``places``: where linear maps are, for a message; ``seen``: whether there were weights to look at.
    """

    kind: Kind
    head: tuple[str, ...]
    fresh: tuple[str, ...]
    modules: dict[str, TargetModule]
    default: tuple[str, ...]
    places: tuple[str, ...]
    model_type: str
    seen: bool


def describe(values: Mapping[str, Any], wanted: Kind, data_root: str | None) -> dict[str, Any]:
    """The configuration of the backbone that ``values`` (configs/backbone/hf.yaml, the command line over it) name.

    ``wanted``: the kind of the task; the model's own kind is given where it cannot be used as that. ``data_root``: the
    folder that may hold models for nodes without a network.

    Raises:
        UserError: for a model that is nowhere to be had or cannot be used; nothing of its code is ever run.
    """
    path, repo = values["path"], values["id"]
    if (path is None) == (repo is None):
        raise UserError(
            "backbone=hf is a model of your own: name it with backbone.path=<folder> or backbone.id=<id on the Hub>, "
            "one of the two"
        )
    if data_root is not None:
        offline.use(data_root)
    name = str(repo) if path is None else f"local/{Path(path).expanduser().resolve().name}"
    path = None if path is None else str(Path(path).expanduser())
    revision = str(values["revision"]) if path is None else "local"
    asked = _asked(path, repo, revision, wanted)
    place, arguments = backbones.locate(asked)
    found = _look(path, repo, revision, wanted, json.dumps(arguments), *_state(place))
    given = values["target_modules"]
    modules = plain(found.modules) if given["modules"] is None else given["modules"]
    default = given["default"]
    if default is None:
        default = list(found.default) if given["modules"] is None else list(modules)
    if not default:
        raise UserError(_nothing_known(name, found))
    head = values["head"] if values["head"] is not None else list(found.head)
    fresh = list(found.fresh) if values["head"] is None else []
    return {
        **values,
        **{"name": name, "kind": found.kind, "path": path, "revision": revision, "head": head, "fresh": fresh},
        **{
            "weights_seen": found.seen or found.kind == "causal_lm",
            "target_modules": {"default": default, "modules": modules},
        },
    }


def _nothing_known(name: str, found: Found) -> str:
    some = ", ".join(found.places[:6]) or "there are none"
    return (
        f"backbone={name}: no attention projections (q and v, or qkv) are known in a model of type {found.model_type}; "
        f"name maps yourself: 'backbone.target_modules.modules={{up: {{path: \"…\"}}}}', of its linear maps {some}"
    )


def _state(place: str) -> tuple[Any, ...]:
    """What may change of a folder while this process lives."""
    folder = Path(place)
    return tuple(
        (p.name, p.stat().st_size, p.stat().st_mtime_ns)
        for p in sorted(folder.glob("*"))
        if p.suffix in (".json", ".safetensors") and p.is_file()
    )


def _asked(path: str | None, repo: str | None, revision: str, wanted: Kind) -> BackboneConfig:
    """As much of a backbone as finding its files takes."""
    return BackboneConfig(
        name="hf", kind=wanted, id=repo, revision=revision, package=None, path=path, dtype="float32", head=(),
        target_modules=TargetModulesConfig((), {}), architecture=None,
    )  # fmt: skip


@functools.lru_cache(maxsize=64)  # a grid asks for one model a thousand times
def _look(path: str | None, repo: str | None, revision: str, wanted: Kind, told: str, *state: object) -> Found:
    """What the model says of itself. ``told``: what the library is to be told; ``state``: what its folder holds."""
    if path is None:
        return _build(path, repo, revision, wanted, told)
    kept = known_models.file_of(Path(path), wanted, _stored_names(path, json.loads(told)))
    before = None if kept is None else known_models.read_answer(kept)
    try:
        return build(Found, before or {}, "a model that is known")
    except UserError:  # it is not, or the file is damaged
        found = _build(path, repo, revision, wanted, told)
    if kept is not None:
        known_models.write_answer(kept, plain(found))
    return found


def _build(path: str | None, repo: str | None, revision: str, wanted: Kind, told: str) -> Found:
    """What the model says of itself once it is built."""
    import torch
    import transformers

    asked, place = _asked(path, repo, revision, wanted), str(path or repo)
    arguments: dict[str, Any] = json.loads(told)
    if path is not None and Path(path, ADAPTER_CONFIG).exists():
        raise UserError(f"backbone=hf: '{place}' {IS_ADAPTER}")
    with backbones.loading(asked, place, arguments):
        config = transformers.AutoConfig.from_pretrained(
            place, trust_remote_code=False, num_labels=_LABELS, **arguments
        )
        possible = _kinds(config)
    if config.model_type in _REFUSED:
        raise UserError(f"backbone=hf: '{place}' is a model of type {config.model_type}, {_REFUSED[config.model_type]}")
    if not possible:
        raise UserError(
            f"backbone=hf: '{place}' is a model of type {config.model_type}, "
            + ("an encoder-decoder; " if getattr(config, "is_encoder_decoder", False) else "")
            + "which no task here trains: take an encoder or a decoder of text, or a classifier of pictures"
        )
    kind: Kind = wanted if wanted in possible else possible[0]
    with backbones.loading(asked, place, arguments):
        if getattr(config, "architectures", None) is None:
            config.architectures = []
        with torch.device("meta"):
            model = getattr(transformers, _HEADS[kind]).from_config(config, trust_remote_code=False)
    stored = _stored_names(place, arguments)
    head, fresh = _find_head(model, stored) if kind != "causal_lm" else ((), ())
    modules = kinds.find_kinds(model, head)
    default = kinds.default_kinds(modules)
    if not default:
        known = kinds.kinds_of_peft(model, head)
        modules, default = known or modules, tuple(known)
    places = tuple(kinds.linear_places(model))
    return Found(kind, head, fresh, modules, default, places, str(config.model_type), stored is not None)


def _kinds(config: Any) -> list[Kind]:
    """What a model can be used as, its own kind first: a decoder classifies text too."""
    from transformers.models.auto import modeling_auto as auto

    name = config.model_type
    if getattr(config, "is_encoder_decoder", False):
        return []
    if name in auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES:
        return ["vision"]
    found: list[Kind] = []
    generates = name in auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    # BERT and its like have a causal form too, which only is_decoder turns on
    if generates and (name not in auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES or getattr(config, "is_decoder", False)):
        found.append("causal_lm")
    if name in auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES:
        found.append("encoder")
    return found


def _find_head(model: Any, stored: frozenset[str] | None) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The modules of the task head, and those of them that are there only because the weights have no such tensors.

    ``stored``: the names of the weights' tensors; None: not looked at.
    """
    base = f"{model.base_model_prefix}."
    with_weights = [n for n, m in model.named_modules() if n and any(True for _ in m.parameters())]
    outputs = []
    for name in with_weights:
        if getattr(model.get_submodule(name), "out_features", None) == _LABELS:
            outputs.append(name.split(".")[0])
    outputs = list(dict.fromkeys(outputs))
    fresh: list[str] = []
    for name in with_weights:
        top = "." not in name and f"{name}." != base
        if not (top or name.endswith("pooler")) or name in outputs:
            continue
        names = [n for n, _ in model.get_submodule(name).named_parameters(prefix=name)]
        if any(part.isdigit() for n in names for part in n.split(".")):
            continue  # blocks: a tower of the model
        start = f"{name.removeprefix(base)}."
        absent = top if stored is None else not any(n.removeprefix(base).startswith(start) for n in stored)
        if absent:
            fresh.append(name)
    return (*outputs, *fresh), tuple(fresh)


def _stored_names(place: str, arguments: Mapping[str, Any]) -> frozenset[str] | None:
    """The names of the tensors in the weight files; None where they are not to be seen.

    A run would then fetch them, or say what is wrong with them.
    """
    files = sorted(Path(place).glob("*.safetensors")) if Path(place).is_dir() else []
    try:
        if not Path(place).is_dir():
            index = _cached(place, "model.safetensors.index.json", arguments)
            if index is not None:
                return frozenset(json.loads(index.read_text(encoding="utf-8"))["weight_map"])
            single = _cached(place, "model.safetensors", arguments)
            files = [] if single is None else [single]
            if not files and not arguments["local_files_only"]:
                return _names_on_the_hub(place, str(arguments["revision"]))
        return known_models.read_stored_names(files) or None
    except (OSError, ValueError, KeyError):
        return None


def _cached(repo: str, name: str, arguments: Mapping[str, Any]) -> Path | None:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(
        repo, name, cache_dir=arguments.get("cache_dir"), revision=cast("str", arguments["revision"])
    )
    return Path(found) if isinstance(found, str) else None


def _names_on_the_hub(repo: str, revision: str) -> frozenset[str] | None:
    """From the first bytes of the weight files on the Hub."""
    from huggingface_hub import get_safetensors_metadata
    from huggingface_hub.errors import HfHubHTTPError, NotASafetensorsRepoError, SafetensorsParsingError

    try:
        return frozenset(get_safetensors_metadata(repo, revision=revision).weight_map)
    except (HfHubHTTPError, NotASafetensorsRepoError, SafetensorsParsingError):
        return None

"""A finished cell as a model: backbone, adapter and head put together as `uora_bench.execution.fitting` did."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.config.cell import Cell
from uora_bench.data import offline
from uora_bench.errors import UserError
from uora_bench.export.source import Source
from uora_bench.methods import create_method
from uora_bench.models import backbones
from uora_bench.tasks import create_task
from uora_bench.training import checkpoint
from uora_bench.training.inject import inject
from uora_bench.util.log import LOG
from uora_bench.util.words import clause

if TYPE_CHECKING:
    from torch import Tensor

    from uora_bench.methods.base import Method
    from uora_bench.tasks.base import HeadSpec


@dataclass
class Loaded:
    """A model with its adapter in place, and what is needed to take it apart again.

    ``plain``: the names of the state dict's tensors before the adapter came. ``trains``: whether the method trains
    weights that the plain model has too; ``adds``: whether it trains weights of its own.
    """

    model: Any
    tokenizer: Any
    cell: Cell
    method: Method
    head: HeadSpec
    origin: dict[str, Any]
    plain: frozenset[str]
    trains: bool
    adds: bool


def load_cell(source: Source, weights: str, backbone: str | None = None) -> Loaded:
    """The cell of ``source`` with its trained weights, in eval mode and on the CPU.

    A quantised backbone is where it was quantised: on the GPU if there is one. ``weights``: last | best; ``backbone``:
    a folder in place of the run's.

    Raises:
        UserError: missing or unfitting files, a backbone that cannot be had, or one with other weights than the run's.
    """
    files = source.weight_files(weights)
    cell = source.cell
    if backbone is not None:
        cell = replace(cell, backbone=replace(cell.backbone, path=backbone))
    _check_backbone(source, cell)
    method, head = create_method(cell.method, cell.seed), create_task(cell.task).head
    root = source.settings.data_root
    if root is not None and Path(root).is_dir():  # where the run took its model from, unless this is another machine
        offline.use(root)
    fresh = backbones.load_backbone(cell.backbone, head, cell.seed)
    model: Any = fresh.model
    plain, own = frozenset(model.state_dict()), {id(p) for p in model.parameters()}
    opened, _ = inject(cell, model, method)
    shared = [id(p) in own for p in method.parameters()]
    _fill(source, method, opened, files)
    return Loaded(model.eval(), fresh.processor, cell, method, head, fresh.origin, plain, any(shared), not all(shared))


def _check_backbone(source: Source, cell: Cell) -> None:
    """A native export names no folder of another machine: its backbone, if it was one, is known by its hash."""
    expected = source.native.backbone_sha256 if source.native is not None else None
    if expected is None:
        return
    if cell.backbone.path is None:
        raise UserError(
            f"'{source.folder}' is of a backbone in a folder (weights sha256 {expected[:12]}…): name your copy, "
            'load_model(…, backbone="<folder>") or backbone.path=<folder>'
        )
    if backbones.weights_sha256(cell.backbone) != expected:
        raise UserError(
            f"the weights in '{cell.backbone.path}' are not those the adapter was trained on (sha256 {expected[:12]}…)"
        )


def _fill(source: Source, method: Method, head: Mapping[str, Any], files: list[Path]) -> None:
    """Put the saved adapter and head into the model, if they are what was saved."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    where = files[0].parent
    try:
        if len(files) == 1:
            best = checkpoint.Checkpoints(where, source.cell_id).read(files[0].name)
            method.load_state(best["method"])
            tensors: Mapping[str, Tensor] = best["head"]
        else:
            for path in files:
                source.configuration.check_file(path.name)
            if not source.configuration.summed:
                LOG.warning(f"note: '{source.folder}' was saved without checksums; damage cannot be detected")
            method.load_adapter_state(load_file(files[0]))
            tensors = load_file(files[1])
    except (SafetensorError, OSError, KeyError) as error:
        raise UserError(
            f"cannot read the weights in '{where}': {clause(error)}; run the cell again with force=true"
        ) from None
    for key in head.keys() ^ tensors.keys():
        raise UserError(f"the head file in '{where}' does not fit this cell: '{key}' is only in one of them")
    for key, parameter in head.items():
        if parameter.shape != tensors[key].shape:
            raise UserError(f"the head file in '{where}' does not fit this cell: '{key}' has another shape")
        parameter.data.copy_(tensors[key])

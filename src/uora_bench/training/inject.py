"""A method on a model: inject, open the head, count."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uora_bench.config.cell import Cell
from uora_bench.errors import CellError, UserError
from uora_bench.records.record import Counts

if TYPE_CHECKING:
    from uora_bench.methods.base import Method


def inject(cell: Cell, model: Any, method: Method) -> tuple[dict[str, Any], Counts]:
    """Put ``method`` on ``model``, open the head, and check the closed-form count against the model.

    Raises:
        CellError: when the count of trained parameters differs from the method's closed form.
    """
    import torch

    from uora_bench.methods.base import backbone_parameters, size_of
    from uora_bench.models.heads import head_parameters
    from uora_bench.models.targets import find_targets
    from uora_bench.util.seeds import derive

    targets = find_targets(model, cell.backbone, cell.method.adapts)
    sizes = {name: size_of(p) for name, p in backbone_parameters(model).items()}
    expected = method.count([t.shape for t in targets], sizes)
    method.inject(model, targets, torch.Generator().manual_seed(derive(cell.seed, "adapter")))
    head = head_parameters(model)
    for parameter in head.values():
        parameter.requires_grad_(True)
    adapter = sum(p.numel() for p in method.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    heads = sum(p.numel() for p in head.values())
    if adapter != (adapter if expected is None else expected) or trained != adapter + heads:
        raise CellError(
            f"{cell.method.name} trains {adapter} adapter parameters (the model: {trained - heads}), its closed form "
            f"says {expected}"
        )
    if not adapter + heads:
        raise UserError(
            f"method={cell.method.name} trains nothing on backbone={cell.backbone.name}; take another method="
        )
    return head, Counts(adapter=adapter, head=heads, total=sum(size_of(p) for p in model.parameters()))

"""Target modules: the linear maps of a backbone that an adapter may sit on, found in its module tree."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uora_bench.config.cell import BackboneConfig
from uora_bench.config.preflight import check_target_modules
from uora_bench.errors import UserError, nearest

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class TargetShape:
    """What a closed-form count needs to know of a target: its widths, its kind (q, v, …) and its block number."""

    in_features: int
    out_features: int
    kind: str
    layer: int


@dataclass(frozen=True)
class Target:
    """One frozen linear map, or one named slice of a fused one's output: rows ``start`` to ``stop`` of its weight."""

    path: str
    shape: TargetShape
    start: int
    stop: int

    @property
    def name(self) -> str:
        """Unique and stable name, used in saved files and records."""
        return f"{self.path}.{self.shape.kind}"


def is_linear(module: nn.Module) -> bool:
    """Whether an adapter can sit on ``module``: a ``nn.Linear``, quantised or not, or a transformers ``Conv1D``."""
    from torch import nn

    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def linear_shape(module: nn.Module) -> tuple[int, int]:
    """(out, in) of a ``nn.Linear``, quantised or not, or of a transformers ``Conv1D``."""
    linear: Any = module
    if type(module).__name__ == "Conv1D":  # keeps its weight as (in × out)
        rows, columns = linear.weight.shape
        return columns, rows
    return linear.out_features, linear.in_features


def find_targets(model: nn.Module, backbone: BackboneConfig, kinds: Sequence[str] | None) -> list[Target]:
    """The targets of ``kinds`` (None: the backbone's default), by block and then in the order of the backbone's YAML:
    in whatever order they are asked for, the same random numbers go to the same target.

    Raises:
        UserError: for a kind the backbone does not have, or one that names no linear map of the model.
    """
    check_target_modules(backbone, kinds)
    found: list[tuple[int, int, Target]] = []
    names = [n for n, _ in model.named_modules()]
    asked = backbone.target_modules.default if kinds is None else kinds
    for order, kind in enumerate(k for k in backbone.target_modules.modules if k in asked):
        module = backbone.target_modules.modules[kind]
        path = re.escape(module.path).replace(r"\{layer\}", r"(?P<layer>\d+)").replace(r"\{stage\}", r"(?P<stage>\d+)")
        pattern = re.compile(r"(?:^|\.)" + path + "$")
        matches = [(n, m) for n in names if (m := pattern.search(n))]
        if not matches:
            maps = {re.sub(r"\.\d+\.", ".{layer}.", n, count=1) for n, m in model.named_modules() if is_linear(m)}
            raise UserError(
                f"backbone.target_modules.modules.{kind}.path='{module.path}': backbone={backbone.name} has no such "
                f"module{nearest(module.path, [m for m in maps if '{layer}' in m])}"
            )
        blocks = {number: number[1] for _, match in matches if (number := _number(match))}
        if "{stage}" in module.path:  # blocks are numbered within each stage: count them through
            blocks = {number: i for i, number in enumerate(sorted(blocks))}
        for name, match in matches:
            found_module = model.get_submodule(name)
            if not is_linear(found_module):
                raise UserError(
                    f"backbone.target_modules.modules.{kind}.path='{module.path}': '{name}' is a "
                    f"{type(found_module).__name__}, and an adapter sits on a linear map"
                )
            rows, columns = linear_shape(found_module)
            if rows % module.of:
                raise UserError(
                    f"backbone.target_modules.modules.{kind}.of={module.of}: the {rows} outputs of '{name}' are not so "
                    "many equal parts"
                )
            part = rows // module.of
            start, width = module.part * part, module.parts * part
            shape = TargetShape(columns, width, kind, blocks[_number(match)])
            found.append((shape.layer, order, Target(name, shape, start, start + width)))
    return [target for _, _, target in sorted(found, key=lambda f: f[:2])]


def _number(match: re.Match[str]) -> tuple[int, int]:
    """(stage, block within it); the stage is 0 where there is none."""
    return int(match.groupdict().get("stage") or 0), int(match["layer"])

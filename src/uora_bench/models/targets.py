"""Target modules: the linear maps of a backbone that an adapter may sit on, found in its module tree."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from uora_bench.config.cell import BackboneConfig
from uora_bench.config.options.base import TargetShape
from uora_bench.config.preflight import check_target_modules
from uora_bench.errors import UserError, nearest

if TYPE_CHECKING:
    from torch import nn


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


def modules_of(model: nn.Module) -> dict[str, tuple[int, ...] | str]:
    """Every module's name, with (out, in) of a linear map and the class of another."""
    return {n: linear_shape(m) if is_linear(m) else type(m).__name__ for n, m in model.named_modules()}


def find_targets(model: nn.Module, backbone: BackboneConfig, kinds: Sequence[str] | None) -> list[Target]:
    """`find_among` the modules of ``model``; raises as it does."""
    return find_among(modules_of(model), backbone, kinds)


def find_among(
    modules: Mapping[str, tuple[int, ...] | str], backbone: BackboneConfig, kinds: Sequence[str] | None
) -> list[Target]:
    """The targets of ``kinds`` (None: the backbone's default), by block and then in the order of the backbone's YAML.

    In whatever order they are asked for, the same random numbers go to the same target. ``modules``: as `modules_of`
    gives them.

    Raises:
        UserError: for a kind the backbone does not have, or one that names no linear map of the model.
    """
    check_target_modules(backbone, kinds)
    found: list[tuple[int, int, Target]] = []
    asked = backbone.target_modules.default if kinds is None else kinds
    for order, kind in enumerate(k for k in backbone.target_modules.modules if k in asked):
        module = backbone.target_modules.modules[kind]
        path = re.escape(module.path).replace(r"\{layer\}", r"(?P<layer>\d+)").replace(r"\{stage\}", r"(?P<stage>\d+)")
        pattern = re.compile(r"(?:^|\.)" + path + "$")
        matches = [(n, m) for n in modules if (m := pattern.search(n))]
        if not matches:
            maps = {re.sub(r"\.\d+\.", ".{layer}.", n, count=1) for n, m in modules.items() if not isinstance(m, str)}
            raise UserError(
                f"backbone.target_modules.modules.{kind}.path='{module.path}': backbone={backbone.name} has no such "
                f"module{nearest(module.path, [m for m in maps if '{layer}' in m])}"
            )
        blocks = {number: number[1] for _, match in matches if (number := _number(match))}
        if "{stage}" in module.path:  # blocks are numbered within each stage: count them through
            blocks = {number: i for i, number in enumerate(sorted(blocks))}
        for name, match in matches:
            shape_of = modules[name]
            if isinstance(shape_of, str):
                raise UserError(
                    f"backbone.target_modules.modules.{kind}.path='{module.path}': '{name}' is a "
                    f"{shape_of}, and an adapter sits on a linear map"
                )
            rows, columns = shape_of
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


def overlap(targets: Sequence[Target]) -> bool:
    """Whether two of ``targets`` share rows (q beside the fused qkv)."""
    ordered = sorted(targets, key=lambda t: (t.path, t.start))
    return any(a.path == b.path and b.start < a.stop for a, b in pairwise(ordered))


def _number(match: re.Match[str]) -> tuple[int, int]:
    """(stage, block within it); the stage is 0 where there is none."""
    return int(match.groupdict().get("stage") or 0), int(match["layer"])

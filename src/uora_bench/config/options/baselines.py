"""Options of BitFit, full fine-tuning and the head alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from uora_bench.config.options.base import MethodOptions, TargetShape
from uora_bench.errors import UserError


@dataclass(frozen=True, kw_only=True)
class BitFitOptions(MethodOptions):
    """``only``: target modules whose biases are trained; None: every bias of the backbone."""

    only: tuple[str, ...] | None

    def __post_init__(self) -> None:
        if self.only is not None and not self.only:
            raise UserError("method.only=[] trains nothing: name some modules, or null for every bias")

    def count(self, shapes: Sequence[TargetShape], sizes: Mapping[str, int]) -> int:
        """Σ out over the modules of ``only``, or the entries of every bias of the backbone."""
        if self.only is not None:
            return sum(s.out_features for s in shapes)
        return sum(sizes[name] for name in biases(sizes))

    def added(self, shapes: Sequence[TargetShape], sizes: Mapping[str, int]) -> int | None:
        return 0 if self.only is None and any(biases(sizes)) else None  # a model says which modules have one

    @property
    def adapts(self) -> tuple[str, ...] | None:
        return tuple(self.only or ())


@dataclass(frozen=True, kw_only=True)
class FullOptions(MethodOptions):
    """No options."""

    def count(self, shapes: Sequence[TargetShape], sizes: Mapping[str, int]) -> int:
        """The backbone's size without the head."""
        return sum(sizes.values())

    def added(self, shapes: Sequence[TargetShape], sizes: Mapping[str, int]) -> int:
        return 0

    @property
    def trains_backbone(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class HeadOnlyOptions(MethodOptions):
    """No options."""

    def count(self, shapes: Sequence[TargetShape], sizes: Mapping[str, int]) -> int:
        """Zero."""
        return 0

    @property
    def needs_head(self) -> bool:
        return True


def biases(names: Iterable[str]) -> Iterable[str]:
    """Those of parameters' ``names`` that are biases."""
    return (name for name in names if name.rsplit(".", 1)[-1] == "bias")

"""Options of BitFit, full fine-tuning and the head alone."""

from __future__ import annotations

from dataclasses import dataclass

from uora_bench.config.options.base import MethodOptions
from uora_bench.errors import UserError


@dataclass(frozen=True, kw_only=True)
class BitFitOptions(MethodOptions):
    """``only``: target modules whose biases are trained; None: every bias of the backbone."""

    only: tuple[str, ...] | None

    def __post_init__(self) -> None:
        if self.only is not None and not self.only:
            raise UserError("method.only=[] trains nothing: name some modules, or null for every bias")

    @property
    def adapts(self) -> tuple[str, ...] | None:
        return tuple(self.only or ())


@dataclass(frozen=True, kw_only=True)
class FullOptions(MethodOptions):
    """No options."""

    @property
    def trains_backbone(self) -> bool:
        return True


@dataclass(frozen=True, kw_only=True)
class HeadOnlyOptions(MethodOptions):
    """No options."""

    @property
    def needs_head(self) -> bool:
        return True

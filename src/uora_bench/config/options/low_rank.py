"""Options of LoRA, LoRA-FA and α-LoRA; configs/method/ explains each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from uora_bench.config.options.base import LowRankOptions, TargetShape
from uora_bench.errors import UserError


@dataclass(frozen=True, kw_only=True)
class LoRAOptions(LowRankOptions):
    """``alpha``: α; the update is multiplied by alpha / rank."""

    alpha: float

    def count(self, shapes: Sequence[TargetShape], sizes: Mapping[str, int]) -> int:
        """Σ r · (in + out)."""
        return sum(self.rank * (s.in_features + s.out_features) for s in shapes)

    @property
    def defines_update(self) -> dict[str, Any]:
        return {"method.rank": self.rank, "method.alpha": self.alpha}


@dataclass(frozen=True, kw_only=True)
class LoRAFAOptions(LoRAOptions):
    """LoRA's."""

    def count(self, shapes: Sequence[TargetShape], sizes: Mapping[str, int]) -> int:
        """Σ r · out: A is frozen."""
        return sum(self.rank * s.out_features for s in shapes)

    def added(self, shapes: Sequence[TargetShape], sizes: Mapping[str, int]) -> int:
        return super().count(shapes, sizes)


@dataclass(frozen=True, kw_only=True)
class AlphaLoRAOptions(LowRankOptions):
    """``alpha_r``: α_r of the low-rank part, None: the rank. The rest is of the step that trains α."""

    alpha_r: float | None
    mode: Literal["held_out", "as_released", "fixed"]
    holdout: Annotated[float, Ge(0), Le(1)]
    alpha_initial: float | None
    alpha_lr: Annotated[float, Ge(0)]
    alpha_every: Annotated[int, Ge(1)]
    alpha_batch_size: Annotated[int, Ge(1)]
    alpha_betas: tuple[float, ...]
    in_training: bool | None
    shuffle: bool | None
    phase: Literal["run", "epoch"] | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.alpha_betas) != 2 or not all(0 <= b < 1 for b in self.alpha_betas):
            raise UserError(f"method.alpha_betas={list(self.alpha_betas)} must be two numbers in [0, 1)")

    def count(self, shapes: Sequence[TargetShape], sizes: Mapping[str, int]) -> int:
        """Σ r · (in + out) + Σ out; without the last with ``mode=fixed``."""
        each = 0 if self.mode == "fixed" else 1
        return sum(self.rank * (s.in_features + s.out_features) + each * s.out_features for s in shapes)

    def said(self, name: str) -> Any:
        """A switch of the released code's behaviour: its own value, else what ``mode`` says."""
        released = {"in_training": True, "shuffle": False, "phase": "epoch"}
        clean = {"in_training": False, "shuffle": True, "phase": "run"}
        own = getattr(self, name)
        return own if own is not None else (released if self.mode == "as_released" else clean)[name]

    @property
    def defines_update(self) -> dict[str, Any]:
        return {"method.rank": self.rank, "method.alpha_r": self.rank if self.alpha_r is None else self.alpha_r}

    @property
    def held_out(self) -> float:
        return self.holdout

    @property
    def needs_holdout(self) -> bool:
        return self.mode != "fixed"

    @property
    def holdout_stays(self) -> bool:
        return bool(self.said("in_training"))

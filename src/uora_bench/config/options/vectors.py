"""Options of VeRA and UORA; configs/method/ explains each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le, Lt

from uora_bench.config.options.base import LowRankOptions, TargetShape
from uora_bench.errors import UserError

Init = Literal["kaiming_uniform", "xavier_uniform", "uniform", "normal", "orthogonal", "orthogonal_qr"]
Sharing = Literal["all", "shape", "layer"]
Draws = Literal["ours", "authors"]
Seed = Annotated[int, Ge(0), Lt(1 << 63)]  # what a generator of torch takes


@dataclass(frozen=True, kw_only=True)
class VeRAOptions(LowRankOptions):
    """``d_initial``, ``b_initial``: where the trained vectors start. The rest is of the frozen pair A, B."""

    d_initial: float
    b_initial: float
    init: Init
    gain: float
    sharing: Sharing
    projection_seed: Seed | None

    def count(self, shapes: Sequence[TargetShape], sizes: Mapping[str, int]) -> int:
        """Σ (out + r); A and B are not trained and not counted."""
        return sum(s.out_features + self.rank for s in shapes)

    @property
    def defines_update(self) -> dict[str, Any]:
        return {"method.rank": self.rank}  # nothing scales it, and A and B are in the file


@dataclass(frozen=True, kw_only=True)
class UORAOptions(VeRAOptions):
    """VeRA's, and those of the refresh: which index, what is written, when, and what else is reset."""

    vector: Literal["d", "b"]
    criterion: Literal["threshold", "relative", "quantile", "lowest"]
    scope: Literal["layer", "mean", "vote"]
    tau: Annotated[float, Ge(0)]
    tau_schedule: Literal["constant", "up", "down"]
    tau_delta: Annotated[float, Ge(0)]
    tau_every: Annotated[int, Ge(1)]
    tau_min: float
    tau_max: float
    k: Annotated[int, Ge(1)]
    counter_reset: bool
    alpha: Annotated[float, Ge(0), Le(1)]
    alpha_decay: Annotated[float, Ge(0)]
    alpha_floor: Annotated[float, Ge(0), Le(1)]
    fresh: Literal["fixed", "per_event"]
    fresh_seed: Seed | None
    timing: Literal["optimizer_step", "authors"]
    every: Annotated[int, Ge(1)]
    start_step: Annotated[int, Ge(0)]
    periodic: Annotated[int, Ge(0)]
    periodic_parts: Literal["ab", "a", "b"]
    reset_d: float | None
    reset_moments: bool
    rescale: bool
    draws: Draws | None = None  # run folders are older than this key

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.tau_schedule != "constant" and not self.tau_min <= self.tau <= self.tau_max:
            raise UserError(
                f"method.tau={self.tau} must lie between method.tau_min={self.tau_min} and method.tau_max="
                f"{self.tau_max} with method.tau_schedule={self.tau_schedule}"
            )
        if self.criterion == "lowest" and (self.tau != int(self.tau) or self.tau_schedule != "constant"):
            raise UserError(
                f"method.tau={self.tau} is a number of indices with criterion=lowest; use a constant whole number"
            )
        if self.criterion == "quantile" and self.tau > 1:
            raise UserError(f"method.tau={self.tau} is a quantile with criterion=quantile; use at most 1")
        if self.timing == "authors" and (self.reset_d is not None or self.reset_moments or self.scope != "layer"):
            raise UserError(
                "method.timing=authors acts inside one layer's forward pass, before the gradient is known: "
                "method.reset_d, method.reset_moments and method.scope other than layer need "
                "method.timing=optimizer_step"
            )

        if self.drawn_as == "authors" and (self.init != "orthogonal" or self.sharing != "all"):
            raise UserError(
                "method.draws=authors (what method.timing=authors takes where nothing is said) draws one orthogonal "
                "pair for all targets: method.init other than orthogonal and method.sharing other than all need "
                "method.draws=ours"
            )

    def canonical(self) -> dict[str, Any]:
        """``draws`` by what it stands for, and only where matrices or the refresh are other than before the option."""
        options = super().canonical()
        options["draws"] = self.drawn_as
        if self.drawn_as == "ours" and self.timing != "authors":
            del options["draws"]
        return options

    @property
    def drawn_as(self) -> Draws:
        """How the pair and the fresh matrices are drawn: ``draws``, where it is null as ``timing`` says."""
        if self.draws is not None:
            return self.draws
        return "authors" if self.timing == "authors" else "ours"

    @property
    def acts_in_forward(self) -> bool:
        return self.timing == "authors"

    def threshold(self, step: int) -> float:
        """τ at optimizer step ``step``: constant, or moved by ``tau_delta`` per ``tau_every`` steps in its range."""
        if self.tau_schedule == "constant":
            return self.tau
        sign = 1.0 if self.tau_schedule == "up" else -1.0
        return min(max(self.tau + sign * self.tau_delta * (step // self.tau_every), self.tau_min), self.tau_max)

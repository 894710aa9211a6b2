"""What a theory cell computes: the kinds of experiment and the parameters of each, typed.

Values live in configs/theory/*.yaml and on the command line; `uora_bench.util.schema` holds them against these
dataclasses. Names are those of the α-LoRA paper and of `uora_bench.theory.settings`; nothing here computes, so that
listing and planning need no numpy.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

from uora_bench.errors import UserError


@dataclass(frozen=True)
class Grid:
    """``points`` values from ``start`` to ``stop``, both among them, evenly spaced (``log``: their logarithms)."""

    start: float
    stop: float
    points: int
    spacing: Literal["linear", "log"] = "linear"

    def __post_init__(self) -> None:
        if self.points < 2:
            raise UserError(f"a grid needs points=2 or more, not {self.points}; or give a list of values")
        if self.spacing == "log" and min(self.start, self.stop) <= 0:
            raise UserError("a grid with spacing: log needs start and stop above 0")

    @property
    def values(self) -> tuple[float, ...]:
        steps = [i / (self.points - 1) for i in range(self.points)]
        if self.spacing == "log":
            low, high = math.log10(self.start), math.log10(self.stop)
            return tuple(float(f"{10 ** (low + (high - low) * step):.12g}") for step in steps)
        return tuple(float(f"{self.start + (self.stop - self.start) * step:.12g}") for step in steps)


Values = Grid | tuple[float, ...]


def values(given: Values) -> tuple[float, ...]:
    """The numbers of a grid or a list.

    Raises:
        UserError: for an empty list.
    """
    found = given.values if isinstance(given, Grid) else given
    if not found:
        raise UserError("a list of values (alphas, gammas, …) must not be empty")
    return found


@dataclass(frozen=True)
class Ridge:
    """The Gaussian model with a ridge source (`uora_bench.theory.settings.Setting` says what each number is)."""

    N: int
    n: int
    p: int
    mu: float
    mu_perp: float
    beta: float
    gamma_pre: float
    gamma: float


@dataclass(frozen=True)
class AccuracyAlpha(Ridge):
    """Accuracy against α, and with ``moments`` mean and second moment. ``special``: α*, the released α* and the worst α
    are among the α."""

    alphas: Values
    special: bool = True
    moments: bool = True


@dataclass(frozen=True)
class DecisionFunction(Ridge):
    """Histogram of wᵀx on fresh points of both classes, for one draw of the data. ``points``: test points per class."""

    alphas: Values
    points: int = 4000
    bins: int = 60


@dataclass(frozen=True)
class GammaSweep:
    """Accuracy, mean, second moment and risk against γ at one α; everything else as in `Ridge`."""

    N: int
    n: int
    p: int
    mu: float
    mu_perp: float
    beta: float
    gamma_pre: float
    alpha: float
    gammas: Values


@dataclass(frozen=True)
class OptimalAlpha:
    """α* and the accuracy there against one parameter: ``along`` names it, ``values`` are its values, and it is left
    out of the others. ``checks``: values at which α* is estimated by simulation too."""

    along: Literal["N", "n", "p", "mu", "mu_perp", "beta", "gamma_pre", "gamma"]
    values: Values
    N: int | None = None
    n: int | None = None
    p: int | None = None
    mu: float | None = None
    mu_perp: float | None = None
    beta: float | None = None
    gamma_pre: float | None = None
    gamma: float | None = None
    checks: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _one_left_out(self, ("N", "n", "p", "mu", "mu_perp", "beta", "gamma_pre", "gamma"))


@dataclass(frozen=True)
class OptimalAlphaMap:
    """α* over a grid of γ̃ and γ."""

    N: int
    n: int
    p: int
    mu: float
    mu_perp: float
    beta: float
    gammas_pre: Values
    gammas: Values


@dataclass(frozen=True)
class SourceVector:
    """A fixed source vector: its norm, its cosine with μ_β, and ‖μ_β‖."""

    n: int
    p: int
    gamma: float
    cosine: float
    source_norm: float
    target_norm: float


@dataclass(frozen=True)
class SourceAccuracyAlpha(SourceVector):
    """As `AccuracyAlpha`, for a fixed source vector."""

    alphas: Values
    special: bool = True
    moments: bool = True


@dataclass(frozen=True)
class SourceOptimalAlpha:
    """As `OptimalAlpha`, for a fixed source vector."""

    along: Literal["n", "p", "gamma", "cosine", "source_norm", "target_norm"]
    values: Values
    n: int | None = None
    p: int | None = None
    gamma: float | None = None
    cosine: float | None = None
    source_norm: float | None = None
    target_norm: float | None = None
    checks: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _one_left_out(self, ("n", "p", "gamma", "cosine", "source_norm", "target_norm"))


@dataclass(frozen=True)
class RegressionRisk:
    """Test risk of d-output ridge regression against α: W_t = βW_s + B, B ⟂ W_s, noise of standard deviation sigma."""

    n: int
    p: int
    d: int
    sigma: float
    gamma: float
    beta: float
    alphas: Values


@dataclass(frozen=True)
class AmazonTransfer:
    """One transfer between two domains of the Amazon reviews (books, dvd, electronics, kitchen); repetitions are random
    splits of the target domain. ``alphas``: of the curve, on which the best α is looked for."""

    source: str
    target: str
    N: int
    n: int
    gamma_pre: float
    gamma: float
    alphas: Values

    def __post_init__(self) -> None:
        if self.source == self.target:
            raise UserError(f"source={self.source} and target={self.target} are one domain; a transfer needs two")


@dataclass(frozen=True)
class DigitsTransfer:
    """One transfer between two pairs (negative, positive) of scikit-learn's digits, padded with noise; repetitions are
    draws of the noise, each with ``splits`` random splits of the target pair."""

    source: tuple[int, ...]
    target: tuple[int, ...]
    n: int
    gamma_pre: float
    gamma: float
    splits: int
    alphas: Values

    def __post_init__(self) -> None:
        for name in ("source", "target"):
            if len(getattr(self, name)) != 2:
                raise UserError(f"{name}={list(getattr(self, name))} must be a pair of digits, e.g. {name}=[1,4]")


KINDS: dict[str, type] = {
    "accuracy_alpha": AccuracyAlpha,
    "decision_function": DecisionFunction,
    "gamma_sweep": GammaSweep,
    "optimal_alpha": OptimalAlpha,
    "optimal_alpha_map": OptimalAlphaMap,
    "source_accuracy_alpha": SourceAccuracyAlpha,
    "source_optimal_alpha": SourceOptimalAlpha,
    "regression_risk": RegressionRisk,
    "amazon": AmazonTransfer,
    "digits": DigitsTransfer,
}
# rises when the same parameters would give other numbers; it is in the id
VERSIONS: dict[str, int] = dict.fromkeys(KINDS, 1)


def _one_left_out(given: Any, names: tuple[str, ...]) -> None:
    missing = [name for name in names if getattr(given, name) is None and name != given.along]
    if missing:
        raise UserError(f"'{missing[0]}' is missing")
    if getattr(given, given.along) is not None:
        raise UserError(f"'{given.along}' is what along={given.along} varies; drop it, or set values=[…]")

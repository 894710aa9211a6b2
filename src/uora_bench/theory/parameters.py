"""What a theory cell computes: the kinds of experiment and the parameters of each, typed.

Values live in configs/theory/*.yaml and on the command line; `uora_bench.util.schema` holds them against these
dataclasses. Names are those of the α-LoRA paper and of `uora_bench.theory.settings`; nothing here computes, so that
listing and planning need no numpy.
"""

from __future__ import annotations

import dataclasses
import math
import typing
from dataclasses import dataclass
from typing import Literal

from uora_bench.errors import UserError, nearest


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
        """The points from ``start`` to ``stop``, linear or logarithmic, rounded to 12 significant digits."""
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


@dataclass(frozen=True, kw_only=True)
class Moments:
    """Sizes and means of the Gaussian model (`uora_bench.theory.settings.Setting` says what each number is)."""

    N: int
    n: int
    p: int
    mu: float
    mu_perp: float
    beta: float


@dataclass(frozen=True, kw_only=True)
class Ridge(Moments):
    """The Gaussian model with a ridge source."""

    gamma_pre: float
    gamma: float


@dataclass(frozen=True, kw_only=True)
class SourceVector:
    """A fixed source vector: its norm, its cosine with μ_β, and ‖μ_β‖."""

    n: int
    p: int
    gamma: float
    cosine: float
    source_norm: float
    target_norm: float


@dataclass(frozen=True, kw_only=True)
class AlphaCurve:
    """Accuracy against α, and with ``moments`` mean and second moment.

    ``special``: α*, the released α* and the worst α are among the α.
    """

    alphas: Values
    special: bool = True
    moments: bool = True


@dataclass(frozen=True, kw_only=True)
class AccuracyAlpha(AlphaCurve, Ridge):
    """As `AlphaCurve`, for a ridge source."""


@dataclass(frozen=True, kw_only=True)
class SourceAccuracyAlpha(AlphaCurve, SourceVector):
    """As `AlphaCurve`, for a fixed source vector."""


@dataclass(frozen=True, kw_only=True)
class DecisionFunction(Ridge):
    """Histogram of wᵀx on fresh points of both classes, for one draw of the data. ``points``: test points per class."""

    alphas: Values
    points: int = 4000
    bins: int = 60


@dataclass(frozen=True, kw_only=True)
class GammaSweep(Moments):
    """Accuracy, mean, second moment and risk against γ at one α; everything else as in `Ridge`."""

    gamma_pre: float
    alpha: float
    gammas: Values


@dataclass(frozen=True, kw_only=True)
class OptimalAlphaMap(Moments):
    """α* over a grid of γ̃ and γ."""

    gammas_pre: Values
    gammas: Values


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """α* and the accuracy there against one parameter of a model.

    ``along`` names it, ``values`` are its values, and it is left out of the others. ``checks``: values at which α* is
    estimated by simulation too.
    """

    along: str
    values: Values
    checks: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        names = [f.name for f in dataclasses.fields(self) if f.name not in ("along", "values", "checks")]
        if self.along not in names:
            raise UserError(f"along='{self.along}' is no parameter that can vary{nearest(self.along, names)}")
        missing = [name for name in names if getattr(self, name) is None and name != self.along]
        if missing:
            raise UserError(f"'{missing[0]}' is missing")
        if getattr(self, self.along) is not None:
            raise UserError(f"'{self.along}' is what along={self.along} varies; drop it, or set values=[…]")


def _sweep(name: str, model: type) -> type:
    """`Sweep` with every parameter of ``model``, None for the one that varies."""
    own = [(key, hint | None, None) for key, hint in typing.get_type_hints(model).items()]
    return dataclasses.make_dataclass(name, own, bases=(Sweep,), frozen=True, kw_only=True)


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
    """One transfer between two domains of the Amazon reviews (books, dvd, electronics, kitchen).

    Repetitions are random splits of the target domain. ``alphas``: of the curve, on which the best α is looked for.
    """

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
    """One transfer between two pairs (negative, positive) of scikit-learn's digits, padded with noise.

    Repetitions are draws of the noise, each with ``splits`` random splits of the target pair.
    """

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
    "optimal_alpha": _sweep("OptimalAlpha", Ridge),
    "optimal_alpha_map": OptimalAlphaMap,
    "source_accuracy_alpha": SourceAccuracyAlpha,
    "source_optimal_alpha": _sweep("SourceOptimalAlpha", SourceVector),
    "regression_risk": RegressionRisk,
    "amazon": AmazonTransfer,
    "digits": DigitsTransfer,
}
# rises when the same parameters would give other numbers; it is in the id
VERSIONS: dict[str, int] = dict.fromkeys(KINDS, 1)

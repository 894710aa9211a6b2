"""What the α-fine-tuned classifier does, in the limit of large dimensions.

w_α = α w̃ + a_α, with a_α the ridge adapter on the residual of the frozen α w̃ (`uora_bench.theory.ridge`), is affine in
α. On a test point of class y, w_αᵀx is asymptotically N(y m, σ²), so the accuracy of its sign is Φ(m/σ). The source
enters through two numbers only, s = ⟨w̃, μ_β⟩ and W = ‖w̃‖² (`Source`): of the ridge classifier trained on the source
set (`ridge_source`), or of any fixed vector. Symbols are those of `uora_bench.theory.equivalents`.

Everything takes α as a number or an array, and settings with arrays as fields: all broadcast.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from uora_bench.errors import UserError, nearest
from uora_bench.theory.equivalents import of_source, of_target
from uora_bench.theory.settings import Setting, Values

Variant = Literal["corrected", "released"]
VARIANTS: tuple[Variant, ...] = ("corrected", "released")


def normal_cdf(value: Values) -> Values:
    """Φ, the standard normal distribution function."""
    from scipy.special import ndtr  # half of what importing this package would take

    return ndtr(value)


@dataclass(frozen=True)
class Source:
    """A frozen source vector w̃ as the formulas see it: ``s`` = ⟨w̃, μ_β⟩ and ``W`` = ‖w̃‖² (numbers or arrays)."""

    s: Values
    W: Values


def source_mean(setting: Setting) -> Values:
    """m̃ = E[ỹ w̃ᵀx̃] = μ²/λ_R of the ridge source on a fresh source point."""
    return np.square(setting.mu) / of_source(setting).lam


def ridge_source(setting: Setting, variant: Variant = "corrected") -> Source:
    """The ridge classifier of the source set: s = βm̃ and W = E‖w̃‖².

        corrected:  W = [ m̃²/μ² + (1−h̃)(1−m̃)² ] / h̃
        released:   W = m̃²/μ² + (1−h̃)(1−2m̃),  what the published code computes (docs/theory_errata.md); it is too
                    small, and below 0 for strong means and small h̃.

    Raises:
        UserError: for another variant.
    """
    c = of_source(setting)
    mean = source_mean(setting)
    along = np.square(setting.mu) / c.lam**2  # m̃²/μ², which is 0 and not 0/0 for μ = 0
    if variant == "corrected":
        second = (along + (1 - c.h) * (1 - mean) ** 2) / c.h
    elif variant == "released":
        second = along + (1 - c.h) * (1 - 2 * mean)
    else:
        raise UserError(f"no variant '{variant}' of the theory{nearest(str(variant), VARIANTS)}")
    return Source(setting.beta * mean, second)


def source_accuracy(source: Source) -> Values:
    """Φ(s/√W), 0 to 1: the accuracy of the untouched source classifier on the target. NaN where W < 0."""
    return _accuracy(source.s, source.W)


def moments(setting: Setting, source: Source, alpha: Values) -> tuple[Values, Values]:
    """(m, ν) of w_αᵀx on a test point of class +1: the mean m(α) and the second moment ν = m² + σ².

    m  = ( ‖μ_β‖² + α k s ) / λ_Q
    σ² = [ m²/‖μ_β‖² + (1−h)(1−m)² + α² (k/κ)² W_⊥ ] / h,     W_⊥ = W − s²/‖μ_β‖²
    """
    mean, variance = _mean_and_variance(setting, source, alpha)
    return mean, mean**2 + variance


def accuracy(setting: Setting, source: Source, alpha: Values) -> Values:
    """Test accuracy Φ(m/σ), 0 to 1. NaN where the released variant's variance is negative."""
    return _accuracy(*_mean_and_variance(setting, source, alpha))


def risk(setting: Setting, source: Source, alpha: Values) -> Values:
    """Test risk E(w_αᵀx − y)² = ν + 1 − 2m."""
    mean, second = moments(setting, source, alpha)
    return second + 1 - 2 * mean


def optimal_alpha(setting: Setting, source: Source) -> Values:
    """α* = η κ s / ( k [ η s² + λ_Q ‖μ_β‖² W_⊥ ] ), where m/σ is largest; it has the sign of s.

    0 for s = 0. Where a released W is so small that the bracket is negative, α* has the wrong sign, as in that code.
    """
    c, norm2 = of_target(setting), setting.target_norm2
    bracket = c.eta * np.square(source.s) + c.lam * norm2 * _orthogonal(setting, source)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = c.eta * c.kappa * source.s / (c.k * bracket)
    return np.where(np.equal(source.s, 0), 0.0, found)[()]


def worst_alpha(setting: Setting, source: Source) -> Values:
    """ᾱ = −‖μ_β‖²/(k s), where m = 0: accuracy is exactly one half, and below it on the far side.

    NaN for s = 0, for which no α does that.
    """
    k = of_target(setting).k
    with np.errstate(divide="ignore", over="ignore"):
        found = -setting.target_norm2 / np.multiply(k, source.s)
    return np.where(np.equal(source.s, 0), np.nan, found)[()]


def best_accuracy(setting: Setting, source: Source) -> Values:
    """The accuracy at α*, in closed form.

    It is Φ of the root of

        (m/σ)²_max = h / ( 1/‖μ_β‖² + 1/( s²/W_⊥ + ‖μ_β‖⁴/η ) ).

    γ enters through h alone, which grows with γ: with α tuned, more penalty is never worse.
    """
    c, norm2, across = of_target(setting), setting.target_norm2, _orthogonal(setting, source)
    # 1/(s²/W_⊥ + ‖μ_β‖⁴/η) without the division by W_⊥, which is 0 for a source parallel to μ_β
    numerator = c.eta * across
    denominator = c.eta * np.square(source.s) + norm2**2 * across
    with np.errstate(divide="ignore", invalid="ignore"):
        rest = np.where(np.equal(denominator, 0), c.eta / norm2**2, numerator / denominator)  # 0/0 is w̃ = 0
        return normal_cdf(np.sqrt(c.h / (1 / norm2 + rest)))[()]


def _orthogonal(setting: Setting, source: Source) -> Values:
    """W_⊥ = W − s²/‖μ_β‖²: the part of ‖w̃‖² orthogonal to μ_β."""
    return source.W - np.square(source.s) / setting.target_norm2


def _mean_and_variance(setting: Setting, source: Source, alpha: Values) -> tuple[Values, Values]:
    c, norm2, alpha = of_target(setting), setting.target_norm2, np.asarray(alpha, float)
    mean = (norm2 + alpha * c.k * source.s) / c.lam
    noise = (1 - c.h) * (1 - mean) ** 2 + alpha**2 * (c.k / c.kappa) ** 2 * _orthogonal(setting, source)
    return mean[()], ((mean**2 / norm2 + noise) / c.h)[()]


def _accuracy(mean: Values, variance: Values) -> Values:
    with np.errstate(divide="ignore", invalid="ignore"):
        return normal_cdf(np.divide(mean, np.sqrt(variance)))[()]

"""Deterministic equivalents of the resolvents, in the limit p, n, N → ∞ with fixed ratios.

For a design of m points with mean vector of squared norm ‖ν‖² and penalty g, Q = (XXᵀ/m + gI)⁻¹ behaves as

    Q̄ = ((I + ννᵀ)/(1+δ) + gI)⁻¹ = ((1+δ)/κ) (I − ννᵀ/λ),

with δ the positive root of δ = η/(g + 1/(1+δ)), η = p/m, and  k = g(1+δ),  κ = 1+k,  λ = ‖ν‖²+κ,  h = 1 − η/κ².
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from uora_bench.theory.settings import Setting, Values


def delta(ratio: Values, gamma: Values) -> Values:
    """The positive root δ of γδ² + (1+γ−η)δ − η = 0, η = ``ratio`` (features over points).

    Of the two forms of the root the one without a difference of nearly equal numbers is taken.
    """
    ratio, gamma = np.asarray(ratio, float), np.asarray(gamma, float)
    b = 1 + gamma - ratio
    root = np.sqrt(b * b + 4 * ratio * gamma)
    # b and root add up in the first where b > 0, in the second where b ≤ 0; the other is not used there
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(b > 0, 2 * ratio / (b + root), (root - b) / (2 * gamma))[()]


@dataclass(frozen=True)
class Constants:
    """η, δ, k, κ, λ, h of one of the two designs (see the module)."""

    eta: Values
    delta: Values
    k: Values
    kappa: Values
    lam: Values
    h: Values


def constants(ratio: Values, gamma: Values, norm2: Values) -> Constants:
    """The constants for η = ``ratio``, penalty ``gamma`` > 0 and squared norm ``norm2`` of the mean; all broadcast."""
    d = delta(ratio, gamma)
    k = gamma * (1 + d)
    kappa = 1 + k
    return Constants(ratio, d, k, kappa, norm2 + kappa, 1 - ratio / kappa**2)


def of_source(setting: Setting) -> Constants:
    """η̃, δ_R, k̃, κ̃, λ_R, h̃: N points, penalty γ̃, mean μ."""
    return constants(np.divide(setting.p, setting.N), setting.gamma_pre, np.square(setting.mu))


def of_target(setting: Setting) -> Constants:
    """η, δ_Q, k, κ, λ_Q, h: n points, penalty γ, mean μ_β."""
    return constants(np.divide(setting.p, setting.n), setting.gamma, setting.target_norm2)

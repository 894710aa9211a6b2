"""One setting of the two-class Gaussian model of transfer with ridge classifiers.

Source (pre-training), N points:  x̃ = ỹ μ + z̃,  z̃ ~ N(0, I_p),  ‖μ‖ = ``mu``.
Target (fine-tuning), n points:   x = y μ_β + z,  z ~ N(0, I_p),  μ_β = β μ + (a part orthogonal to μ).

Two conventions exist for the length of the orthogonal part, and this class has both, apart:

- the synthetic one, where it is √(1−β²) μ_⊥:  ‖μ_β‖² = β²μ² + (1−β²)μ_⊥²  (``target_norm2_override=None``);
- the model as written, where ‖μ_β‖² is what it is and is given: `Setting.from_moments`, for real data.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from uora_bench.errors import UserError

# a number, or an array that broadcasts against the other fields of a setting and against α
Values = Any


@dataclass(frozen=True)
class Setting:
    """Sizes, means and penalties.

    Every field is a number or an array; arrays broadcast in the formulas (only the simulations want plain numbers).

    Attributes:
        N: source points. n: target points. p: features.
        mu: ‖μ‖. mu_perp: the size μ_⊥ of the orthogonal part (see above). beta: the alignment ⟨μ, μ_β⟩/‖μ‖².
        gamma_pre: the source's ridge penalty γ̃ > 0. gamma: the target's, γ > 0.
        target_norm2_override: ‖μ_β‖² where it is known rather than made of β, μ and μ_⊥.

    Raises:
        UserError: for a size below 1, a penalty that is not above 0, a negative μ or μ_⊥, or ‖μ_β‖² ≤ 0.
    """

    N: Values
    n: Values
    p: Values
    mu: Values
    mu_perp: Values
    beta: Values
    gamma_pre: Values
    gamma: Values
    target_norm2_override: Values | None = None

    def __post_init__(self) -> None:
        for names, holds, words in (
            (("N", "n", "p"), lambda v: v >= 1, "a setting has at least one of each; give {0} ≥ 1"),
            (("gamma_pre", "gamma"), lambda v: v > 0, "a ridge penalty is above 0, e.g. {0}=1"),
            (("mu", "mu_perp"), lambda v: v >= 0, "a length is not negative; β carries the sign"),
        ):
            for name in names:
                if not np.all(holds(np.asarray(getattr(self, name)))):
                    raise UserError(f"{name}={getattr(self, name)}: {words.format(name)}")
        if not np.all(np.asarray(self.target_norm2) > 0):
            raise UserError(
                f"‖μ_β‖² is not above 0 for beta={self.beta}, mu={self.mu}, mu_perp={self.mu_perp}: |beta| > 1 needs "
                "Setting.from_moments, which takes the norm itself"
            )

    @classmethod
    def from_moments(
        cls,
        N: Values,
        n: Values,
        p: Values,
        mu: Values,
        beta: Values,
        target_norm2: Values,
        gamma_pre: Values,
        gamma: Values,
    ) -> Setting:
        """A setting whose ‖μ_β‖² is given.

        ``mu_perp`` becomes ‖μ_β − βμ‖ = √(‖μ_β‖² − β²μ²), or 0 where estimates make that square negative (the formulas
        do not use it).
        """
        perp = np.sqrt(np.maximum(np.asarray(target_norm2) - np.square(np.multiply(beta, mu)), 0.0))[()]
        return cls(N, n, p, mu, perp, beta, gamma_pre, gamma, target_norm2)

    @property
    def target_norm2(self) -> Values:
        """‖μ_β‖²."""
        if self.target_norm2_override is not None:
            return self.target_norm2_override
        return np.square(np.multiply(self.beta, self.mu)) + (1 - np.square(self.beta)) * np.square(self.mu_perp)

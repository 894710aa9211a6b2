"""What was computed or simulated, as plain numbers of a record."""

from __future__ import annotations

from typing import Any

import numpy as np

from uora_bench.theory.record import Estimate
from uora_bench.theory.simulate import standard_error


def numbers(found: Any) -> tuple[float | None, ...]:
    """Plain floats; what is not finite is None."""
    return tuple(float(v) if np.isfinite(v) else None for v in np.atleast_1d(np.asarray(found, float)))


def number(found: Any) -> float | None:
    return numbers(found)[0]


def estimate(draws: np.ndarray) -> Estimate:
    """Mean and standard error over the first axis of ``draws``, (repetitions, values) or (repetitions,)."""
    draws = np.asarray(draws, float).reshape(len(draws), -1)
    return Estimate(numbers(draws.mean(axis=0)), numbers(standard_error(draws)), len(draws))

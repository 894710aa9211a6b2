"""The regression variant: d outputs, Y = W_t X + noise, X ~ N(0, I_p), independent noise of standard deviation σ.

With a frozen source matrix W_s (d × p) the α-fine-tuned matrix is W_α = YXᵀQ/n + αγ W_s Q, and in the limit of large
dimensions its risk on a fresh point, summed over the d outputs and with their noise, is

    risk(α) = [ k² ‖W_t − αW_s‖²_F + σ² d κ² ] / (κ² − η),

smallest at α* = ⟨W_t, W_s⟩_F/‖W_s‖²_F, whatever n and γ are. k, κ, η as in `uora_bench.theory.equivalents`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from uora_bench.errors import UserError
from uora_bench.theory import ridge
from uora_bench.theory.equivalents import constants
from uora_bench.util.seeds import derive

Array = np.ndarray


def risk(source: Array, target: Array, alpha: Any, n: int, gamma: float, noise: float) -> Any:
    """The limit of E‖y − W_α x‖² for α (number or array).

    Args:
        source: W_s, (d, p).
        target: W_t, (d, p).
        alpha: α, of any shape; the result has it too.
        n: training points.
        gamma: the penalty γ > 0.
        noise: σ, the standard deviation of each output's noise.

    Raises:
        UserError: when the two matrices differ in shape.
    """
    _check(source, target)
    outputs, features = source.shape
    c = constants(features / n, gamma, 0.0)
    alpha = np.asarray(alpha, float)
    # ‖W_t − αW_s‖² is a parabola in α
    apart = np.sum(target**2) - 2 * alpha * np.sum(target * source) + alpha**2 * np.sum(source**2)
    return ((c.k**2 * apart + noise**2 * outputs * c.kappa**2) / (c.kappa**2 - c.eta))[()]


def optimal_alpha(source: Array, target: Array) -> float:
    """α* = ⟨W_t, W_s⟩_F/‖W_s‖²_F, for W_s and W_t (d, p); raises as `risk`."""
    _check(source, target)
    return float(np.sum(target * source) / np.sum(source**2))


def matrices(outputs: int, features: int, beta: float, seed: int) -> tuple[Array, Array]:
    """(W_s, W_t), both (d, p): W_s of independent standard normals and W_t = βW_s + B, so that α* = β.

    B is drawn as W_s is, less its part along W_s.
    """
    rng = np.random.default_rng(derive(seed, "theory", "regression", "matrices"))
    source, other = rng.standard_normal((2, outputs, features))
    other -= np.sum(other * source) / np.sum(source**2) * source
    return source, beta * source + other


def simulate_regression(
    source: Array, target: Array, alphas: Any, n: int, gamma: float, noise: float, repetitions: int, seed: int
) -> Array:
    """Risks (repetitions, alphas) of fitted W_α, each repetition on a training set of n points of its own.

    The risk on a fresh point, ‖W_t − W_α‖²_F + σ²d, needs no test set. Arguments are those of `risk`.

    Raises:
        UserError: when the two matrices differ in shape, or there are no repetitions.
    """
    alphas = np.atleast_1d(np.asarray(alphas, float))
    found = []
    for points, targets in _draws(source, target, n, noise, repetitions, seed):
        base, pull = ridge.adapter(points, targets, source.T, gamma)
        error = target.T - base
        axes = (-2, -1)
        parabola = [np.sum(error**2, axes), np.sum(error * pull, axes), np.sum(pull**2, axes)]
        apart = parabola[0][:, None] - 2 * np.outer(parabola[1], alphas) + np.outer(parabola[2], alphas**2)
        found.append(apart + noise**2 * len(source))
    return np.concatenate(found)


def _draws(
    source: Array, target: Array, n: int, noise: float, repetitions: int, seed: int
) -> Iterator[tuple[Array, Array]]:
    """Batches of points (batch, n, p) and targets (batch, n, d)."""
    _check(source, target)
    if repetitions < 1:
        raise UserError(f"repetitions={repetitions}: nothing to simulate; give 1 or more")
    outputs, features = source.shape
    size = max(1, 4_000_000 // (n * (features + outputs)))
    for start in range(0, repetitions, size):
        numbers = range(start, min(start + size, repetitions))
        drawn = np.empty((len(numbers), n, features + outputs))
        for row, i in zip(drawn, numbers, strict=True):
            np.random.default_rng(derive(seed, "theory", "regression", i)).standard_normal(out=row)
        points = np.ascontiguousarray(drawn[..., :features])
        yield points, points @ target.T + noise * drawn[..., features:]


def _check(source: Array, target: Array) -> None:
    if source.ndim != 2 or source.shape != target.shape:
        raise UserError(f"W_s is {source.shape} and W_t {target.shape}: both are outputs × features")

"""Monte-Carlo simulation of the two-class model: what the formulas of `uora_bench.theory.classification` must match.

A repetition draws a source set and a target set, fits w̃ and w_α, and notes m = ⟨μ_β, w_α⟩ and σ² = ‖w_α‖². Given w_α
the accuracy on test points is exactly Φ(m/σ), so no test set is drawn.

Three things make it quick. w_α is affine in α, so one system gives every α (`uora_bench.theory.ridge`). Systems are
solved in the smaller of points and features, many repetitions at once. And the source vector is drawn from its exact
law without drawing the source set (`law`), which costs O(p) instead of O(Np²).

A repetition has random numbers of its own, derived from the seed and its number: a longer run begins with a shorter
one, and settings of equal sizes see the same noise, so that differences between them are paired.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from uora_bench.errors import UserError
from uora_bench.theory import ridge
from uora_bench.theory.classification import Source, normal_cdf
from uora_bench.theory.settings import Setting
from uora_bench.util.seeds import derive

Array = np.ndarray
Draw = Callable[[Setting, list[np.random.Generator]], Array]
_CHUNK = 4_000_000  # numbers in one batch of target sets


@dataclass(frozen=True)
class Simulation:
    """What a simulation found.

    Attributes:
        alphas: (alphas,).
        accuracy, mean, second_moment: (repetitions, alphas): Φ(m/σ), m, and ν = m² + σ².
        source_accuracy: (repetitions,): of the untouched source vector on the target.
        source_mean: (repetitions,): s = ⟨w̃, μ_β⟩. source_norm2: (repetitions,): W = ‖w̃‖².
    """

    alphas: Array
    accuracy: Array
    mean: Array
    second_moment: Array
    source_accuracy: Array
    source_mean: Array
    source_norm2: Array


def standard_error(values: Array) -> Any:
    """Standard error of the mean over the first axis (repetitions)."""
    return np.std(values, axis=0, ddof=1) / np.sqrt(len(values))


def simulate(
    setting: Setting, alphas: Any, repetitions: int, seed: int, source: Source | None = None, draw: Draw | None = None
) -> Simulation:
    """Fit and score every α on ``repetitions`` independent draws.

    Args:
        setting: plain numbers, no arrays.
        alphas: numbers to score.
        repetitions: how many draws, at least 1.
        seed: everything drawn is derived from it.
        source: a fixed source vector with these s and W, in place of the ridge classifier of a fresh source set.
        draw: how the ridge source is drawn, `law` where None; another way has other random numbers.

    Raises:
        UserError: for arrays in the setting, no repetitions, or s and W that no vector has.
    """
    alphas = np.atleast_1d(np.asarray(alphas, float))
    target = target_mean(setting)
    parts = []
    for sources, points in draws(setting, repetitions, seed, source, draw):
        ones = np.ones((*points.shape[:2], 1))
        base, pull = ridge.adapter(points, ones, sources[..., None], setting.gamma)
        parts.append(_scores(alphas, base[..., 0], pull[..., 0], sources, target))
    return collected(alphas, parts)


def decision_values(
    setting: Setting, alphas: Any, points: int, seed: int, source: Source | None = None
) -> tuple[Array, Array]:
    """Decision values w_αᵀx of one fitted classifier per α on fresh test points, for histograms.

    Returns:
        labels (points,), −1 for the first half and +1 for the rest, and values (alphas, points); all α see the same
        training sets and the same test points.

    Raises:
        UserError: as `simulate`.
    """
    alphas = np.atleast_1d(np.asarray(alphas, float))
    target = target_mean(setting)
    sources, rows = next(draws(setting, 1, seed, source))
    base, pull = ridge.adapter(rows[0], np.ones((rows.shape[1], 1)), sources[0][:, None], setting.gamma)
    labels = np.where(np.arange(points) < points // 2, -1.0, 1.0)
    rng = np.random.default_rng(derive(seed, "theory", "test points"))
    test = labels[:, None] * target + rng.standard_normal((points, int(setting.p)))
    return labels, (test @ (base + pull * alphas)).T


def draws(
    setting: Setting, repetitions: int, seed: int, source: Source | None, draw: Draw | None = None
) -> Iterator[tuple[Array, Array]]:
    """Batches of (source vectors (batch, p), target points (batch, n, p)).

    Labels are gone: there is no intercept and the noise is symmetric, so every estimator depends on the products y·x
    alone, which are N(mean, I), with all targets 1. Arguments and errors are those of `simulate`.
    """
    if repetitions < 1:
        raise UserError(f"repetitions={repetitions}: nothing to simulate; give 1 or more")
    draw = draw or law
    n, p = int(setting.n), int(setting.p)
    target = target_mean(setting)
    size = max(1, _CHUNK // (n * p))
    for start in range(0, repetitions, size):
        numbers = range(start, min(start + size, repetitions))
        if source is not None:
            vectors = np.broadcast_to(_fixed(setting, source), (len(numbers), p))
        else:
            generators = [np.random.default_rng(derive(seed, "theory", "source", draw.__name__, i)) for i in numbers]
            vectors = draw(setting, generators)
        points = np.empty((len(numbers), n, p))
        for row, i in zip(points, numbers, strict=True):
            np.random.default_rng(derive(seed, "theory", "target", i)).standard_normal(out=row)
        points += target
        yield vectors, points


def target_mean(setting: Setting) -> Array:
    """μ_β as a vector (p,): βμ along the first axis (where μ points), the rest of its length along the second.

    Raises:
        UserError: for arrays in the setting, or moments that no vector in p dimensions has.
    """
    values = [getattr(setting, name) for name in ("N", "n", "p", "mu", "beta", "gamma_pre", "gamma")]
    if any(np.ndim(value) for value in (*values, setting.target_norm2)):
        raise UserError("a simulation is of one setting: give numbers, not arrays, and loop over a grid")
    along = setting.beta * setting.mu
    rest = float(setting.target_norm2 - along**2)
    if rest < -1e-12 * setting.target_norm2 or (rest > 0 and setting.p < 2):
        raise UserError(f"no vector μ_β in {setting.p} dimensions has length² {setting.target_norm2} and βμ={along}")
    vector = np.zeros(int(setting.p))
    vector[0] = along
    if setting.p > 1:
        vector[1] = np.sqrt(max(rest, 0.0))
    return vector


def _fixed(setting: Setting, source: Source) -> Array:
    """A vector w̃ with the given s and W: its part along μ_β, and the rest along the third axis."""
    target = target_mean(setting)
    vector = source.s / setting.target_norm2 * target
    rest = float(source.W - vector @ vector)
    if rest < -1e-12 * source.W or (rest > 1e-12 * source.W and setting.p < 3):
        raise UserError(f"no source vector in {setting.p} dimensions has s={source.s} and W={source.W}")
    if setting.p > 2:
        vector[2] = np.sqrt(max(rest, 0.0))
    return vector


def law(setting: Setting, generators: list[np.random.Generator]) -> Array:
    """w̃ of a source set for each generator, (sets, p), drawn from its law without the set.

    Write the N points as columns g_i = μ + z_i. Rotating the N columns so that (1,…,1)/√N is the first axis gives
    Σ g_i g_iᵀ = uuᵀ + ZZᵀ with u = √N μ + (a normal vector) and Z a p × (N−1) normal matrix independent of u, and
    w̃ = (uuᵀ/N + ZZᵀ/N + γ̃I)⁻¹ u/√N. Householder reflections from both sides, which leave û = u/‖u‖ alone, take Z to a
    lower bidiagonal matrix of independent χ variables, χ_{N−1}, χ_{N−2}, … on the diagonal and χ_{p−1}, χ_{p−2}, …
    below it (Golub and Kahan's algorithm on a normal matrix). The system becomes tridiagonal, and the directions
    orthogonal to û are uniform. So w̃ = x_1 û + ‖(x_2, …)‖ ξ, with x the solution for the right-hand side ‖u‖e_1/√N and
    ξ uniform on the unit sphere orthogonal to û.
    """
    from scipy.linalg import solveh_banded

    p, points = int(setting.p), int(setting.N)
    width = min(points - 1, p)  # columns of the bidiagonal matrix that are not 0
    size = min(width + 1, p)  # its rows that are not 0
    diagonal = np.zeros((len(generators), size))
    below = np.zeros((len(generators), size))
    u = np.empty((len(generators), p))
    xi = np.empty((len(generators), p))
    for i, rng in enumerate(generators):
        rng.standard_normal(out=u[i])
        rng.standard_normal(out=xi[i])
        diagonal[i, :width] = rng.chisquare(points - 1 - np.arange(width))
        below[i, : size - 1] = rng.chisquare(p - 1 - np.arange(size - 1))
    u[:, 0] += np.sqrt(points) * setting.mu
    length = np.linalg.norm(u, axis=1, keepdims=True)
    # BBᵀ of the lower bidiagonal B: squares of a row on the diagonal, products of neighbours next to it
    main = diagonal.copy()
    main[:, 1:] += below[:, :-1]
    main[:, :1] += length**2
    off_diagonal = np.sqrt(diagonal * below)  # its last column is 0, which also parts one repetition from the next
    banded = np.stack([main / points + setting.gamma_pre, off_diagonal / points]).reshape(2, -1)
    right = np.zeros_like(diagonal)
    right[:, :1] = length / np.sqrt(points)
    x = solveh_banded(banded, right.ravel(), lower=True, check_finite=False).reshape(right.shape)
    along = u / length
    xi -= np.sum(xi * along, axis=1, keepdims=True) * along
    across = np.linalg.norm(x[:, 1:], axis=1, keepdims=True)
    if p > 1:
        xi /= np.linalg.norm(xi, axis=1, keepdims=True)
    return x[:, :1] * along + across * xi


def _scores(alphas: Array, base: Array, pull: Array, sources: Array, target: Array) -> tuple[Array, ...]:
    """m and ‖w_α‖² of every α, s and W, of a batch: base and pull (batch, p)."""
    mean = np.outer(base @ target, np.ones_like(alphas)) + np.outer(pull @ target, alphas)
    squares = [np.sum(a * b, axis=1) for a, b in ((base, base), (base, pull), (pull, pull))]
    norm2 = squares[0][:, None] + 2 * np.outer(squares[1], alphas) + np.outer(squares[2], alphas**2)
    return mean, norm2, sources @ target, np.sum(sources * sources, axis=1)


def collected(alphas: Array, parts: Sequence[tuple[Array, ...]]) -> Simulation:
    """The `Simulation` of all draws; ``parts`` are batches of (mean, ‖w_α‖², s, W), the first axis the draws."""
    mean, norm2, s, W = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        hits, alone = normal_cdf(mean / np.sqrt(norm2)), normal_cdf(s / np.sqrt(W))
    return Simulation(alphas, hits, mean, mean**2 + norm2, alone, s, W)

"""Summaries of scores over tasks and seeds with stratified percentile bootstrap intervals. Pure numpy.

Seeds are resampled within each task, tasks never (Agarwal et al. 2021, arXiv 2108.13264): an interval says what other
seeds might have given on the same tasks. Units are those of the scores.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from uora_bench.errors import UserError, nearest
from uora_bench.report.permutation import Pairs, Scores, check_scores, pair

MINIMUM_SEEDS = 3  # below, nothing is claimed: no interval, no p-value
REPETITIONS = 10_000

Statistic = Literal["mean", "median", "mean_of_medians", "iqm"]
Resampled = list[np.ndarray]  # per task (repetitions, n_t)


@dataclass(frozen=True)
class Interval:
    """``point``, the statistic of the scores themselves, and its ``low`` and ``high`` limit at confidence ``level``."""

    point: float
    low: float
    high: float
    level: float


def interquartile_mean(values: np.ndarray) -> np.ndarray:
    """Mean of the middle 50 % of ``values`` (…, n) along the last axis: ⌊n/4⌋ values are left out at each end, nothing
    is weighted.

    The convention of ``scipy.stats.trim_mean(values, 0.25)``, hence of Agarwal et al. 2021; with n < 4 it is the mean.
    """
    n = values.shape[-1]
    cut = int(0.25 * n)
    return np.sort(values, axis=-1)[..., cut : n - cut].mean(axis=-1)


def _pooled(function: Callable[[np.ndarray], np.ndarray]) -> Callable[[Resampled], np.ndarray]:
    return lambda tasks: function(np.concatenate(tasks, axis=1))


def _mean(tasks: Resampled) -> np.ndarray:
    return np.mean([values.mean(axis=1) for values in tasks], axis=0)


_STATISTICS: dict[str, Callable[[Resampled], np.ndarray]] = {
    "mean": _mean,
    "median": _pooled(lambda values: np.median(values, axis=1)),
    "mean_of_medians": lambda tasks: np.mean([np.median(values, axis=1) for values in tasks], axis=0),
    "iqm": _pooled(interquartile_mean),
}


def check_level(level: float) -> None:
    """`UserError` unless 0 < ``level`` < 1."""
    if not 0 < level < 1:
        raise UserError(
            f"a level of {level!r} is not between 0 and 1; the usual ones are 0.95 (confidence), 0.05 (test)"
        )


def _interval(point: float, samples: np.ndarray, level: float) -> Interval:
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(point), float(low), float(high), level)


def _check(level: float, repetitions: int) -> None:
    check_level(level)
    if repetitions < 1:
        raise UserError(f"{repetitions} repetitions make no bootstrap interval; the default is {REPETITIONS}")


def _resample(tasks: list[np.ndarray], repetitions: int, generator: np.random.Generator) -> Resampled:
    """``repetitions`` samples with replacement of each task's values (n_t,)."""
    return [values[generator.integers(0, len(values), size=(repetitions, len(values)))] for values in tasks]


def bootstrap(
    scores: Scores,
    statistic: Statistic = "mean",
    level: float = 0.95,
    repetitions: int = REPETITIONS,
    *,
    generator: np.random.Generator,
) -> Interval:
    """Interval of a ``statistic`` of one method's (task × seed) scores.

    ``mean``: the mean of the task means. ``median`` and ``iqm``: the median and `interquartile_mean` of all scores
    pooled, so that a task with more seeds weighs more. ``mean_of_medians``: the mean over tasks of the median over
    seeds, the average column of tables that report medians. On one task ``median`` is the median over seeds.

    Raises `UserError` for an unknown statistic, scores `check_scores` refuses, and a task with fewer than
    `MINIMUM_SEEDS` seeds.
    """
    _check(level, repetitions)
    if statistic not in _STATISTICS:
        raise UserError(f"no statistic '{statistic}'{nearest(statistic, get_args(Statistic))}")
    tasks = []
    for task, seeds in check_scores(scores).items():
        if len(seeds) < MINIMUM_SEEDS:
            raise UserError(
                f"task '{task}' has {len(seeds)} seeds; an interval needs {MINIMUM_SEEDS}: "
                "run more, or show the score alone"
            )
        tasks.append(np.array(list(seeds.values())))
    compute = _STATISTICS[statistic]
    point = compute([values[None] for values in tasks])[0]
    return _interval(point, compute(_resample(tasks, repetitions, generator)), level)


def difference_interval(
    pairs: Pairs, level: float = 0.95, repetitions: int = REPETITIONS, *, generator: np.random.Generator
) -> Interval:
    """Interval of the mean over tasks of the mean paired difference, first − second.

    The same seeds are drawn for both methods, so what a seed does to both alike (its order of the data, its head)
    cancels. Raises `UserError` for a task with fewer than `MINIMUM_SEEDS` shared seeds.
    """
    _check(level, repetitions)
    pairs.require(MINIMUM_SEEDS, "an interval")
    differences = pairs.differences
    point = _mean([d[None] for d in differences])[0]
    return _interval(point, _mean(_resample(differences, repetitions, generator)), level)


def probability_of_improvement(
    a: Scores,
    b: Scores,
    higher_is_better: bool = True,
    level: float = 0.95,
    repetitions: int = REPETITIONS,
    *,
    generator: np.random.Generator,
) -> Interval:
    """Chance that a run of ``a`` beats a run of ``b`` on the same task, averaged over tasks: 0.5 is no difference.

    P = 1/K Σ_t 1/n_t² Σ_i Σ_j ([x_ti > y_tj] + ½ [x_ti = y_tj]), over all pairs of seeds (Agarwal et al. 2021,
    arXiv 2108.13264; per task the Mann-Whitney U statistic over n_t²); with ``higher_is_better=False`` < for >. The
    runs are those at seeds both methods have. As in the paper the two methods' runs are resampled independently.

    Raises `UserError` for scores `pair` refuses and a task with fewer than `MINIMUM_SEEDS` shared seeds.
    """
    _check(level, repetitions)
    pairs = pair(a, b)
    pairs.require(MINIMUM_SEEDS, "an interval")
    points, samples = [], np.zeros(repetitions)
    for x, y in zip(pairs.first, pairs.second, strict=True):
        wins = (np.sign(x[:, None] - y[None, :]) * (1 if higher_is_better else -1) + 1) / 2
        points.append(float(wins.mean()))
        # how often each run is drawn stands for the draws: the mean over drawn pairs is a bilinear form
        n = len(x)
        times_x, times_y = (generator.multinomial(n, np.full(n, 1 / n), size=repetitions) for _ in range(2))
        samples += ((times_x @ wins) * times_y).sum(axis=1) / n**2
    return _interval(math.fsum(points) / len(points), samples / len(points), level)

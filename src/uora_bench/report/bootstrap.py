"""Summaries of scores over tasks and seeds with stratified percentile bootstrap intervals.

Pure numpy: importing `scipy.stats` would take longer than all the intervals of all the tables.

Seeds are resampled within each task, tasks never (Agarwal et al. 2021, arXiv 2108.13264): an interval says what other
seeds might have given on the same tasks. Units are those of the scores.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from uora_bench.errors import UserError, nearest
from uora_bench.report.pairing import Pairs, Scores, check_scores, pair

MINIMUM_SEEDS = 3  # below, nothing is claimed: no interval, no p-value
REPETITIONS = 10_000

Statistic = Literal["mean", "iqm"]


@dataclass(frozen=True)
class Interval:
    """``point``, the statistic of the scores themselves, and its ``low`` and ``high`` limit at some confidence."""

    point: float
    low: float
    high: float


def interquartile_mean(tasks: Sequence[np.ndarray]) -> np.ndarray:
    """The interquartile mean (…) of all scores of ``tasks``, each (…, n_t).

    Of n scores together ⌊n/4⌋ are left out at each end; nothing is weighted.

    The convention of ``scipy.stats.trim_mean(values, 0.25)``, hence of Agarwal et al. 2021; with n < 4 it is the mean.
    """
    values = np.sort(np.concatenate(tasks, axis=-1), axis=-1)
    cut = values.shape[-1] // 4
    return values[..., cut : values.shape[-1] - cut].mean(axis=-1)


def mean_of_means(tasks: Sequence[np.ndarray]) -> np.ndarray:
    """The mean over ``tasks``, each (…, n_t), of the mean over seeds."""
    return np.mean([values.mean(axis=-1) for values in tasks], axis=0)


def check_level(level: float, repetitions: int = 1) -> None:
    """`UserError` unless 0 < ``level`` < 1 and there are ``repetitions``."""
    if not 0 < level < 1:
        raise UserError(
            f"a level of {level!r} is not between 0 and 1; the usual ones are 0.95 (confidence), 0.05 (test)"
        )
    if repetitions < 1:
        raise UserError(f"{repetitions} repetitions make no bootstrap interval; the default is {REPETITIONS}")


def _interval(point: np.ndarray, samples: np.ndarray, level: float) -> Interval:
    low, high = np.quantile(samples, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(point), float(low), float(high))


def _resampled(
    tasks: Sequence[np.ndarray],
    statistic: Callable[[Sequence[np.ndarray]], np.ndarray],
    level: float,
    repetitions: int,
    generator: np.random.Generator,
) -> Interval:
    """The interval of ``statistic`` over samples with replacement of each task's values (n_t,)."""
    drawn = [values[generator.integers(0, len(values), size=(repetitions, len(values)))] for values in tasks]
    return _interval(statistic(tasks), statistic(drawn), level)


def bootstrap(
    scores: Scores,
    statistic: Statistic = "mean",
    level: float = 0.95,
    repetitions: int = REPETITIONS,
    *,
    generator: np.random.Generator,
) -> Interval:
    """The interval of a ``statistic`` of one method's (task × seed) scores.

    ``mean``: `mean_of_means`; ``iqm``: `interquartile_mean`, in which a task with more seeds weighs more.

    Raises `UserError` for an unknown statistic, scores `check_scores` refuses, and a task with fewer than
    `MINIMUM_SEEDS` seeds.
    """
    check_level(level, repetitions)
    known = {"mean": mean_of_means, "iqm": interquartile_mean}
    if statistic not in known:
        raise UserError(f"no statistic '{statistic}'{nearest(statistic, get_args(Statistic))}")
    checked = check_scores(scores)
    for task, seeds in checked.items():
        if len(seeds) < MINIMUM_SEEDS:
            raise UserError(
                f"task '{task}' has {len(seeds)} seeds; an interval needs {MINIMUM_SEEDS}: "
                "run more, or show the score alone"
            )
    tasks = [np.array(list(seeds.values())) for seeds in checked.values()]
    return _resampled(tasks, known[statistic], level, repetitions, generator)


def difference_interval(
    pairs: Pairs, level: float = 0.95, repetitions: int = REPETITIONS, *, generator: np.random.Generator
) -> Interval:
    """Interval of the mean over tasks of the mean paired difference, first − second.

    The same seeds are drawn for both methods, so what a seed does to both alike (its order of the data, its head)
    cancels. Raises `UserError` for a task with fewer than `MINIMUM_SEEDS` shared seeds.
    """
    check_level(level, repetitions)
    pairs.require(MINIMUM_SEEDS, "an interval")
    return _resampled(pairs.differences, mean_of_means, level, repetitions, generator)


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
    check_level(level, repetitions)
    pairs = pair(a, b)
    pairs.require(MINIMUM_SEEDS, "an interval")
    points, samples = [], []
    for x, y in zip(pairs.first, pairs.second, strict=True):
        wins = (np.sign(x[:, None] - y[None, :]) * (1 if higher_is_better else -1) + 1) / 2
        # how often each run is drawn stands for the draws: the mean over drawn pairs is a bilinear form
        n = len(x)
        drawn = [_counts(n, repetitions, generator) for _ in (x, y)]
        points.append(wins.mean())
        samples.append(((drawn[0] @ wins) * drawn[1]).sum(axis=1) / n**2)
    return _interval(np.mean(points), np.mean(samples, axis=0), level)


def _counts(n: int, repetitions: int, generator: np.random.Generator) -> np.ndarray:
    """How often each of ``n`` things is among ``n`` draws with replacement, (repetitions, n).

    What ``generator.multinomial`` with equal chances gives, in a fifth of the time.
    """
    drawn = generator.integers(0, n, size=(repetitions, n))
    drawn += np.arange(repetitions)[:, None] * n
    return np.bincount(drawn.ravel(), minlength=repetitions * n).reshape(repetitions, n)

"""What a table may say about methods: which is better, by how much, and who is marked best and second.

The door to the statistics of a report: `bootstrap` has the intervals, `permutation` the test, `comparison` two methods.
Everything random comes from the `numpy.random.Generator` a caller hands over, and tasks, seeds and methods are sorted
first: the same scores and ``numpy.random.default_rng(seed)`` give the same numbers in whatever order records were read.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from uora_bench.errors import UserError
from uora_bench.report.bootstrap import (
    MINIMUM_SEEDS,
    REPETITIONS,
    Interval,
    bootstrap,
    difference_interval,
    interquartile_mean,
    probability_of_improvement,
)
from uora_bench.report.comparison import LEVEL, Comparison, compare, corrected
from uora_bench.report.permutation import DRAWS, PermutationTest, Scores, check_scores, holm, pair, sign_flip_test

__all__ = [
    "LEVEL", "MINIMUM_SEEDS", "Comparison", "Interval", "Marks", "PermutationTest", "Scores", "best_marks", "bootstrap",
    "compare", "compare_many", "corrected", "difference_interval", "holm", "interquartile_mean", "marks_of", "pair",
    "probability_of_improvement", "sign_flip_test",
]  # fmt: skip


def _with_scores(scores_by_method: Mapping[str, Scores]) -> dict[str, dict[str, dict[int, float]]]:
    """The methods that have a score, sorted and checked."""
    return {
        method: check_scores(scores_by_method[method], f"method '{method}'")
        for method in sorted(scores_by_method)
        if any(scores_by_method[method].values())
    }


def compare_many(
    scores_by_method: Mapping[str, Scores],
    higher_is_better: bool = True,
    level: float = LEVEL,
    repetitions: int = REPETITIONS,
    draws: int = DRAWS,
    *,
    generator: np.random.Generator,
) -> dict[tuple[str, str], Comparison]:
    """Comparisons of many methods, first → second, `corrected` as one family.

    The family is every pair of methods, each counted once and returned both ways round. Methods without any score are
    left out; all others must have the same tasks.

    Raises `UserError` if fewer than two methods have scores, and as `pair` does.
    """
    scores = _with_scores(scores_by_method)
    if len(scores) < 2:
        raise UserError(f"a comparison needs two methods with scores, here are {len(scores)}; run another method")
    raw = {}
    for x, y in itertools.combinations(scores, 2):
        if different := sorted(set(scores[x]) ^ set(scores[y])):
            has, lacks = (x, y) if different[0] in scores[x] else (y, x)
            raise UserError(
                f"method '{has}' has task '{different[0]}' and method '{lacks}' has not; "
                "compare the tasks that all methods have"
            )
        raw[x, y] = compare(scores[x], scores[y], higher_is_better, level, repetitions, draws, generator=generator)
    found = corrected(raw, higher_is_better, level)
    return {**found, **{key[::-1]: one.reversed() for key, one in found.items()}}


class Marks(NamedTuple):
    """The methods a table column marks; None where the data single nobody out."""

    best: str | None
    second: str | None


def marks_of(comparisons: Mapping[tuple[str, str], Comparison]) -> Marks:
    """The marks that all pairs of `compare_many` allow.

    Best is the method that is "better" than every other; second, once there is a best, the one better than every other
    but the best, of which there must be at least one.
    """
    left = sorted({method for key in comparisons for method in key})
    marks: list[str | None] = []
    while len(left) > 1 and len(marks) < 2:
        winners = [m for m in left if all(comparisons[m, o].verdict == "better" for o in left if o != m)]
        if not winners:
            break
        marks += winners
        left.remove(winners[0])
    best, second = (*marks, None, None)[:2]
    return Marks(best, second)


def best_marks(
    scores_by_method: Mapping[str, Scores],
    higher_is_better: bool = True,
    level: float = LEVEL,
    draws: int = DRAWS,
    *,
    generator: np.random.Generator,
) -> Marks:
    """Whom a column may mark: `marks_of` the family of all pairs of its methods, corrected by Holm.

    A tie, a difference that is not significant or too few seeds mark nobody, and so do fewer than two methods with
    scores. Otherwise raises `UserError` as `compare_many` does. Chance comes in beyond 16 pairs only.
    """
    if len(_with_scores(scores_by_method)) < 2:
        return Marks(None, None)
    # marks need no interval: one repetition
    return marks_of(compare_many(scores_by_method, higher_is_better, level, 1, draws, generator=generator))

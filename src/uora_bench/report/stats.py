"""What a table may say about methods: which is better, by how much, and who is marked best and second.

The door to the statistics of a report: `bootstrap` has the intervals, `permutation` the test, `comparison` two methods.
Everything random comes from the `numpy.random.Generator` a caller hands over, and tasks, seeds and methods are sorted
first: the same scores and ``numpy.random.default_rng(seed)`` give the same numbers in whatever order records were read.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from uora_bench.errors import UserError, nearest
from uora_bench.report.bootstrap import (
    MINIMUM_SEEDS,
    REPETITIONS,
    Interval,
    bootstrap,
    interquartile_mean,
    paired_bootstrap,
    probability_of_improvement,
)
from uora_bench.report.comparison import LEVEL, Comparison, compare, verdict_of
from uora_bench.report.permutation import DRAWS, PermutationTest, Scores, check_scores, holm, permutation_test

__all__ = [
    "LEVEL", "MINIMUM_SEEDS", "Comparison", "Interval", "Marks", "PermutationTest", "Scores", "best_marks", "bootstrap",
    "compare", "compare_many", "holm", "interquartile_mean", "marks_of", "paired_bootstrap", "permutation_test",
    "probability_of_improvement",
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
    reference: str | None = None,
    higher_is_better: bool = True,
    level: float = LEVEL,
    repetitions: int = REPETITIONS,
    draws: int = DRAWS,
    *,
    generator: np.random.Generator,
) -> dict[tuple[str, str], Comparison]:
    """Comparisons of many methods, first → second, their p-values corrected by `holm` as one family.

    The family is every pair of methods, each counted once and returned both ways round; with a ``reference``, every
    other method against it. Comparisons with too few seeds have no p-value and do not count. Methods without any score
    are left out; all others must have the same tasks.

    Raises `UserError` if fewer than two methods have scores, for an unknown reference, and as `pair` does.
    """
    scores = _with_scores(scores_by_method)
    if len(scores) < 2:
        raise UserError(f"a comparison needs two methods with scores, here are {len(scores)}; run another method")
    if reference is not None and reference not in scores:
        raise UserError(f"the reference '{reference}' has no scores here{nearest(reference, scores)}")
    pairs = itertools.combinations(scores, 2)
    keys = list(pairs) if reference is None else [(m, reference) for m in scores if m != reference]
    raw = {}
    for x, y in keys:
        if different := sorted(set(scores[x]) ^ set(scores[y])):
            has, lacks = (x, y) if different[0] in scores[x] else (y, x)
            raise UserError(
                f"method '{has}' has task '{different[0]}' and method '{lacks}' has not; "
                "compare the tasks that all methods have"
            )
        raw[x, y] = compare(scores[x], scores[y], higher_is_better, level, repetitions, draws, generator=generator)
    tested = {key: c for key, c in raw.items() if c.p is not None}
    family = dict(zip(tested, holm([c.p for c in tested.values() if c.p is not None]), strict=True))
    found = {}
    for key, one in raw.items():
        if one.difference is not None and key in family:
            verdict = verdict_of(one.difference, family[key], higher_is_better, level)
            one = replace(one, adjusted_p=family[key], family=len(family), verdict=verdict)
        found[key] = one
        if reference is None:
            found[key[::-1]] = one.reversed()
    return found


class Marks(NamedTuple):
    """The methods a table column marks; None where the data single nobody out."""

    best: str | None
    second: str | None


def marks_of(comparisons: Mapping[tuple[str, str], Comparison]) -> Marks:
    """The marks that all pairs of `compare_many`, without a reference, allow.

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
    return marks_of(compare_many(scores_by_method, None, higher_is_better, level, 1, draws, generator=generator))

"""Scores of a method, ``task -> {seed -> score}`` in any unit, and two methods paired by seed within each task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real

import numpy as np

from uora_bench.errors import UserError, nearest

Scores = Mapping[str, Mapping[int, float]]


def check_scores(scores: Scores, who: str = "the scores") -> dict[str, dict[int, float]]:
    """``scores`` as floats, tasks and seeds sorted, so that no result depends on the order they came in.

    Raises `UserError` if there is no task, a task without a score, or a score that is not a finite number.
    """
    if not scores:
        raise UserError(f"{who}: no task has a score; run a seed, or leave the method out")
    for task, seeds in scores.items():
        if not seeds:
            raise UserError(f"{who}: task '{task}' has no score; run a seed of it, or leave the task out")
        for seed, value in seeds.items():
            if not isinstance(value, Real) or isinstance(value, bool) or not math.isfinite(value):
                raise UserError(
                    f"{who}: task '{task}', seed {seed}: the score is {value!r}, not a finite number; "
                    "run the seed again, or leave it out"
                )
    return {
        task: {seed: float(value) for seed, value in sorted(seeds.items())} for task, seeds in sorted(scores.items())
    }


@dataclass(frozen=True)
class Pairs:
    """The scores of two methods at the seeds that both have.

    One array (n_t,) per task, possibly empty; tasks and seeds sorted.
    """

    tasks: tuple[str, ...]
    first: tuple[np.ndarray, ...]
    second: tuple[np.ndarray, ...]

    @property
    def differences(self) -> list[np.ndarray]:
        """First minus second, one array (n_t,) per task."""
        return [x - y for x, y in zip(self.first, self.second, strict=True)]

    def require(self, seeds: int, what: str) -> None:
        """`UserError` if a task has fewer than ``seeds`` pairs, which ``what`` needs."""
        for task, values in zip(self.tasks, self.first, strict=True):
            if len(values) < seeds:
                raise UserError(
                    f"task '{task}' has {len(values)} seeds that both methods ran; {what} needs {seeds}: "
                    "run both methods with the same seeds"
                )


def pair(a: Scores, b: Scores) -> Pairs:
    """The scores of ``a`` and ``b`` matched by seed within each task.

    Raises `UserError` for scores `check_scores` refuses, and for a task that only one of the two has.
    """
    first, second = check_scores(a, "the first method"), check_scores(b, "the second method")
    for task in sorted(set(first) ^ set(second)):
        missing, other = ("second", second) if task in first else ("first", first)
        raise UserError(
            f"the {missing} method has no task '{task}'; compare the tasks that both methods have{nearest(task, other)}"
        )
    shared = {task: sorted(first[task].keys() & second[task].keys()) for task in first}
    taken = (tuple(np.array([of[task][s] for s in seeds]) for task, seeds in shared.items()) for of in (first, second))
    return Pairs(tuple(first), *taken)

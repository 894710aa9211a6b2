"""Pairs of scores, the sign-flip test on them, and Holm's correction of a family of p-values. Pure numpy.

The scores of a method are ``task -> {seed -> score}``, in any unit. Two methods are paired by seed within each task.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Real

import numpy as np

from uora_bench.errors import UserError, nearest

Scores = Mapping[str, Mapping[int, float]]

EXACT_PAIRS = 16  # up to 2^16 sign flips are enumerated
DRAWS = 2**EXACT_PAIRS - 1  # beyond, as many are drawn: the smallest p goes on where enumeration ended
_TOLERANCE = 1e-12  # relative to the largest score: far above the rounding of a sum, far below any score's resolution
_CHUNK = 2**13


def check_scores(scores: Scores, who: str = "the scores") -> dict[str, dict[int, float]]:
    """``scores`` as floats, tasks and seeds sorted, so that no result depends on the order they came in.

    Raises `UserError` if there is no task, a task without a score, or a score that is not a finite number.
    """
    if not scores:
        raise UserError(f"{who}: no task has a score; run a seed, or leave the method out")
    checked: dict[str, dict[int, float]] = {}
    for task in sorted(scores):
        if not scores[task]:
            raise UserError(f"{who}: task '{task}' has no score; run a seed of it, or leave the task out")
        for seed, value in scores[task].items():
            number = isinstance(value, Real) and not isinstance(value, bool)
            if not number or not math.isfinite(value):
                raise UserError(
                    f"{who}: task '{task}', seed {seed}: the score is {value!r}, not a finite number; "
                    "run the seed again, or leave it out"
                )
        checked[task] = {seed: float(scores[task][seed]) for seed in sorted(scores[task])}
    return checked


@dataclass(frozen=True)
class Pairs:
    """The scores of two methods at the seeds both have, tasks and seeds sorted.

    ``first`` and ``second`` hold one array (n_t,) per task, possibly empty; ``dropped`` counts the scores, of either
    method, that had no partner.
    """

    tasks: tuple[str, ...]
    first: tuple[np.ndarray, ...]
    second: tuple[np.ndarray, ...]
    dropped: int

    @property
    def differences(self) -> list[np.ndarray]:
        """First minus second, one array (n_t,) per task."""
        return [x - y for x, y in zip(self.first, self.second, strict=True)]

    @property
    def n_pairs(self) -> int:
        """Pairs of all tasks together."""
        return sum(map(len, self.first))

    @property
    def n_seeds(self) -> int:
        """Pairs of the task that has fewest."""
        return min(map(len, self.first))

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
    shared = {task: [seed for seed in first[task] if seed in second[task]] for task in first}
    return Pairs(
        tasks=tuple(first),
        first=tuple(np.array([first[task][s] for s in seeds]) for task, seeds in shared.items()),
        second=tuple(np.array([second[task][s] for s in seeds]) for task, seeds in shared.items()),
        dropped=sum(len(first[task]) + len(second[task]) - 2 * len(seeds) for task, seeds in shared.items()),
    )


@dataclass(frozen=True)
class PermutationTest:
    """``p`` of ``n`` pairs; ``exact``: all flips enumerated; ``smallest_p``: the least that ``n`` pairs can give."""

    p: float
    n: int
    exact: bool
    smallest_p: float


def sign_flip_test(pairs: Pairs, generator: np.random.Generator, draws: int = DRAWS) -> PermutationTest:
    """Paired randomisation test (Fisher 1935; Pitman 1937) of "the two methods give the same scores in every task".

    With d_ti = a_ti − b_ti of task t and pair i, K tasks and n_t pairs, the statistic is T = 1/K Σ_t 1/n_t Σ_i d_ti:
    tasks weigh the same however many seeds they have. Were the methods the same, the two scores of a pair could be
    exchanged, which flips the sign of d_ti; p is the share of the 2^n flips of all n = Σ_t n_t pairs with
    |T'| ≥ |T|. It is enumerated for n ≤ `EXACT_PAIRS`; beyond, p = (hits + 1) / (draws + 1) over random flips
    (Phipson and Smyth 2010), which is never 0. Equal sums count as ≥ whatever their rounding.

    Raises `UserError` for a task without a pair and for ``draws`` below 1.
    """
    if draws < 1:
        raise UserError(f"{draws} random flips give no p-value; draw at least 1")
    pairs.require(1, "a paired test")
    parts = [d / (len(pairs.tasks) * len(d)) for d in pairs.differences]
    weighted = np.concatenate(parts)
    scale = max(float(np.abs(values).max()) for values in pairs.first + pairs.second)
    threshold = abs(float(weighted.sum())) - _TOLERANCE * scale
    n = len(weighted)
    if n <= EXACT_PAIRS:
        # T and −T count alike, so the first sign may stay
        sums = weighted[:1]
        for value in weighted[1:]:
            sums = np.concatenate([sums + value, sums - value])
        return PermutationTest(float(np.mean(np.abs(sums) >= threshold)), n, True, 2.0 / 2**n)
    hits = 0
    for start in range(0, draws, _CHUNK):
        flips = generator.integers(0, 2, size=(min(_CHUNK, draws - start), n), dtype=np.int8) * 2 - 1
        hits += int(np.count_nonzero(np.abs(flips @ weighted) >= threshold))
    return PermutationTest((hits + 1) / (draws + 1), n, False, 1 / (draws + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979): rejecting those ≤ α keeps the chance of any
    false rejection in the family at or below α, however the tests depend on each other.

    With p_(1) ≤ … ≤ p_(m): adjusted p_(j) = min(1, max over i ≤ j of (m − i + 1) p_(i)). Raises `UserError` for a
    value that is no probability.
    """
    for p in p_values:
        if not 0 <= p <= 1:
            raise UserError(f"{p!r} is not a p-value; a family holds numbers from 0 to 1")
    raw = np.asarray(p_values, dtype=float)
    order = np.argsort(raw, kind="stable")
    adjusted = np.empty(len(raw))
    adjusted[order] = np.minimum(np.maximum.accumulate(raw[order] * np.arange(len(raw), 0, -1)), 1.0)
    return [float(p) for p in adjusted]

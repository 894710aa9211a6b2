"""What a table may say about methods: which is better, by how much, and who is marked best and second. Pure numpy.

Everything random comes from the `numpy.random.Generator` a caller hands over, and tasks, seeds and methods are sorted
first: the same scores and ``numpy.random.default_rng(seed)`` give the same numbers in whatever order records were read.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple, TypeVar

import numpy as np

from uora_bench.errors import UserError
from uora_bench.report.bootstrap import MINIMUM_SEEDS, REPETITIONS, Interval, check_level, difference_interval
from uora_bench.report.pairing import Pairs, Scores, check_scores, pair

LEVEL = 0.05  # significance of what tables say and mark
EXACT_PAIRS = 16  # up to 2^16 sign flips are enumerated
DRAWS = 2**EXACT_PAIRS - 1  # beyond, as many are drawn: the smallest p goes on where enumeration ended
_TOLERANCE = 1e-12  # relative to the largest score: far above the rounding of a sum, far below any score's resolution
_CHUNK = 2**13
Key = TypeVar("Key")
Verdict = Literal["better", "worse", "not distinguished", "too few seeds"]


def sign_flip_test(pairs: Pairs, generator: np.random.Generator, draws: int = DRAWS) -> tuple[float, float]:
    """Paired randomisation test (Fisher 1935; Pitman 1937) of "the two methods give the same scores in every task".

    With d_ti = a_ti − b_ti of task t and pair i, K tasks and n_t pairs, the statistic is T = 1/K Σ_t 1/n_t Σ_i d_ti:
    tasks weigh the same however many seeds they have. Were the methods the same, the two scores of a pair could be
    exchanged, which flips the sign of d_ti; p is the share of the 2^n flips of all n = Σ_t n_t pairs with
    |T'| ≥ |T|. It is enumerated for n ≤ `EXACT_PAIRS`; beyond, p = (hits + 1) / (draws + 1) over random flips
    (Phipson and Smyth 2010), which is never 0. Equal sums count as ≥ whatever their rounding.

    Returns:
        p, and the least that as many pairs can give.

    Raises `UserError` for a task without a pair and for ``draws`` below 1.
    """
    if draws < 1:
        raise UserError(f"{draws} random flips give no p-value; draw at least 1")
    pairs.require(1, "a paired test")
    weighted = np.concatenate([d / (len(pairs.tasks) * len(d)) for d in pairs.differences])
    scale = max(float(np.abs(values).max()) for values in pairs.first + pairs.second)
    threshold = abs(float(weighted.sum())) - _TOLERANCE * scale
    n = len(weighted)
    if n <= EXACT_PAIRS:
        # T and −T count alike, so the first sign may stay
        sums = weighted[:1]
        for value in weighted[1:]:
            sums = np.concatenate([sums + value, sums - value])
        return float(np.mean(np.abs(sums) >= threshold)), 2.0 / 2**n
    hits = 0
    for start in range(0, draws, _CHUNK):
        rows = min(_CHUNK, draws - start)
        # the highest bit of random bytes: what `generator.integers(0, 2, dtype=np.int8)` takes, in less time
        kept = np.frombuffer(generator.bytes(rows * n), dtype=np.uint8).reshape(rows, n) >> 7
        sums = 2 * (kept.astype(np.float64) @ weighted) - weighted.sum()
        hits += int(np.count_nonzero(np.abs(sums) >= threshold))
    return (hits + 1) / (draws + 1), 1 / (draws + 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p-values, in the order given (Holm 1979).

    Rejecting those ≤ α keeps the chance of any false rejection in the family at or below α, however the tests depend on
    each other.

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


@dataclass(frozen=True)
class Comparison:
    """A first method against a second.

    ``difference`` is the mean over tasks of the mean paired difference, first − second in the scores' unit, None if a
    task has no shared seed; ``n_pairs``: of all tasks. ``interval`` (not corrected), ``p``, ``adjusted_p`` (Holm over
    ``family`` comparisons; the one that decides the ``verdict``) and ``smallest_p`` (the least p that ``n_pairs`` can
    give) are None where a task has fewer than `MINIMUM_SEEDS` shared seeds.
    """

    difference: float | None
    n_pairs: int
    interval: Interval | None = None
    p: float | None = None
    adjusted_p: float | None = None
    smallest_p: float | None = None
    family: int = 1
    verdict: Verdict = "too few seeds"

    def judged(self, p: float, family: int, higher_is_better: bool, level: float) -> Comparison:
        """With ``p``, raw or adjusted, and what it lets one say at significance ``level``."""
        better = ((self.difference or 0.0) > 0) == higher_is_better
        verdict: Verdict = "not distinguished" if p > level else "better" if better else "worse"
        return replace(self, adjusted_p=p, family=family, verdict=verdict)


def compare(
    a: Scores,
    b: Scores,
    higher_is_better: bool = True,
    level: float = LEVEL,
    repetitions: int = REPETITIONS,
    draws: int = DRAWS,
    *,
    generator: np.random.Generator,
) -> Comparison:
    """``a`` against ``b``, paired by seed, at significance ``level``: a family of one.

    The verdict is that of `sign_flip_test`, "better" meaning lower scores with ``higher_is_better=False``; the
    interval is `difference_interval`'s at confidence 1 − ``level``. With fewer than `MINIMUM_SEEDS` shared seeds in a
    task the verdict is "too few seeds" and the difference stands alone. Raises `UserError` as `pair` does.
    """
    check_level(level)
    pairs = pair(a, b)
    counts = [len(values) for values in pairs.first]
    difference = float(np.mean([d.mean() for d in pairs.differences])) if all(counts) else None
    found = Comparison(difference, sum(counts))
    if min(counts) < MINIMUM_SEEDS:
        return found
    interval = difference_interval(pairs, 1 - level, repetitions, generator=generator)
    p, smallest = sign_flip_test(pairs, generator, draws)
    return replace(found, interval=interval, p=p, smallest_p=smallest).judged(p, 1, higher_is_better, level)


def corrected(
    found: Mapping[Key, Comparison], higher_is_better: bool = True, level: float = LEVEL
) -> dict[Key, Comparison]:
    """``found`` with p-values corrected by `holm` as one family, and the verdicts that follow.

    Comparisons with too few seeds have no p-value and do not count.
    """
    tested = {key: one.p for key, one in found.items() if one.p is not None}
    adjusted = zip(tested, holm(list(tested.values())), strict=True)
    return {**found, **{key: found[key].judged(p, len(tested), higher_is_better, level) for key, p in adjusted}}


class Marks(NamedTuple):
    """The methods a table column marks; None where the data single nobody out."""

    best: str | None = None
    second: str | None = None


def best_marks(
    scores_by_method: Mapping[str, Scores],
    higher_is_better: bool = True,
    level: float = LEVEL,
    draws: int = DRAWS,
    *,
    generator: np.random.Generator,
) -> Marks:
    """Whom a column may mark, from the pairs of its methods, `corrected` as one family.

    Best is the method that is "better" than every other; second, once there is a best, the one better than every other
    but the best, of which there must be at least one. A tie, a difference that is not significant or too few seeds mark
    nobody. Methods without any score are left out; all others must have the same tasks (`UserError`, as `pair`'s).
    Chance comes in beyond 16 pairs only.
    """
    scores = {
        method: check_scores(own, f"method '{method}'")
        for method, own in sorted(scores_by_method.items())
        if any(own.values())
    }
    found = corrected(
        {
            # marks need no interval: one repetition
            (x, y): compare(scores[x], scores[y], higher_is_better, level, 1, draws, generator=generator)
            for x, y in itertools.combinations(scores, 2)
        },
        higher_is_better,
        level,
    )
    beaten = {(x, y) if one.verdict == "better" else (y, x) for (x, y), one in found.items()
              if one.verdict in ("better", "worse")}  # fmt: skip
    left = list(scores)
    marks: list[str] = []
    while len(left) > 1 and len(marks) < 2:
        winners = [m for m in left if all((m, o) in beaten for o in left if o != m)]
        if not winners:
            break
        marks += winners
        left.remove(winners[0])
    return Marks(*marks)

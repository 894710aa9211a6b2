"""Two methods compared, paired by seed: difference, interval, p-value and what they let one say. Pure numpy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np

from uora_bench.report.bootstrap import MINIMUM_SEEDS, REPETITIONS, Interval, check_level, difference_interval
from uora_bench.report.permutation import DRAWS, Scores, holm, pair, sign_flip_test

LEVEL = 0.05  # significance of what tables say and mark
Key = TypeVar("Key")
Verdict = Literal["better", "worse", "not distinguished", "too few seeds"]
_REVERSED: dict[Verdict, Verdict] = {"better": "worse", "worse": "better"}


@dataclass(frozen=True)
class Comparison:
    """A first method against a second.

    ``difference`` is the mean over tasks of the mean paired difference, first − second in the scores' unit, None if a
    task has no shared seed. ``interval`` (not corrected), ``p``, ``adjusted_p`` (Holm over ``family`` comparisons; the
    one that decides the ``verdict``), ``smallest_p`` (the least p that ``n_pairs`` can give) and ``exact`` are None
    where a task has fewer than `MINIMUM_SEEDS` shared seeds. ``n_seeds`` is the number of shared seeds of the task
    with fewest, ``n_pairs`` of all tasks, ``dropped`` the scores without a partner.
    """

    difference: float | None
    interval: Interval | None
    p: float | None
    adjusted_p: float | None
    smallest_p: float | None
    exact: bool | None
    family: int
    n_seeds: int
    n_pairs: int
    dropped: int
    verdict: Verdict

    def reversed(self) -> Comparison:
        """The second method against the first."""
        interval = self.interval
        return replace(
            self,
            difference=None if self.difference is None else 0.0 - self.difference,
            interval=interval
            and Interval(0.0 - interval.point, 0.0 - interval.high, 0.0 - interval.low, interval.level),
            verdict=_REVERSED.get(self.verdict, self.verdict),
        )


def verdict_of(difference: float, p: float, higher_is_better: bool, level: float) -> Verdict:
    """What ``p``, raw or adjusted, lets one say about ``difference``, first − second, at significance ``level``."""
    if p > level:
        return "not distinguished"
    return "better" if (difference > 0) == higher_is_better else "worse"


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
    means = [float(d.mean()) for d in pairs.differences if len(d)]
    base = Comparison(
        difference=float(np.mean(means)) if len(means) == len(pairs.tasks) else None,
        interval=None, p=None, adjusted_p=None, smallest_p=None, exact=None, family=1, n_seeds=pairs.n_seeds,
        n_pairs=pairs.n_pairs, dropped=pairs.dropped, verdict="too few seeds",
    )  # fmt: skip
    if base.difference is None or base.n_seeds < MINIMUM_SEEDS:
        return base
    interval = difference_interval(pairs, 1 - level, repetitions, generator=generator)
    test = sign_flip_test(pairs, generator, draws)
    return replace(
        base, interval=interval, p=test.p, adjusted_p=test.p, smallest_p=test.smallest_p, exact=test.exact,
        verdict=verdict_of(base.difference, test.p, higher_is_better, level),
    )  # fmt: skip


def corrected(
    found: Mapping[Key, Comparison], higher_is_better: bool = True, level: float = LEVEL
) -> dict[Key, Comparison]:
    """``found`` with p-values corrected by `holm` as one family, and the verdicts that follow. Comparisons with too few
    seeds have no p-value and do not count."""
    tested = {key: one.p for key, one in found.items() if one.p is not None}
    adjusted = dict(zip(tested, holm(list(tested.values())), strict=True))
    made = dict(found)
    for key, p in adjusted.items():
        difference = found[key].difference
        assert difference is not None
        verdict = verdict_of(difference, p, higher_is_better, level)
        made[key] = replace(found[key], adjusted_p=p, family=len(adjusted), verdict=verdict)
    return made

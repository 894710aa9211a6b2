"""Two rows compared on the items of a split: what other test items, and what other items and seeds, would show.

D (seeds, items) is the difference of two rows' scores of every item under every seed that both ran. Three questions,
three answers: McNemar's test or a permutation over items (would other items of this kind show it, for these trained
models?), the sign-flip test over seeds (`uora_bench.report.stats`: would other seeds, on these items?), and the crossed
interval here (would other items and other seeds?). scipy is imported where it is used: it takes a second.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from statistics import NormalDist

import numpy as np

from uora_bench.report.bootstrap import Interval

RESAMPLES = 9_999
_BATCH = 1 << 22  # numbers in memory at a time
_HALVINGS = 60  # of an interval of log p: to the last digits


@dataclass(frozen=True)
class Crossed:
    """The mean of D with its standard error over items and seeds; of one seed over items alone.

    ``share``: of the seeds in that error, as mean squares. ``seeds``, ``items``: how many. ``unit``: what a right
    answer scores where a wrong one scores nothing, else 0; then ``alone``: how many items one row alone has right
    (under several seeds the sum over items of the squared mean difference, and at least what the rows differ by), and
    ``cautious``: the same with two items more, which `interval` and `exceeds` take.
    """

    mean: float
    error: float
    share: float
    seeds: int
    items: int
    unit: float = 0.0
    alone: float = 0.0
    cautious: Crossed | None = None

    def quantile(self, below: float) -> float:
        """The critical value of the mean over its error, exceeded with probability 1 − ``below`` without a difference.

        Student's quantiles for the seeds and for the items, weighted by their shares in the error (Cochran 1964).
        Satterthwaite's degrees of freedom, the usual choice, reject too often with three seeds.
        """
        from scipy.special import stdtrit

        of_items = (1 - self.share) * float(stdtrit(self.items - 1, below))
        return of_items + (self.share * float(stdtrit(self.seeds - 1, below)) if self.seeds > 1 else 0.0)

    def interval(self, level: float) -> Interval:
        """The interval at confidence ``level``; where no two items differ that of two more (`exceeds`)."""
        if not self.error and self.cautious is not None:  # all items are alike, which says little where they are few
            ends = self.cautious.interval(level)
            return Interval(self.mean, ends.low, ends.high)
        half = self.quantile((1 + level) / 2) * self.error if self.error else 0.0
        return Interval(self.mean, self.mean - half, self.mean + half)

    def exceeds(self, bound: float, level: float) -> bool:
        """Whether a one-sided test at ``level`` finds the mean above ``bound``, which is below zero.

        Of right and wrong answers Tango's score test (1998), and under several seeds the interval at 1 − 2 ``level``
        too, with two items more, of which each row has one right that the other has not (Bonett and Price 2012). Where
        rows differ in few items, or in none, the plain interval is much too sure of itself.
        """
        if self.unit:
            scored = self._score(-bound / self.unit) > NormalDist().inv_cdf(1 - level)
            if not scored or self.seeds == 1:
                return scored
        return (self.cautious or self).interval(1 - 2 * level).low > bound

    def _score(self, delta: float) -> float:
        """Tango's statistic of "worse by at least ``delta``" (a share of the items).

        From the numbers of items that one row alone has right; the share that the first alone has right is the most
        likely one under that hypothesis.
        """
        count, mean = self.items, self.mean / self.unit
        if delta >= 1:
            return math.inf
        middle = (2 * count + count * mean) * delta - self.alone
        constant = -(self.alone + count * mean) / 2 * delta * (1 - delta)
        first = (math.sqrt(middle**2 - 8 * count * constant) - middle) / (4 * count)
        return (count * mean + count * delta) / math.sqrt(count * (2 * first + delta * (1 - delta)))

    @property
    def mirrored(self) -> Crossed:
        """The second row against the first."""
        return replace(self, mean=-self.mean, cautious=self.cautious and self.cautious.mirrored)

    @property
    def p(self) -> float:
        """Two-sided, of "no difference": the level at which the interval begins to leave out zero."""
        if not self.error:
            return 0.0 if self.mean else 1.0
        wanted, low, high = -abs(self.mean) / self.error, math.log(sys.float_info.min), 0.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.quantile(math.exp(middle) / 2) < wanted else (low, middle)
        return math.exp(high)


def crossed(differences: np.ndarray, unit: float = 0.0) -> Crossed:
    """The mean of D (seeds, items) in the model D_si = μ + seed_s + item_i + rest_si, all three random.

    ``unit`` as in `Crossed`.

    With the mean squares of the two-way table, Var(mean) = (MS_seed + MS_item − MS_rest) / (S n); a sum below the
    larger of the two, which chance can give, is taken as that one.
    """
    seeds, items = differences.shape
    mean = float(differences.mean())
    if items < 2:
        raise ValueError("one item has no spread")
    by_item = differences.mean(axis=0)
    alone = max(float((by_item**2).sum()) / unit**2, abs(mean) * items / unit) if unit else 0.0
    item = seeds * float(by_item.var(ddof=1))  # mean square
    more = np.broadcast_to([unit, -unit], (seeds, 2))
    cautious = crossed(np.concatenate([differences, more], axis=1)) if unit else None
    if seeds == 1:
        return Crossed(mean, math.sqrt(item / items), 0.0, 1, items, unit, alone, cautious)
    by_seed = differences.mean(axis=1)
    seed = items * float(by_seed.var(ddof=1))
    left = differences - by_item - by_seed[:, None] + mean
    rest = float((left**2).sum()) / ((seeds - 1) * (items - 1))
    total = max(seed + item - rest, seed, item)
    share = seed / (seed + item) if total else 0.0
    return Crossed(mean, math.sqrt(total / (seeds * items)), share, seeds, items, unit, alone, cautious)


def mcnemar(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """(exact, mid-p) two-sided p of McNemar's test of two columns (n,) of right (True) and wrong.

    Of the items that one of the two has right and the other has not, each is as likely to have right were they alike.
    Tables use the exact one. The mid-p (Lancaster 1961) counts half of what was observed: it is less conservative, and
    now and then above its level.
    """
    from scipy import stats

    only = int(np.count_nonzero(first & ~second)), int(np.count_nonzero(~first & second))
    if not sum(only):
        return 1.0, 1.0
    exact = float(stats.binomtest(only[0], sum(only), 0.5).pvalue)
    point = float(stats.binom.pmf(only[0], sum(only), 0.5))
    return exact, exact - point if only[0] != only[1] else 1.0 - point / 2


def permutation(differences: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> float:
    """Two-sided p of a paired permutation over the items of D (seeds, items).

    The row that an item's scores belong to is exchanged under all seeds at once. Exact where few items differ, else of
    ``resamples`` draws.

    The same p as that of ``scipy.stats.permutation_test`` for "samples", which takes ten times as long.
    """
    by_item = differences.mean(axis=0)
    by_item = by_item[by_item != 0]  # what does not differ changes no sum
    count = len(by_item)
    if not count:
        return 1.0
    observed = float(by_item.sum())
    near = abs(100 * float(np.finfo(float).eps) * observed)  # equal sums, whatever their rounding
    below = above = 0
    for kept in _kept_signs(count, seed, resamples):
        sums = np.where(kept, by_item[:, None], -by_item[:, None]).sum(axis=0)
        below += int(np.count_nonzero(sums <= observed + near))
        above += int(np.count_nonzero(sums >= observed - near))
    exact = 2**count <= resamples
    total, own = (2**count, 0) if exact else (resamples, 1)  # what was observed is one more draw
    return min(1.0, 2 * min(below + own, above + own) / (total + own))


def _kept_signs(count: int, seed: int, resamples: int) -> Iterator[np.ndarray]:
    """Which of ``count`` differences keep their sign, one column (count,) per draw.

    All patterns where there are no more than ``resamples``. A draw takes the lowest bit of one 32-bit number for each
    difference, as numpy does when it exchanges two things.
    """
    if 2**count <= resamples:
        yield (np.arange(2**count) >> np.arange(count)[:, None] & 1) == 1
        return
    generator, size = np.random.default_rng(seed), max(1, _BATCH // count)
    for start in range(0, resamples, size):
        drawn = generator.integers(0, 1 << 32, (min(size, resamples - start), count), dtype=np.uint32)
        yield np.ascontiguousarray((drawn & 1).astype(bool).T)


def verdict(
    found: Crossed, adjusted_p: float, margin: float | None, higher_is_better: bool, level: float = 0.05
) -> str:
    """What may be said of a row against the reference.

    ``margin`` δ, in the unit of D: two one-sided tests at ``level`` against −δ and δ (Schuirmann 1987), those of
    `Crossed.exceeds`.
    """
    own = found if higher_is_better else found.mirrored
    not_inferior = margin is not None and own.exceeds(-margin, level)
    if not_inferior and margin is not None and own.mirrored.exceeds(-margin, level):
        return f"equivalent within {margin:g}"
    if adjusted_p <= level:
        return "better" if own.mean > 0 else "worse"
    return f"not inferior within {margin:g}" if not_inferior else "cannot tell"

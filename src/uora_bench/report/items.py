"""Two rows compared on the items of a split: what other test items, and what other items and seeds, would show.

D (seeds, items) is the difference of two rows' scores of every item under every seed that both ran. Three questions,
three answers: McNemar's test or a permutation over items (would other items of this kind show it, for these trained
models?), the sign-flip test over seeds (`uora_bench.report.stats`: would other seeds, on these items?), and the crossed
interval here (would other items and other seeds?). scipy is imported where it is used: it takes a second.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from uora_bench.report.bootstrap import Interval

RESAMPLES = 9_999
_BATCH = 1 << 22  # numbers in memory at a time
Metric = Callable[[Any, Any], float]


@dataclass(frozen=True)
class Crossed:
    """The mean of D with its standard error over items and seeds and the degrees of freedom of that; of one seed over
    items alone. ``seeds``, ``items``: how many."""

    mean: float
    error: float
    freedom: float
    seeds: int
    items: int

    def interval(self, level: float) -> Interval:
        """Student's interval at confidence ``level``."""
        from scipy import stats

        half = float(stats.t.ppf((1 + level) / 2, self.freedom)) * self.error if self.error else 0.0
        return Interval(self.mean, self.mean - half, self.mean + half)

    @property
    def p(self) -> float:
        """Two-sided, of "no difference"."""
        from scipy import stats

        if not self.error:
            return 0.0 if self.mean else 1.0
        return float(2 * stats.t.sf(abs(self.mean) / self.error, self.freedom))


def crossed(differences: np.ndarray) -> Crossed:
    """The mean of D (seeds, items) in the model D_si = μ + seed_s + item_i + rest_si, all three random.

    With the mean squares of the two-way table, Var(mean) = (MS_seed + MS_item − MS_rest) / (S n); a sum below the
    larger of the two, which chance can give, is taken as that one. Degrees of freedom: Satterthwaite 1946.
    """
    seeds, items = differences.shape
    mean = float(differences.mean())
    if items < 2:
        raise ValueError("one item has no spread")
    by_item = differences.mean(axis=0)
    item = seeds * float(by_item.var(ddof=1))  # mean square
    if seeds == 1:
        return Crossed(mean, math.sqrt(item / items), items - 1.0, 1, items)
    by_seed = differences.mean(axis=1)
    seed = items * float(by_seed.var(ddof=1))
    left = differences - by_item - by_seed[:, None] + mean
    rest = float((left**2).sum()) / ((seeds - 1) * (items - 1))
    total = max(seed + item - rest, seed, item)
    if not total:
        return Crossed(mean, 0.0, 1.0, seeds, items)
    parts = [(seed, seeds - 1), (item, items - 1), (rest, (seeds - 1) * (items - 1))]
    if total in (seed, item):
        parts = [part for part in parts[:2] if part[0] == total]
    freedom = total**2 / sum(square**2 / count for square, count in parts if square)
    return Crossed(mean, math.sqrt(total / (seeds * items)), freedom, seeds, items)


def mcnemar(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """(exact, mid-p) two-sided p of McNemar's test of two columns (n,) of right (True) and wrong.

    Of the items that one of the two has right and the other has not, each is as likely to have right were they alike.
    The mid-p (Lancaster 1961) counts half of what was observed; it is less conservative, and close to its level.
    """
    from scipy import stats

    only = int(np.count_nonzero(first & ~second)), int(np.count_nonzero(~first & second))
    if not sum(only):
        return 1.0, 1.0
    exact = float(stats.binomtest(only[0], sum(only), 0.5).pvalue)
    point = float(stats.binom.pmf(only[0], sum(only), 0.5))
    return exact, exact - point if only[0] != only[1] else 1.0 - point / 2


def permutation(differences: np.ndarray, seed: int = 0, resamples: int = RESAMPLES) -> float:
    """Two-sided p of a paired permutation over the items of D (seeds, items): which row an item's scores belong to is
    exchanged under all seeds at once. Exact where few items differ, else of ``resamples`` draws."""
    from scipy import stats

    by_item = differences.mean(axis=0)
    by_item = by_item[by_item != 0]  # what does not differ changes no sum
    if not len(by_item):
        return 1.0
    found = stats.permutation_test(
        (by_item,),
        lambda values, axis: values.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, _BATCH // len(by_item)),
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def two_way_bootstrap(
    first: Sequence[Any], second: Sequence[Any], references: Any, metric: Metric, level: float = 0.95,
    repetitions: int = 1_000, seed: int = 0,
) -> Interval:  # fmt: skip
    """Interval of the difference of a corpus metric (F1, MCC, Pearson, BLEU) that is computed again on resampled items.

    ``first``, ``second``: of each seed the predictions (n,) of a row; ``references`` (n,). Items, and seeds, are drawn
    with replacement, the same for both rows (Owen 2007): wider than need be where what is left over after seeds and
    items is large. The draws are stretched as Student's law asks of so few seeds, which resampling does not know.
    """
    from scipy import stats

    generator = np.random.default_rng(seed)
    count, seeds = len(references), len(first)
    columns = [[np.asarray(values, dtype=object if isinstance(values, list) else None) for values in row]
               for row in (first, second)]  # fmt: skip
    right = np.empty(count, dtype=object) if isinstance(references, list) else np.asarray(references)
    right[:] = references

    def difference(of: Sequence[int], rows: np.ndarray) -> float:
        a, b = ([metric(row[s][rows], right[rows]) for s in of] for row in columns)
        return float(np.mean(a) - np.mean(b))

    point = difference(range(seeds), np.arange(count))
    drawn = np.empty(repetitions)
    for i in range(repetitions):
        of = generator.integers(0, seeds, seeds).tolist()
        drawn[i] = difference(of, generator.integers(0, count, count))
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    stretch = 1.0
    if seeds > 1:
        freedom = float(seeds - 1)
        by_seed = np.array([difference([s], np.arange(count)) for s in range(seeds)])
        share = min(1.0, float(by_seed.var(ddof=1)) / seeds / max(float(drawn.var()), 1e-300))  # of seeds in the spread
        of_seeds = math.sqrt(seeds / (seeds - 1)) * float(
            stats.t.ppf((1 + level) / 2, freedom) / stats.norm.ppf((1 + level) / 2)
        )
        stretch = 1 + share * (of_seeds - 1)
    return Interval(point, point + (low - point) * stretch, point + (high - point) * stretch)


def verdict(
    found: Crossed, adjusted_p: float, margin: float | None, higher_is_better: bool, level: float = 0.05
) -> str:
    """What may be said of a row against the reference. ``margin`` δ, in the unit of D: two one-sided tests at ``level``
    (Schuirmann 1987), that is the interval at confidence 1 − 2 ``level`` against −δ and δ."""
    sign = 1 if higher_is_better else -1
    if margin is not None:
        inner = found.interval(1 - 2 * level)
        low, high = sorted((sign * inner.low, sign * inner.high))
        if -margin < low and high < margin:
            return f"equivalent within {margin:g}"
    if adjusted_p <= level:
        return "better" if sign * found.mean > 0 else "worse"
    if margin is not None and -margin < low:
        return f"not inferior within {margin:g}"
    return "cannot tell"

"""Which differences a planned grid can detect, before it runs.

The smallest difference from the reference row that its seeds and items find, and how many of them a difference of δ
needs.

The difference of two rows over S seeds and N items has the variance 2 s² / S + 100² q / N, in points: s is how far
scores of like records lie apart over seeds (nothing is gained from pairing), q the share of items that one row has
right and the other has not, the same items under every seed. Both are on the safe side. A difference of
(t(1 − α/2) + t(power)) × the standard error is found, with Student's quantiles as the test has them: those for S − 1
and for N − 1 degrees of freedom, weighted by the shares of seeds and items in the variance.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from uora_bench.config.cell import Cell
from uora_bench.grid.table_spec import TableSpec
from uora_bench.records.record import CellRecord
from uora_bench.util.words import count

LEVEL, POWER = 0.05, 0.8
PRIOR_SPREAD, PRIOR_DIFFER = 1.0, 0.1  # s in points, q; where no like record says otherwise
DELTA = 1.0  # points, where no margin is declared
MOST_SEEDS, MOST_ITEMS = 100, 10**6


@dataclass(frozen=True)
class Power:
    """Of one column, in points.

    ``seen``: the smallest difference that is found with `POWER` in one comparison, ``in_family``: in the hardest of a
    family of ``family`` (Holm's first step); ``equivalent``: the smallest margin within which equal rows are found
    equivalent as often. ``seeds_needed``: to see ``delta`` on these items; ``items_needed``: with these seeds; None:
    not with any number. ``basis``: where the spread is from.
    """

    column: str
    seeds: int
    items: int
    spread: float
    basis: str
    family: int
    delta: float
    seen: float
    in_family: float
    equivalent: float
    seeds_needed: int | None
    items_needed: int | None

    @property
    def text(self) -> str:
        """The line for people."""
        seeds = f"{self.seeds_needed} seeds are enough" if self.seeds_needed else "no number of seeds is enough"
        items = f"{self.items_needed:,} items" if self.items_needed else "no number of items"
        points = "point" if self.delta == 1 else "points"
        needs = f"to find {self.delta:g} {points}: {seeds} on these items, {items} with these seeds"
        family = f"{self.in_family:.1f} after Holm over {count(self.family, 'comparison')}"
        return (
            f"{self.column} ({self.items:,} items, {self.seeds} seeds): finds a difference of {self.seen:.1f} points "
            f"({family}), shows equivalence within {self.equivalent:.1f}; {needs}; "
            f"seeds spread by {self.spread:.2g} points ({self.basis})"
        )


def smallest_seen(spread: float, seeds: int, items: int, level: float = LEVEL, power: float = POWER) -> float:
    """The difference in points that a two-sided test at ``level`` finds with probability ``power``.

    ``seeds``: two or more; ``items``: their number.
    """
    from scipy.special import stdtrit  # an eighth of the time that scipy.stats takes to import

    of_seeds, of_items = 2 * spread**2 / seeds, 100**2 * PRIOR_DIFFER / items
    total = of_seeds + of_items
    of_each = ((of_seeds / total, seeds - 1), (of_items / total, items - 1))
    quantiles = sum(share * float(stdtrit(freedom, at)) for share, freedom in of_each for at in (1 - level / 2, power))
    return quantiles * math.sqrt(total)


def power_of(cells: Iterable[Cell], spec: TableSpec | None, records: Sequence[CellRecord]) -> tuple[Power, ...]:
    """The power of every column of the planned ``cells`` whose scores are percentages.

    Only where ``spec`` declares a reference row, rows have two seeds or more, and a record says how many items the
    column has.
    """
    if spec is None or spec.reference is None:
        return ()
    rows: dict[str, dict[str, set[int]]] = {}
    of_task: dict[str, Cell] = {}
    for cell in cells:
        of_task.setdefault(cell.task.name, cell)
        rows.setdefault(cell.task.name, {}).setdefault(_row(cell.canonical()), set()).add(cell.seed)
    family = sum(len(own) - 1 for own in rows.values())
    labels = {column.task: column.label for column in spec.columns}
    splits = {column.task: column.split for column in spec.columns}
    delta = spec.margin.points if spec.margin is not None else DELTA
    found = []
    for task, own in rows.items():
        cell, seeds = of_task[task], statistics.mode(len(seeds) for seeds in own.values())
        role = splits.get(task) or ("test" if cell.task.splits.test else "dev")
        planned = {**cell.task.splits.extra, "dev": cell.task.splits.dev, "test": cell.task.splits.test}.get(role)
        drawn = cell.canonical()["task"] if cell.task.source.files is not None else None  # its parts have no names yet
        # only records of the same part of the data know how many items it has
        like = [r for r in records if r.status == "done" and r.cell["task"]["name"] == task and role in r.splits
                and (r.splits[role].name == planned or r.cell["task"] == drawn)]  # fmt: skip
        items = next((r.splits[role].rows for r in like), 0)
        if seeds < 2 or items < 2 or like[0].metric.scale != 100 or not family:
            continue
        spread, basis = _spread([r for r in like if r.cell["backbone"]["name"] == cell.backbone.public_name], role)
        seeds_needed = next((s for s in range(2, MOST_SEEDS) if smallest_seen(spread, s, items) <= delta), None)
        found.append(
            Power(labels.get(task, task), seeds, items, spread, basis, family, delta,
                  smallest_seen(spread, seeds, items), smallest_seen(spread, seeds, items, LEVEL / family),
                  smallest_seen(spread, seeds, items, 2 * LEVEL, (1 + POWER) / 2), seeds_needed,
                  _items_needed(spread, seeds, delta))
        )  # fmt: skip
    return tuple(found)


def _items_needed(spread: float, seeds: int, delta: float) -> int | None:
    low, high = 2, MOST_ITEMS
    if smallest_seen(spread, seeds, high) > delta:
        return None
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if smallest_seen(spread, seeds, middle) <= delta else (middle + 1, high)
    return low


def _spread(like: Iterable[CellRecord], role: str) -> tuple[float, str]:
    """The standard deviation over seeds of the score of the split ``role`` in points, and what it is based on.

    It is the median over the rows of ``like``, so that one seed that did not learn does not decide.
    """
    scores: dict[str, list[float]] = {}
    for record in like:
        result = record.scores.get("last")
        value = result.scores.get(role, {}).get(record.metric.primary) if result is not None else None
        if isinstance(value, (int, float)):
            scores.setdefault(_row(record.cell), []).append(value * record.metric.scale)
    several = [own for own in scores.values() if len(set(own)) > 1]  # all the same: rows that did not learn
    if not several:
        return PRIOR_SPREAD, "a prior; no like records with seeds that differ"
    # over the median of s / σ, after Wilson and Hilferty (1931)
    rows = [statistics.stdev(own) / (1 - 2 / (9 * (len(own) - 1))) ** 1.5 for own in several]
    return statistics.median(rows), f"{sum(map(len, several))} records of this task, split and backbone"


def _row(canonical: object) -> str:
    assert isinstance(canonical, dict)
    return json.dumps({k: v for k, v in canonical.items() if k != "seed"}, sort_keys=True)

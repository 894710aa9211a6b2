"""What a table says in print, the same in Markdown, LaTeX and HTML, before any signs of theirs: texts and footnotes.

A row is up to three `Line`: ours, then published where there is a published number, and Δ where both are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from uora_bench.report.aggregate import Costs
from uora_bench.report.model import Entry, Row, Table
from uora_bench.report.row_comparison import MISSING


@dataclass(frozen=True)
class Box:
    """One box of a line.

    ``spread``: what stands after ±; ``count``: of seeds; ``notes``: the letters of footnotes; ``kind``: none or failed,
    where there is no number; ``sort``: the number.
    """

    text: str = ""
    spread: str = ""
    count: str = ""
    mark: str = ""
    notes: tuple[str, ...] = ()
    kind: str = ""
    sort: float | None = None


class Line(NamedTuple):
    """``name``: ours, published or Δ. ``costs``: a box for each of `cost_columns`, none of a table without them."""

    name: str
    costs: tuple[Box, ...]
    boxes: tuple[Box, ...]


def letters(index: int) -> str:
    """a, b, … z, aa, ab, …: the sign of the footnote of that index."""
    text = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        text = chr(ord("a") + rest) + text
    return text


def size(count: float) -> str:
    """Bytes: ``30.7 kB``, ``1.25 GB``."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count} B"


def scientific(count: float) -> str:
    """A large number in three digits: ``3.89e10``."""
    return f"{count:.2e}".replace("e+", "e").replace("e0", "e")


class Cost(NamedTuple):
    """A kind of cost, as every table and figure has it.

    ``field``: of `Costs`; ``short``: its name where there is little room; ``text``: how one is written.
    """

    field: str
    name: str
    short: str
    title: str
    text: Callable[[float], str]

    def of(self, costs: Costs) -> float | None:
        """What it is for one row; None where that is not known."""
        known: float | None = getattr(costs, self.field)
        return known


COSTS = (
    Cost("parameters", "adapter parameters", "parameters", "trained, the largest over tasks, without the head",
         "{:,}".format),
    Cost("adapter_size", "adapter size", "size", "the largest over tasks", size),
    Cost("seconds", "seconds", "time", "of training and evaluation, the median", "{:,.0f}".format),
    Cost("memory", "peak memory", "memory", "the largest over cells", size),
    Cost("flops", "training FLOPs", "train FLOPs", "forward and backward, the median", scientific),
    Cost("inference", "inference FLOPs", "infer FLOPs", "one input of mean length, merged where that can be",
         scientific),
    Cost("tokens", "tokens", "tokens", "seen in training, with padding, the median", scientific),
    Cost("energy", "energy", "energy", "measured, the median", "{:,.0f} J".format),
    Cost("forgotten", "forgetting", "forgotten", "loss (nats) or drift of features that training added on fixed "
         "inputs, the median", "{:+.3g}".format),
    Cost("searched", "search seconds", "search time", "of all trials of the search behind the rate, the median",
         "{:,.0f}".format),
    Cost("searched_flops", "search FLOPs", "search FLOPs", "training in all trials of the search behind the rate, the "
         "median", scientific),
)  # fmt: skip


def cost_columns(table: Table) -> list[Cost]:
    """The columns of costs of ``table``, as its specification wants them."""
    known = {cost.name: cost for cost in COSTS}
    return [] if table.plain else [known[name] for name in table.spec.costs]


def lines(table: Table, row: Row) -> list[Line]:
    """The lines of one row: a line with nothing to say is not there."""
    kinds = cost_columns(table)
    values = [cost.of(row.costs) for cost in kinds]
    costs = [Box(MISSING if v is None else c.text(v), sort=v) for c, v in zip(kinds, values, strict=True)]
    digits = [column.decimals for column in table.shown]
    found = [Line("ours", tuple(costs), tuple(map(_ours, row.shown, digits)))]
    if row.has_published:
        printed = row.published_parameters or MISSING
        costs = [Box(printed if kind.field == "parameters" else MISSING) for kind in kinds]
        found.append(Line("published", tuple(costs), tuple(map(_theirs, row.shown))))
        delta = tuple(Box(signed(entry.delta, n)) for entry, n in zip(row.shown, digits, strict=True))
        if any(box.text for box in delta):
            found.append(Line("Δ", (Box(),) * len(kinds), delta))
    return found


def signed(value: float | None, decimals: int) -> str:
    """``value`` with its sign (a true minus); "" for None."""
    return "" if value is None else f"{value:+.{decimals}f}".replace("-", "−")


def _ours(entry: Entry, decimals: int) -> Box:
    number, notes = entry.ours, _letters(entry.notes)
    if number.value is None:
        return Box("failed", notes=notes, kind="failed") if number.failed else Box(MISSING, notes=notes, kind="none")
    spread = "" if number.std is None else f"{number.std:.{decimals}f}"
    return Box(f"{number.value:.{decimals}f}", spread, number.count, entry.mark, notes, sort=number.value)


def _theirs(entry: Entry) -> Box:
    if entry.published is None:
        return Box(MISSING)
    value, _, spread = entry.published.text.partition(" ± ")
    return Box(value, spread, notes=_letters(entry.published_notes))


def _letters(indices: Sequence[int]) -> tuple[str, ...]:
    return tuple(letters(i) for i in indices)

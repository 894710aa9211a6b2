"""The tables' model filled with theory: numbers without training behind them, and what the paper prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from uora_bench.grid.table_spec import TableSpec
from uora_bench.report.aggregate import Costs, Number
from uora_bench.report.published import Published
from uora_bench.report.table import Part, Place, Row, Score, Table
from uora_bench.theory.report.studies import Group, Study


@dataclass(frozen=True)
class Measured(Number):
    """A number of theory (no ``error``) or of a simulation: ± is then the standard error of its mean. The brackets of
    other tables, the number of seeds, stay empty: the table says how many repetitions there are."""

    error: float | None = None

    @property
    def count(self) -> str:
        return ""

    @property
    def median(self) -> None:
        return None  # a mean of repetitions has none

    @property
    def std(self) -> float | None:
        return self.error


@dataclass(frozen=True)
class Column:
    """``what``: for the CSV, where the number comes from (theory, released formula, simulation)."""

    label: str
    quantity: str
    what: str
    scale: float = 1.0
    decimals: int = 2
    higher_is_better: bool = True


@dataclass(frozen=True)
class Entry:
    """One place: a value (in its own unit, not scaled) or, with ``by_seed``, a simulated one with its ``error``."""

    value: float | None = None
    by_seed: Mapping[int, float] | None = None
    error: float | None = None
    printed: Published | None = None


def simulated(group: Group, quantity: str, x: float | None = None) -> Entry:
    """The entry of a simulated quantity of ``group`` at ``x``."""
    by_seed, error = group.measured(quantity, x)
    return Entry(by_seed=by_seed, error=error)


def deviation(theory: float | None, found: Entry) -> Entry:
    """Simulation minus theory, in standard errors; empty where one of them is missing or nothing varies."""
    if theory is None or not found.by_seed or not found.error:
        return Entry()
    mean = sum(found.by_seed.values()) / len(found.by_seed)
    return Entry(round((mean - theory) / found.error, 3) + 0.0)  # no −0


def table(
    study: Study,
    heading: str,
    columns: Sequence[Column],
    parts: Sequence[tuple[str, Sequence[tuple[str, Group | None, Mapping[str, Entry]]]]],
    about: Sequence[str],
    paper: str = "",
    notes: Sequence[str] = (),
) -> Table:
    """The table of ``parts``: (label, rows), a row being (label, its setting, entries by column label). ``heading``:
    what the rows are."""
    scores = tuple(Score(c.label, study.preset.kind, c.quantity, c.what, c.scale, c.higher_is_better, c.decimals, {})
                   for c in columns)  # fmt: skip
    made = []
    for label, rows in parts:
        own = [
            Row(name, tuple(_place(entries.get(c.label, Entry()), c, group) for c in columns), Costs())
            for name, group, entries in rows
        ]
        if own:
            made.append(Part(label, tuple(own)))
    return Table(
        study.name, study.preset.title, TableSpec(), "", scores, tuple(made), tuple(notes), tuple(about),
        study.orphans, (), paper, heading, plain=True,
    )  # fmt: skip


def _place(entry: Entry, column: Column, group: Group | None) -> Place:
    runs = () if group is None else group.runs
    seeds = dict(entry.by_seed) if entry.by_seed is not None else {} if entry.value is None else {0: entry.value}
    scaled = {seed: value * column.scale for seed, value in seeds.items()}
    error = None if entry.error is None else entry.error * column.scale
    # what is empty by design is not missing
    planned = len(scaled) or int(group is not None and not group.records)
    return Place(Measured("mean", scaled, planned, runs, "", (), error), entry.printed)

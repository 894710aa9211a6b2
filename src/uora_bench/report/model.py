"""A table, before it is Markdown, CSV, LaTeX or HTML: our numbers, the published ones, and why the two may differ.

`uora_bench.report.table` makes it of records, `uora_bench.report.boxes` says what is printed of it.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Literal

from uora_bench.grid.table_spec import Rule, TableSpec
from uora_bench.report.aggregate import Costs, Number
from uora_bench.report.collect import Run, finished
from uora_bench.report.published import Published
from uora_bench.report.row_comparison import AgainstReference, Sheet


@dataclass(frozen=True)
class Score:
    """One column, with everything decided: which metric of which split, times ``scale``."""

    label: str
    task: str
    metric: str = ""
    split: str = ""
    scale: float = 1.0
    higher_is_better: bool = True
    decimals: int = 2
    published: dict[str, str] = field(default_factory=dict)
    averaged: bool = True


@dataclass(frozen=True)
class Entry:
    """What stands in one column of a row. ``mark``: best or second, where the statistics allow it, else empty."""

    ours: Number
    published: Published | None
    mark: str = ""
    notes: tuple[int, ...] = ()  # indices into `Table.notes`, about our number
    published_notes: tuple[int, ...] = ()

    @property
    def delta(self) -> float | None:
        """Ours minus published, where both are there."""
        if self.ours.value is None or self.published is None:
            return None
        return self.ours.value - self.published.value


@dataclass(frozen=True)
class Row:
    """``average``: over the averaged columns, without a number while one of them has none.

    Its ``by_seed`` is the same for each seed that all of them have.
    """

    label: str
    entries: tuple[Entry, ...]
    costs: Costs = field(default_factory=Costs)
    published_parameters: str = ""
    average: Entry | None = None

    @property
    def shown(self) -> tuple[Entry, ...]:
        """The entries, and the average where there is one."""
        return self.entries if self.average is None else (*self.entries, self.average)

    def changed(self, at: int, **fields: Any) -> Row:
        """With other ``fields`` of the entry of that index among `shown`."""
        shown = list(self.shown)
        shown[at] = replace(shown[at], **fields)
        average = None if self.average is None else shown.pop()
        return replace(self, entries=tuple(shown), average=average)

    @property
    def runs(self) -> tuple[Run, ...]:
        """The cells behind the row, each once."""
        # several columns may be scores of the same cells
        return tuple({id(run): run for entry in self.entries for run in entry.ours.runs}.values())

    @property
    def has_published(self) -> bool:
        """Whether an entry of the row has a published number."""
        return any(entry.published is not None for entry in self.entries)


@dataclass(frozen=True)
class Block:
    """The rows under one heading."""

    label: str
    rows: tuple[Row, ...]

    @property
    def runs(self) -> list[Run]:
        """The cells of all rows."""
        return [run for row in self.rows for run in row.runs]


@dataclass(frozen=True)
class Table:
    """``notes``: the footnotes, each once; entries refer to them by index.

    ``about``: lines that hold for the whole. ``average``: the column of the rows' averages, whose task names those it
    averages. ``heading``: what the rows are. ``plain``: they are no trained cells: there are no costs, and ``rule`` is
    "".
    """

    name: str
    title: str
    spec: TableSpec
    rule: Rule | Literal[""]
    columns: tuple[Score, ...]
    blocks: tuple[Block, ...]
    notes: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    orphans: tuple[str, ...] = ()
    comparisons: tuple[AgainstReference, ...] = ()  # per block, where the specification names a reference row
    paper: str = ""  # "VeRA, Table 2" where some row has a published number
    average: Score | None = None
    heading: str = "method"
    plain: bool = False

    @property
    def shown(self) -> tuple[Score, ...]:
        """The columns, and that of averages where there is one."""
        return self.columns if self.average is None else (*self.columns, self.average)

    @property
    def rows(self) -> tuple[Row, ...]:
        """Those of all blocks."""
        return tuple(row for block in self.blocks for row in block.rows)

    @property
    def done(self) -> list[Run]:
        """The finished cells of all rows."""
        return [run for block in self.blocks for run in finished(block.runs)]

    @property
    def sheets(self) -> list[Sheet]:
        """The comparisons with a reference row, as small tables of text."""
        return [sheet for one in self.comparisons for sheet in one.sheets(self.spec.decimals)]

    @property
    def has_published(self) -> bool:
        """Whether a row has a published number."""
        return any(row.has_published for row in self.rows)

    def row(self, label: str, block: str | None = None) -> list[tuple[Block, Row]]:
        """The rows of that label (in a block of that label, where one is given)."""
        return [
            (one, row) for one in self.blocks for row in one.rows if row.label == label and block in (None, one.label)
        ]

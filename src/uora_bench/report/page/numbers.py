"""A table as the page shows it: lines of text, and what stands behind each number.

Our numbers and published ones never share a list, a line or an entry: `Numbers.ours` has no published value in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from uora_bench.report.boxes import Line, cost_columns, lines
from uora_bench.report.collect import Run
from uora_bench.report.figures.facts import method_of, short_name
from uora_bench.report.model import Entry, Row, Score, Table
from uora_bench.report.notes import protocol_of
from uora_bench.report.page import pareto
from uora_bench.report.page.cells import Cells
from uora_bench.report.page.pareto import Plot


@dataclass(frozen=True)
class Group:
    """A row with the lines that stay with it.

    ``numbers``: by column what the page's address calls our number, and ``published`` where it holds the published one;
    ``words``: what the filter looks in, apart from the label.
    """

    label: str
    methods: tuple[str, ...]
    words: str
    lines: dict[str, Line]
    numbers: tuple[str, ...]
    published: tuple[int | None, ...]


@dataclass(frozen=True)
class Heading:
    """The heading of a column: its text, its tooltip and how it is sorted."""

    text: str
    title: str
    first: str  # the direction of the first click
    kind: str = ""  # cost, average


@dataclass(frozen=True)
class BlockView:
    """The rows under one heading of the table."""

    label: str
    headings: tuple[Heading, ...]
    groups: tuple[Group, ...]
    published: bool  # whether some row has a published number
    plot: Plot | None


@dataclass
class Numbers:
    """What the page knows of numbers: ``ours`` by the name in its address, ``published`` in the order met."""

    cells: Cells
    ours: dict[str, dict[str, Any]] = field(default_factory=dict)
    published: list[dict[str, Any]] = field(default_factory=list)

    def blocks(self, table: Table, slug: str) -> list[BlockView]:
        """The blocks of ``table``; ``slug``: what the page's addresses call it."""
        found = []
        for n, block in enumerate(table.blocks):
            groups = tuple(self._group(table, block.label, row, f"{slug}/{n}.{m}") for m, row in enumerate(block.rows))
            published = any(row.has_published for row in block.rows)
            plot = pareto.plot(table, block, [group.numbers for group in groups])
            found.append(BlockView(block.label, tuple(_headings(table)), groups, published, plot))
        return found

    def _group(self, table: Table, block: str, row: Row, name: str) -> Group:
        for run in row.runs:
            key = self.cells.add(run, table.name)
            if key is not None:
                self.cells.name_row(key, " · ".join(p for p in (block, row.label) if p))
        settings = {f"{k}={v}" for run in row.runs for k, v in run.row.items()}
        names, printed = [], []
        for n, (entry, column) in enumerate(zip(row.shown, table.shown, strict=True)):
            names.append(f"{name}.{'avg' if column is table.average else n}")
            common = {"experiment": table.name, "block": block, "row": row.label, "column": column.label,
                      "rule": table.rule, "value": entry.ours.value, "decimals": column.decimals}  # fmt: skip
            known = self._average(table, row) if column is table.average else self._entry(table, entry, column)
            self.ours[names[-1]] = {**common, **known}
            printed.append(self._theirs(entry, table) if row.has_published else None)
        return Group(
            short_name(row.label, 160),
            tuple(dict.fromkeys(method_of(run) for run in row.runs)),
            " ".join(sorted(settings)),
            {line.name: line for line in lines(table, row)},
            tuple(names),
            tuple(printed),
        )

    def _average(self, table: Table, row: Row) -> dict[str, Any]:
        seeds = [
            self._seed(run, None, run.status + (f": {run.reason}" if run.reason else ""), table) for run in row.runs
        ]
        averaged = [column.label for column in table.columns if column.averaged]
        return {"of": averaged, "seeds": seeds}

    def _entry(self, table: Table, entry: Entry, column: Score) -> dict[str, Any]:
        ours = entry.ours
        problems = dict(text.removeprefix("seed ").split(": ", 1) for text in ours.problems)
        runs = sorted(ours.runs, key=lambda r: r.seed)
        return {
            "aggregate": ours.aggregate,
            "mean": ours.mean,
            "median": ours.median,
            "std": ours.std,
            "planned": ours.planned,
            "metric": column.metric,
            "split": column.split,
            "scale": column.scale,
            "seeds": [
                self._seed(run, ours.by_seed.get(run.seed), problems.get(str(run.seed), run.status), table)
                for run in runs
            ],
            "notes": [table.notes[i] for i in entry.notes],
        }

    def _seed(self, run: Run, score: float | None, why: str, table: Table) -> list[Any]:
        return [run.seed, score, self.cells.add(run, table.name), why, run.task]

    def _theirs(self, entry: Entry, table: Table) -> int | None:
        number = entry.published
        if number is None:
            return None
        self.published.append(
            {
                "text": number.text,
                "where": f"{number.paper}, {number.table}",
                "what": f"{number.method} · {number.backbone} · {number.task} · {number.metric}",
                "source": number.source,
                "confidence": number.confidence,
                "how": protocol_of(table.spec.paper).replace("`", ""),
                "notes": [table.notes[i] for i in entry.published_notes],
            }
        )
        return len(self.published) - 1


def _headings(table: Table) -> Iterable[Heading]:
    for cost in cost_columns(table):
        yield Heading(cost.short, f"{cost.name}: {cost.title}", "ascending", "cost")
    for column in table.shown:
        scale = "" if column.scale == 1 else f" × {column.scale:g}"
        better = "higher" if column.higher_is_better else "lower"
        title = f"{column.metric} on {column.split}{scale}, {better} is better"
        average = column is table.average
        title = "the mean over the columns" if average else title
        first = "descending" if column.higher_is_better else "ascending"
        yield Heading(column.label, title, first, "average" if average else "")

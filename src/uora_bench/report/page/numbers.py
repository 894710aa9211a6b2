"""A table as the page shows it: lines of text, and what stands behind each number.

Our numbers and published ones never share a list, a line or an entry: `Numbers.ours` has no published value in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from uora_bench.report.collect import Run
from uora_bench.report.formatting import MISSING, letters, seconds, size
from uora_bench.report.model import Entry, Row, Score, Table
from uora_bench.report.notes import protocol_of
from uora_bench.report.page.cells import Cells, method_of
from uora_bench.report.page.pool import plain
from uora_bench.report.published import Published


@dataclass(frozen=True)
class Box:
    """One box of a line. ``number`` or ``published``: what the page knows of it; ``sort``: what it is sorted by."""

    text: str = ""
    spread: str = ""
    count: str = ""
    sort: float | str | None = None
    number: str = ""
    published: int | None = None
    mark: str = ""
    notes: tuple[str, ...] = ()
    kind: str = ""


@dataclass(frozen=True)
class Group:
    """A row with the lines that stay with it: ours, then published where there is a published number, and Δ where
    both are."""

    label: str
    methods: tuple[str, ...]
    words: str  # what the filter looks in, apart from the label
    ours: tuple[Box, ...]
    published: tuple[Box, ...] = ()
    delta: tuple[Box, ...] = ()


@dataclass(frozen=True)
class Heading:
    text: str
    title: str
    first: str  # the direction of the first click
    cost: bool = False


@dataclass(frozen=True)
class BlockView:
    """The rows under one heading of the table."""

    label: str
    headings: tuple[Heading, ...]
    groups: tuple[Group, ...]
    published: bool  # whether some row has a published number


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
            averaged = any(row.average is not None for row in block.rows)
            published = any(row.has_published for row in block.rows)
            found.append(BlockView(block.label, tuple(_headings(table, averaged)), groups, published))
        return found

    def _group(self, table: Table, block: str, row: Row, name: str) -> Group:
        for run in row.runs:
            key = self.cells.add(run, table.name)
            if key is not None:
                self.cells.name_row(key, " · ".join(p for p in (block, row.label) if p))
        methods = tuple(dict.fromkeys(method_of(run) for run in row.runs))
        settings = {f"{k}={v}" for run in row.runs for k, v in run.row.items()}
        ours = [*_costs(row), *self._ours(table, block, row, name)]
        if not row.has_published:
            return Group(row.label, methods, " ".join(sorted(settings)), tuple(ours))
        theirs = [Box(row.published_parameters or MISSING), *[Box(MISSING)] * 3]
        theirs += [self._theirs(entry.published, table, entry.published_notes) for entry in row.entries]
        delta = [Box()] * 4 + [_delta(p.delta, c.decimals) for p, c in zip(row.entries, table.columns, strict=True)]
        if row.average is not None:
            theirs.append(self._theirs(row.average.published, table, ()))
            delta.append(_delta(row.average.delta, table.spec.decimals))
        some = tuple(delta) if any(box.text for box in delta) else ()
        return Group(row.label, methods, " ".join(sorted(settings)), tuple(ours), tuple(theirs), some)

    def _ours(self, table: Table, block: str, row: Row, name: str) -> Iterable[Box]:
        for n, (entry, column) in enumerate(zip(row.entries, table.columns, strict=True)):
            self.ours[f"{name}.{n}"] = self._entry(table, block, row, entry, column)
            yield _number(entry, column.decimals, f"{name}.{n}")
        if row.average is not None:
            value, key = row.average.ours, f"{name}.avg"
            self.ours[key] = {
                **self._common(table, block, row, "Avg"),
                "value": plain(value),
                "decimals": table.spec.decimals,
                "of": list(row.average.columns),
                "seeds": [[r.seed, None, self.cells.add(r, table.name), _why(r), r.task] for r in row.runs],
            }
            text = MISSING if value is None else f"{value:.{table.spec.decimals}f}"
            yield Box(text, sort=value, number=key, mark=row.average.mark, kind="" if value is not None else "none")

    def _common(self, table: Table, block: str, row: Row, column: str) -> dict[str, Any]:
        return {"experiment": table.name, "block": block, "row": row.label, "column": column, "rule": table.rule}

    def _entry(self, table: Table, block: str, row: Row, entry: Entry, column: Score) -> dict[str, Any]:
        ours = entry.ours
        problems = dict(text.removeprefix("seed ").split(": ", 1) for text in ours.problems)
        seeds = [
            [
                run.seed,
                plain(ours.by_seed.get(run.seed)),
                self.cells.add(run, table.name),
                problems.get(str(run.seed), run.status),
                run.task,
            ]
            for run in sorted(ours.runs, key=lambda r: r.seed)
        ]
        return {
            **self._common(table, block, row, column.label),
            "value": plain(ours.value),
            "decimals": column.decimals,
            "aggregate": ours.aggregate,
            "mean": plain(ours.mean),
            "median": plain(ours.median),
            "std": plain(ours.std),
            "planned": ours.planned,
            "metric": column.metric,
            "split": column.split,
            "scale": column.scale,
            "seeds": seeds,
            "notes": [table.notes[i] for i in entry.notes],
        }

    def _theirs(self, number: Published | None, table: Table, notes: tuple[int, ...]) -> Box:
        if number is None:
            return Box(MISSING)
        self.published.append(
            {
                "text": number.text,
                "where": f"{number.paper}, {number.table}",
                "what": f"{number.method} · {number.backbone} · {number.task} · {number.metric}",
                "source": number.source,
                "confidence": number.confidence,
                "how": protocol_of(table.spec.paper).replace("`", ""),
                "notes": [table.notes[i] for i in notes],
            }
        )
        value, sign, spread = number.text.partition(" ± ")
        signs = tuple(letters(i) for i in notes)
        return Box(value, sign.lstrip() + spread, notes=signs, published=len(self.published) - 1)


def _headings(table: Table, averaged: bool) -> Iterable[Heading]:
    yield Heading("adapter parameters", "trained, the largest over tasks, without the head", "ascending", True)
    yield Heading("bytes to ship", "the largest over tasks", "ascending", True)
    yield Heading("seconds", "of training and evaluation, the median over cells", "ascending", True)
    yield Heading("peak memory", "the largest over cells", "ascending", True)
    for column in table.columns:
        scale = "" if column.scale == 1 else f" × {column.scale:g}"
        title = (
            f"{column.metric} on {column.split}{scale}, {'higher' if column.higher_is_better else 'lower'} is better"
        )
        yield Heading(column.label, title, "descending" if column.higher_is_better else "ascending")
    if averaged:
        higher = all(column.higher_is_better for column in table.columns if column.averaged)
        yield Heading("Avg", "the mean over the columns", "descending" if higher else "ascending")


def _costs(row: Row) -> list[Box]:
    costs = row.costs
    parameters = MISSING if costs.parameters is None else f"{costs.parameters:,}"
    return [
        Box(parameters, sort=costs.parameters),
        Box(size(costs.bytes_to_ship), sort=costs.bytes_to_ship),
        Box(seconds(costs.seconds), sort=costs.seconds),
        Box(size(costs.memory), sort=costs.memory),
    ]


def _number(entry: Entry, decimals: int, name: str) -> Box:
    ours = entry.ours
    notes = tuple(letters(i) for i in entry.notes)
    if ours.value is None:
        failed = any(run.status == "failed" for run in ours.runs)
        return Box("failed" if failed else MISSING, number=name, notes=notes, kind="failed" if failed else "none")
    return Box(
        f"{ours.value:.{decimals}f}",
        "" if ours.std is None else f"± {ours.std:.{decimals}f}",
        f"({ours.count})",
        ours.value,
        name,
        mark=entry.mark,
        notes=notes,
    )


def _delta(value: float | None, decimals: int) -> Box:
    return Box("" if value is None else f"{value:+.{decimals}f}".replace("-", "−"))


def _why(run: Run) -> str:
    return run.status + (f": {run.reason}" if run.reason else "")

"""A table as the page shows it: lines of text, and what stands behind each number.

Our numbers and published ones never share a list, a line or a place: `Numbers.ours` has no published value in it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from uora_bench.report.collect import Run
from uora_bench.report.model import Place, Row, Score, Table
from uora_bench.report.page.cells import Cells, method_of
from uora_bench.report.page.pool import plain
from uora_bench.report.published import Published
from uora_bench.report.words import MISSING, letters, seconds, size


@dataclass(frozen=True)
class Box:
    """One place of a line. ``number`` or ``published``: what the page knows of it; ``sort``: what it is sorted by."""

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
    words: str  # what the filter looks in, beside the label
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
class Block:
    """The rows under one heading of the table."""

    label: str
    headings: tuple[Heading, ...]
    groups: tuple[Group, ...]
    beside: bool  # some row has a published number


@dataclass
class Numbers:
    """What the page knows of numbers: ``ours`` by the name in its address, ``published`` in the order met."""

    cells: Cells
    ours: dict[str, dict[str, Any]] = field(default_factory=dict)
    published: list[dict[str, Any]] = field(default_factory=list)

    def blocks(self, table: Table, slug: str) -> list[Block]:
        """The blocks of ``table``; ``slug``: what the page's addresses call it."""
        found = []
        for n, part in enumerate(table.parts):
            groups = tuple(self._group(table, part.label, row, f"{slug}/{n}.{m}") for m, row in enumerate(part.rows))
            averaged = any(row.average is not None for row in part.rows)
            beside = any(row.has_published for row in part.rows)
            found.append(Block(part.label, tuple(_headings(table, averaged)), groups, beside))
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
        theirs += [self._theirs(place.published, table, place.published_notes) for place in row.places]
        delta = [Box()] * 4 + [_delta(p.delta, c.decimals) for p, c in zip(row.places, table.columns, strict=True)]
        if row.average is not None:
            theirs.append(self._theirs(row.average.published, table, ()))
            delta.append(_delta(row.average.delta, table.spec.decimals))
        some = tuple(delta) if any(box.text for box in delta) else ()
        return Group(row.label, methods, " ".join(sorted(settings)), tuple(ours), tuple(theirs), some)

    def _ours(self, table: Table, block: str, row: Row, name: str) -> Iterable[Box]:
        for n, (place, column) in enumerate(zip(row.places, table.columns, strict=True)):
            self.ours[f"{name}.{n}"] = self._place(table, block, row, place, column)
            yield _number(place, column.decimals, f"{name}.{n}")
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

    def _place(self, table: Table, block: str, row: Row, place: Place, column: Score) -> dict[str, Any]:
        ours = place.ours
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
            "notes": [table.notes[i] for i in place.notes],
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
                "how": _how(table),
                "notes": [table.notes[i] for i in notes],
            }
        )
        value, sign, spread = number.text.partition(" ± ")
        signs = tuple(letters(i) for i in notes)
        return Box(value, sign.lstrip() + spread, notes=signs, published=len(self.published) - 1)


def _how(table: Table) -> str:
    """How the paper came to its numbers, as far as it is known."""
    paper = table.spec.paper
    parts = [f"rule {paper.rule}" if paper.rule else "rule not known"]
    if paper.seeds == 1:
        return f"{parts[0]}, one run"
    parts.append(f"{paper.aggregate} over seeds" if paper.aggregate else "aggregate not known")
    parts.append(f"{paper.seeds} seeds" if paper.seeds else "number of seeds not known")
    return ", ".join(parts)


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


def _number(place: Place, decimals: int, name: str) -> Box:
    ours = place.ours
    notes = tuple(letters(i) for i in place.notes)
    if ours.value is None:
        failed = any(run.status == "failed" for run in ours.runs)
        return Box("failed" if failed else MISSING, number=name, notes=notes, kind="failed" if failed else "none")
    return Box(
        f"{ours.value:.{decimals}f}",
        "" if ours.std is None else f"± {ours.std:.{decimals}f}",
        f"({ours.count})",
        ours.value,
        name,
        mark=place.mark,
        notes=notes,
    )


def _delta(value: float | None, decimals: int) -> Box:
    return Box("" if value is None else f"{value:+.{decimals}f}".replace("-", "−"))


def _why(run: Run) -> str:
    return run.status + (f": {run.reason}" if run.reason else "")

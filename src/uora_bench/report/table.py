"""From the cells of an experiment (a `Collection`) and its `TableSpec` to a `Table`.

Published numbers are looked up here and kept apart from our own in every entry.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from uora_bench.errors import UserError, nearest
from uora_bench.grid import preset
from uora_bench.grid.table_spec import BlockSpec, Column, RowSpec, Rule, TableSpec
from uora_bench.report import aggregate, notes, row_comparison, stats
from uora_bench.report.collect import Collection, Run
from uora_bench.report.model import Average, Block, Entry, Row, Score, Table
from uora_bench.report.published import Library, Published, find_published
from uora_bench.report.row_comparison import AgainstReference


def build(collection: Collection, library: Library | None, rule: Rule | None = None) -> Table:
    """The table of ``collection`` under ``rule`` (its specification's own where None).

    Raises:
        UserError: for a specification that fits no cell, or a published table that is not there.
    """
    experiment = collection.experiment
    spec = experiment.table or TableSpec()
    rule = rule or spec.rule
    columns = _columns(collection, spec, rule)
    known: Sequence[Published] = ()
    if experiment.published is not None and library is not None:
        known = library.table(experiment.published.paper, experiment.published.table)
    footnotes = notes.Footnotes()
    blocks = []
    for named in _blocks(collection, spec):
        runs = [run for run in collection.runs if _matches(run, named.when)]
        grouped = list(_rows(runs, spec))
        shared = _shared_tasks([own for _, own in grouped], columns)
        rows = [_row(label, own, columns, spec, rule, known, named, footnotes, shared) for label, own in grouped]
        if rows:
            blocks.append(Block(named.label, _marked(rows, columns)))
    if not blocks:
        raise UserError(f"the table of '{experiment.name}' has no row: `table:` fits no cell of the grid")
    compared = any(row.has_published for block in blocks for row in block.rows)
    table = Table(
        experiment.name,
        experiment.title or f"Records of {experiment.name}",
        spec,
        rule,
        columns,
        tuple(blocks),
        (),
        (),
        collection.orphans,
        tuple(one for one in (_comparisons(block, columns, spec) for block in blocks) if one is not None),
        f"{experiment.published.paper}, {experiment.published.table}" if experiment.published and compared else "",
    )
    return replace(table, notes=footnotes.texts, about=notes.about(table, collection))


def _columns(collection: Collection, spec: TableSpec, rule: Rule) -> tuple[Score, ...]:
    first = {run.task: run for run in reversed(collection.runs)}
    wanted = spec.columns or tuple(Column(task, task.removeprefix("glue/")) for task in collection.tasks)
    columns = []
    for column in wanted:
        run = first.get(column.task)
        if run is None:
            continue  # the grid was narrowed to other tasks
        own = column.metric in (None, run.metric.primary)
        split = column.split or ("test" if run.splits.get("test") else "dev")
        names = {"task": column.label, **column.published}
        if rule == "heldout_dev" and split == "test":
            split, names = "dev", {}  # all that this rule scores; published was the test set
        higher = run.metric.higher_is_better if own else True
        columns.append(
            Score(
                column.label,
                column.task,
                column.metric or run.metric.primary,
                split,
                column.scale if column.scale is not None else run.metric.scale,
                column.higher_is_better if column.higher_is_better is not None else higher,
                column.decimals if column.decimals is not None else spec.decimals,
                names,
                column.averaged,
            )
        )
    if not columns:
        raise UserError(f"the table of '{collection.experiment.name}' has no column: none of its tasks is in the grid")
    return tuple(columns)


def _blocks(collection: Collection, spec: TableSpec) -> Iterable[BlockSpec]:
    if spec.blocks:
        return spec.blocks
    backbones = dict.fromkeys(run.row["backbone"] for run in collection.runs if "backbone" in run.row)
    if len(backbones) > 1:
        return [BlockSpec(str(b), {"backbone": b}) for b in backbones]
    return [BlockSpec("", {})]


def _matches(run: Run, when: Mapping[str, Any]) -> bool:
    return preset.matches({**run.row, "task": run.task, "seed": run.seed}, dict(when))


def _rows(runs: Sequence[Run], spec: TableSpec) -> Iterable[tuple[RowSpec, list[Run]]]:
    """The rows in the specification's order; what it does not name comes after, by its settings."""
    left = list(runs)
    for row in spec.rows:
        own = [run for run in left if _matches(run, row.when)]
        taken = {id(run) for run in own}
        left = [run for run in left if id(run) not in taken]
        if own:
            yield row, own + [run for run in runs if row.also and id(run) not in taken and _matches(run, row.also)]
    groups: dict[str, list[Run]] = {}
    for run in left:
        groups.setdefault(_name(run.row, runs), []).append(run)
    for label, own in groups.items():
        yield RowSpec(label, {}), own


def _name(row: Mapping[str, Any], runs: Sequence[Run]) -> str:
    """The method, and what tells this row from others of the same table."""
    others = [run.row for run in runs]
    extra = [
        f"{key.removeprefix('method.')}={value:g}"
        if isinstance(value, float)
        else f"{key.removeprefix('method.')}={value}"
        for key, value in row.items()
        if key not in ("method", "backbone") and any(other.get(key) != value for other in others)
    ]
    return " ".join([str(row.get("method", "")), *extra]).strip()


def _row(
    named: RowSpec,
    runs: Sequence[Run],
    columns: Sequence[Score],
    spec: TableSpec,
    rule: Rule,
    known: Sequence[Published],
    block: BlockSpec,
    footnotes: notes.Footnotes,
    shared: set[str],
) -> Row:
    entries = []
    for column in columns:
        own = [run for run in runs if run.task == column.task]
        seeds = [run.seed for run in own]
        if len(set(seeds)) != len(seeds):
            raise UserError(f"row '{named.label}' has two cells of one seed on {column.task}; `when` has to say more")
        number = aggregate.number(own, rule, column.split, column.metric, column.scale, spec.aggregate)
        theirs = None
        if named.published is not None and column.published:
            theirs = find_published(
                known, named.published, block.published, column.published["task"], column.published.get("metric")
            )
        entries.append(
            Entry(
                number,
                theirs,
                "",
                tuple(footnotes.add(text) for text in notes.ours(number, spec)),
                tuple(footnotes.add(text) for text in notes.theirs(theirs, own, spec)),
            )
        )
    counts = {p.published.trainable_params for p in entries if p.published is not None} - {"", "-"}
    return Row(
        named.label,
        tuple(entries),
        aggregate.costs([run for run in runs if run.task in shared]),
        " / ".join(sorted(counts)),
        _average(entries, columns, spec, named, known, block),
    )


def _shared_tasks(rows: Sequence[Sequence[Run]], columns: Sequence[Score]) -> set[str]:
    """The tasks whose cells say what a row costs: those that every row with results has, so that rows compare."""
    shown = {column.task for column in columns}
    done = [{run.task for run in own if run.status == "done"} & shown for own in rows]
    shared = set.intersection(shown, *(tasks for tasks in done if tasks))
    return shared or shown


def _average(
    entries: Sequence[Entry],
    columns: Sequence[Score],
    spec: TableSpec,
    named: RowSpec,
    known: Sequence[Published],
    block: BlockSpec,
) -> Average | None:
    wanted = {column.label for column in spec.columns if column.averaged}
    if not spec.average or not wanted <= {column.label for column in columns}:
        return None  # of fewer columns it would be another number than the published one, and than elsewhere
    chosen = [(entry, column) for entry, column in zip(entries, columns, strict=True) if column.averaged]
    values = [entry.ours.value for entry, _ in chosen]
    ours = None if None in values else statistics.fmean(v for v in values if v is not None)
    theirs = None
    if named.published is not None and all(entry.published is not None for entry, _ in chosen):
        theirs = find_published(known, named.published, block.published, "Avg", None)
    scores = [entry.ours.by_seed for entry, _ in chosen]
    seeds = sorted(set.intersection(*map(set, scores)))
    by_seed = {seed: statistics.fmean(one[seed] for one in scores) for seed in seeds}
    return Average(ours, theirs, tuple(column.label for _, column in chosen), by_seed)


def _marked(rows: Sequence[Row], columns: Sequence[Score]) -> tuple[Row, ...]:
    """``rows`` with the marks that survive the statistics, per column and for the average over all of them."""
    marked = [list(row.entries) for row in rows]
    for i, column in enumerate(columns):
        scores = {str(n): {column.label: row.entries[i].ours.by_seed} for n, row in enumerate(rows)}
        for n, mark in _marks(scores, column.higher_is_better).items():
            marked[n][i] = replace(marked[n][i], mark=mark)
    found = [replace(row, entries=tuple(entries)) for row, entries in zip(rows, marked, strict=True)]
    if len(columns) > 1 and all(column.higher_is_better for column in columns if column.averaged):
        whole = {
            str(n): {c.label: p.ours.by_seed for c, p in zip(columns, row.entries, strict=True) if c.averaged}
            for n, row in enumerate(rows)
            if row.average is not None and row.average.ours is not None
        }
        for n, mark in _marks(whole, True).items():
            average = found[n].average
            if average is not None:
                found[n] = replace(found[n], average=replace(average, mark=mark))
    return tuple(found)


def _comparisons(block: Block, columns: Sequence[Score], spec: TableSpec) -> AgainstReference | None:
    reference = spec.reference
    if reference is None:
        return None
    rows = {row.label: row for row in block.rows}
    if reference not in rows:
        if any(row.label == reference for row in spec.rows):
            return None  # the grid was narrowed to other rows
        raise UserError(f"the table's reference '{reference}' is no row of it{nearest(reference, rows)}")
    if len({column.higher_is_better for column in columns}) > 1:
        raise UserError("a table with a reference row needs columns of one direction: higher or lower is better")
    scores = {
        label: {c.label: p.ours.by_seed for c, p in zip(columns, row.entries, strict=True)}
        for label, row in rows.items()
    }
    return row_comparison.compare_rows(block.label, reference, scores, columns[0].higher_is_better)


def _marks(scores: dict[str, dict[str, dict[int, float]]], higher_is_better: bool) -> dict[int, str]:
    there = {name: tasks for name, tasks in scores.items() if all(tasks.values())}
    # its own generator: a table does not depend on what was computed before it
    marks = stats.best_marks(there, higher_is_better, generator=np.random.default_rng(0))
    return {int(n): mark for n, mark in ((marks.best, "best"), (marks.second, "second")) if n is not None}

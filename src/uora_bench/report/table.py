"""From the cells of an experiment (a `Collection`) and its `TableSpec` to a `Table`.

Published numbers are looked up here and kept apart from our own in every entry.
"""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np

from uora_bench.config.metrics import AUTO, check_value, higher_is_better, scale_of
from uora_bench.errors import UserError, nearest
from uora_bench.grid import preset
from uora_bench.grid.table_spec import BlockSpec, Column, RowSpec, Rule, TableSpec
from uora_bench.metrics.items import RIGHT_OR_WRONG, item_scores
from uora_bench.report import (
    aggregate,
    cache,
    comparability,
    grades,
    judged,
    notes,
    row_comparison,
    searches,
    stats,
    verdict_notes,
)
from uora_bench.report.aggregate import Number
from uora_bench.report.collect import Collection, Run
from uora_bench.report.model import Block, Entry, Row, Score, Table
from uora_bench.report.published import Library, Published, find_published
from uora_bench.report.row_comparison import AgainstReference, ItemLine


def build(collection: Collection, library: Library | None, rule: Rule | None = None) -> Table:
    """The table of ``collection`` under ``rule`` (its specification's own where None).

    Raises:
        UserError: for a specification that fits no cell, or a published table that is not there.
    """
    with cache.answers_of(next((run.folder for run in collection.runs if run.folder is not None), None)):
        return _build(collection, library, rule)


def _build(collection: Collection, library: Library | None, rule: Rule | None) -> Table:
    experiment = collection.experiment
    spec = experiment.table or TableSpec()
    rule = rule or spec.rule
    columns = _columns(collection, spec, rule)
    known: Sequence[Published] = ()
    if experiment.published is not None and library is not None:
        known = library.table(experiment.published.paper, experiment.published.table)
    comparability.check_levels(spec.comparability)
    average = _average_column(spec, columns)
    if spec.reference is not None:
        _check_one_unit("a table with a reference row", columns, "leave columns out")
    maker = _Maker(spec, rule, columns, average, known)
    blocks = [
        Block(" · ".join(filter(None, (named.label, words))), maker.rows(named, grouped))
        for named in _blocks(collection, spec)
        for words, grouped in maker.groups([run for run in collection.runs if _matches(run, named.when)])
        if grouped
    ]
    if not blocks:
        raise UserError(f"the table of '{experiment.name}' has no row: `table:` fits no cell of the grid")
    for block in blocks:
        _check_labels("rows", [row.label for row in block.rows])
    labels = {row.label for row in spec.rows} | {row.label for block in blocks for row in block.rows}
    table = Table(
        experiment.name,
        experiment.title or f"Records of {experiment.name}",
        spec,
        rule,
        columns,
        tuple(blocks),
        notes=tuple(maker.footnotes),
        orphans=collection.orphans,
        comparisons=tuple(
            one for one in (_comparisons(block, columns, spec, rule, labels) for block in blocks) if one is not None
        ),
        average=maker.average,
    )
    if experiment.published and table.has_published:
        table = replace(table, paper=f"{experiment.published.paper}, {experiment.published.table}")
    return replace(table, about=notes.about(table, collection))


def _columns(collection: Collection, spec: TableSpec, rule: Rule) -> tuple[Score, ...]:
    # of a metric that the data decides only a finished cell can tell
    decided = sorted(collection.runs, key=lambda run: (run.metric.name == AUTO, run.status != "done"))
    first = {run.task: run for run in reversed(decided)}
    wanted = spec.columns or tuple(Column(task, task.removeprefix("glue/")) for task in collection.tasks)
    columns = []
    for column in wanted:
        run = first.get(column.task)
        if run is None:
            continue  # the grid was narrowed to other tasks
        value = column.metric or run.metric.primary
        _check_column(column, value, run)
        tested = run.splits.get("test") and collection.experiment.search is None  # trials are judged by dev
        split = column.split or ("test" if tested else "dev")
        names = {"task": column.label, **column.published}
        if rule == "heldout_dev" and split == "test":
            split, names = "dev", {}  # all that this rule scores; published was the test set
        higher = column.higher_is_better
        columns.append(
            Score(
                column.label,
                column.task,
                value,
                split,
                column.scale if column.scale is not None else scale_of(run.metric, value),
                higher if higher is not None else higher_is_better(run.metric, value),
                column.decimals if column.decimals is not None else spec.decimals,
                names,
                column.averaged,
            )
        )
    _check_labels("columns", [column.label for column in columns])
    if not columns:
        raise UserError(f"the table of '{collection.experiment.name}' has no column: none of its tasks is in the grid")
    return tuple(columns)


def _check_column(column: Column, value: str, run: Run) -> None:
    """Raise `UserError` for a score that no cell of the task can have: a misspelt metric, split or direction."""
    where = f"column '{column.label}'"
    if column.split == grades.SPLIT:
        if value not in grades.VALUES:
            raise UserError(f"{where}: {grades.SPLIT} has no '{value}'{nearest(value, grades.VALUES)}")
        return
    check_value(run.metric, value, column.higher_is_better, where)
    roles = [role for role in ("dev", "test") if run.splits.get(role)] + list(run.splits.get("extra") or {})
    if column.split is not None and column.split not in roles:
        raise UserError(f"{where}: {column.task} scores no split '{column.split}'{nearest(column.split, roles)}")


def _average_column(spec: TableSpec, columns: Sequence[Score]) -> Score | None:
    wanted = {column.label for column in spec.columns if column.averaged}
    if not spec.average or not wanted <= {column.label for column in columns}:
        return None  # of fewer columns it would be another number than the published one, and than elsewhere
    own = [column for column in columns if column.averaged]
    if not own:
        return None
    _check_one_unit("table.average", own, "set averaged: false at the others")
    higher = own[0].higher_is_better
    return Score("Avg", " ".join(column.label for column in own), higher_is_better=higher, decimals=spec.decimals)


def _check_one_unit(what: str, columns: Sequence[Score], remedy: str) -> None:
    """Raise `UserError` where scores of ``columns`` cannot be put together: percentages can, others of one metric."""
    units = {(c.higher_is_better, c.scale, "" if c.scale == 100 else c.metric): c for c in reversed(columns)}
    if len(units) > 1:
        one, other = (f"{c.label} ({c.metric} × {c.scale:g})" for c in list(units.values())[-2:][::-1])
        raise UserError(f"{what} needs columns of one direction and unit, unlike {one} and {other}; {remedy}")


def _check_labels(what: str, labels: Sequence[str]) -> None:
    """Raise `UserError` where two ``labels`` are the same: a comparison could not tell them apart."""
    if twice := [label for label, times in Counter(labels).items() if times > 1]:
        raise UserError(f"two {what} of the table are called '{twice[0]}'; give each its own label")


def _blocks(collection: Collection, spec: TableSpec) -> Iterable[BlockSpec]:
    if spec.blocks:
        return spec.blocks
    backbones = dict.fromkeys(run.row["backbone"] for run in collection.runs if "backbone" in run.row)
    if len(backbones) > 1:
        return [BlockSpec(str(b), {"backbone": b}) for b in backbones]
    return [BlockSpec("", {})]


def _matches(run: Run, when: Mapping[str, Any]) -> bool:
    return preset.matches({**run.row, "task": run.task, "seed": run.seed}, dict(when))


def _grouped(runs: Sequence[Run], spec: TableSpec) -> Iterable[tuple[RowSpec, list[Run]]]:
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
    extra = [
        f"{key.removeprefix('method.')}={f'{value:g}' if isinstance(value, float) else value}"
        for key, value in row.items()
        if key not in ("method", "backbone") and any(run.row.get(key) != value for run in runs)
    ]
    return " ".join([str(row.get("method", "")), *extra]).strip()


@dataclass
class _Maker:
    """Makes rows. ``known``: the published numbers; ``footnotes``: those met, each once."""

    spec: TableSpec
    rule: Rule
    columns: tuple[Score, ...]
    average: Score | None
    known: Sequence[Published]
    footnotes: dict[str, int] = field(default_factory=dict)

    def groups(self, runs: Sequence[Run]) -> list[tuple[str, list[tuple[RowSpec, list[Run]]]]]:
        """The rows of a block with their cells, apart where the preset splits by a rule of what may not be compared."""
        tasks = {column.task for column in self.columns}
        rows = [(named, [run for run in own if run.task in tasks]) for named, own in _grouped(runs, self.spec)]
        return comparability.split_rows(rows, self.spec.comparability)

    def rows(self, block: BlockSpec, grouped: Sequence[tuple[RowSpec, list[Run]]]) -> tuple[Row, ...]:
        """Those of one block, with the marks that survive the statistics."""
        # costs are of the tasks that every row with results has, so that rows compare
        tasks = {column.task for column in self.columns}
        done = [{run.task for run in own if run.status == "done"} & tasks for _, own in grouped]
        shared = set.intersection(tasks, *filter(None, done)) or tasks
        rows = [self._row(named, own, block, shared) for named, own in grouped]
        for i in range(len(self.columns)):
            rows = self._marked(self._compared(rows, i), i, [i])
        if self.average is not None and self.average.higher_is_better and len(self.columns) > 1:
            rows = self._marked(rows, -1, [i for i, column in enumerate(self.columns) if column.averaged])
        return tuple(rows)

    def _compared(self, rows: Sequence[Row], at: int) -> list[Row]:
        """``rows`` with what is to be known to compare their entries of column ``at``."""
        levels, column, found = self.spec.comparability, self.columns[at], []
        texts = comparability.differences([row.entries[at].ours.runs for row in rows], levels)
        for row, own in zip(rows, texts, strict=True):
            entry, number = row.entries[at], row.entries[at].ours
            if number.value is None:  # there is nothing to mark
                found.append(row)
                continue
            of = (column.split, column.metric, column.scale)
            faults = comparability.faults(number.runs, *of, number.by_seed, levels)
            again = judged.scored_again(number.runs, column.split, levels)
            noted = self._noted([*own, *faults, *again, *searches.remarks(number.runs, self.rule)])
            found.append(row.changed(at, notes=(*entry.notes, *noted)))
        return found

    def _marked(self, rows: Sequence[Row], at: int, of: Sequence[int]) -> list[Row]:
        """``rows`` with the marks that the scores of columns ``of`` allow, put at entry ``at`` (−1: the average)."""
        scores: dict[str, dict[str, dict[int, float]]] = {}
        for n, row in enumerate(rows):
            tasks = {self.columns[i].label: row.entries[i].ours.by_seed for i in of}
            if all(tasks.values()):
                scores[str(n)] = tasks
        # its own generator: a table does not depend on what was computed before it
        higher = self.columns[of[0]].higher_is_better
        marks = stats.Marks(
            *cache.take(
                tuple[str | None, ...],
                ["marks", scores, higher],
                lambda: tuple(stats.best_marks(scores, higher, generator=np.random.default_rng(0))),
            )
        )
        found = list(rows)
        for name, mark in ((marks.best, "best"), (marks.second, "second")):
            if name is not None:
                found[int(name)] = found[int(name)].changed(at, mark=mark)
        return found

    def _row(self, named: RowSpec, runs: Sequence[Run], block: BlockSpec, shared: set[str]) -> Row:
        entries = tuple(self._entry(named, [run for run in runs if run.task == c.task], c, block) for c in self.columns)
        counts = {p.published.trainable_params for p in entries if p.published is not None} - {"", "-"}
        costs = searches.costs([run for run in runs if run.task in shared])
        average = None if self.average is None else self._average(named, entries, block)
        return Row(named.label, entries, costs, " / ".join(sorted(counts)), average)

    def _entry(self, named: RowSpec, runs: Sequence[Run], column: Score, block: BlockSpec) -> Entry:
        if len({run.seed for run in runs}) != len(runs):
            raise UserError(f"row '{named.label}' has two cells of one seed on {column.task}; `when` has to say more")
        number = aggregate.number(runs, self.rule, column.split, column.metric, column.scale, self.spec.aggregate)
        theirs = None
        if column.published:
            theirs = self._published(named, block, column.published["task"], column.published.get("metric"))
        own, printed = notes.ours(number, column.split, self.spec), notes.theirs(theirs, runs, self.spec)
        return Entry(number, theirs, "", self._noted(own), self._noted(printed))

    def _average(self, named: RowSpec, entries: Sequence[Entry], block: BlockSpec) -> Entry:
        chosen = [entry for entry, column in zip(entries, self.columns, strict=True) if column.averaged]
        values = [entry.ours.value for entry in chosen if entry.ours.value is not None]
        whole = statistics.fmean(values) if len(values) == len(chosen) else None
        scores = [entry.ours.by_seed for entry in chosen]
        seeds = sorted(set.intersection(*map(set, scores)))
        by_seed = {seed: statistics.fmean(one[seed] for one in scores) for seed in seeds}
        known = all(entry.published is not None for entry in chosen)
        of = self.spec.aggregate
        mean, median = (whole, None) if of == "mean" else (None, whole)
        ours = Number(by_seed, 0, (), mean, median, aggregate=of)
        return Entry(ours, self._published(named, block, "Avg", None) if known else None)

    def _published(self, named: RowSpec, block: BlockSpec, task: str, metric: str | None) -> Published | None:
        if named.published is None:
            return None
        return find_published(self.known, named.published, block.published, task, metric)

    def _noted(self, texts: Iterable[str]) -> tuple[int, ...]:
        return tuple(self.footnotes.setdefault(text, len(self.footnotes)) for text in texts)


def _comparisons(
    block: Block, columns: Sequence[Score], spec: TableSpec, rule: Rule, labels: set[str]
) -> AgainstReference | None:
    reference = spec.reference
    if reference is None:
        return None
    rows = {row.label: row for row in block.rows}
    if reference not in rows:
        if reference in labels:
            return None  # it is in another block, or the grid was narrowed to other rows
        raise UserError(f"the table's reference '{reference}' is no row of it{nearest(reference, rows)}")
    scores = {
        label: {c.label: p.ours.by_seed for c, p in zip(columns, row.entries, strict=True)}
        for label, row in rows.items()
    }
    higher, margin = columns[0].higher_is_better, spec.margin.points if spec.margin is not None else None
    found = cache.take(
        AgainstReference,
        ["rows", block.label, reference, scores, higher],
        lambda: row_comparison.compare_rows(block.label, reference, scores, higher),
    )
    of_runs = [run for row in block.rows for run in row.runs]
    declared = spec.declared
    texts = [verdict_notes.undeclared(of_runs, replace(declared, rule=rule))] if declared is not None else []
    without = _not_over_items(of_runs, columns, rule)
    chosen = {
        label: {c.label: (c, _with_items(p.ours, c, rule)) for c, p in zip(columns, row.entries, strict=True)}
        for label, row in rows.items()
    }
    compared = cache.take(
        tuple[ItemLine, ...],
        ["items", reference, higher, margin, [[label, name, *_item_question(*of)]
                                              for label, own in chosen.items() for name, of in own.items()]],
        lambda: row_comparison.compare_items(
            reference,
            {label: {name: _item_scores(*of) for name, of in own.items()} for label, own in chosen.items()},
            higher,
            margin,
            {c.label: c.scale for c in columns if c.metric in RIGHT_OR_WRONG},
        ),
    )  # fmt: skip
    lines = {(line.row, line.column) for line in compared}
    apart = [f"{label} on {c.label}" for label in rows for c in columns
             if label != reference and chosen[label][c.label][1] and chosen[reference][c.label][1]
             and (label, c.label) not in lines]  # fmt: skip
    if apart:
        start = "Not compared over items, with " if compared else ""
        without.append(f"{start}no seed or fewer than two items in common: {', '.join(apart)}")
    unlearned = {
        label: [c.label for c, p in zip(columns, row.entries, strict=True) if comparability.unlearned(p.ours.runs)]
        for label, row in rows.items()
    }
    if not compared and not without and margin is not None:
        without = ["no predictions are kept"]
    remark = ". ".join(filter(None, [*(texts if compared else ()), *without]))
    return replace(found, items=compared, margin=margin, remark=remark).with_unlearned(unlearned)


def _not_over_items(runs: Sequence[Run], columns: Sequence[Score], rule: Rule) -> list[str]:
    """What cannot be compared item by item though predictions are kept, and why."""
    if rule == "heldout_dev":
        kept = any(comparability.predictions_sha256(run) for run in runs)
        return ["under rule heldout_dev each half of dev is scored by another epoch"] if kept else []
    found = [(column.label, verdict_notes.not_over_items(runs, column.metric, column.task)) for column in columns]
    return [f"{label} is not compared over items: {why}" for label, why in found if why]


class _Scored(NamedTuple):
    """A cell with predictions, the epoch that counts, and the score that its record gives it there."""

    run: Run
    epoch: int
    score: float | None


def _with_items(number: Number, column: Score, rule: Rule) -> list[_Scored]:
    """The cells with predictions of an entry.

    Of rules that choose one epoch, and of what `verdict_notes.not_over_items` does not name.
    """
    if rule == "heldout_dev" or verdict_notes.not_over_items(number.runs, column.metric):
        return []
    runs = [run for run in number.runs if comparability.predictions_sha256(run)]
    return [
        _Scored(run, epoch, run.score(rule, column.split, column.metric))
        for run in runs
        if (epoch := run.record.scores[rule].epoch) is not None
    ]


def _item_question(column: Score, chosen: Sequence[_Scored]) -> tuple[Any, ...]:
    """All that `_item_scores` depends on."""
    of = [
        (one.run.seed, one.run.record.metric.name, one.epoch, one.score, comparability.predictions_sha256(one.run))
        for one in chosen
    ]
    return column.metric, column.split, column.scale, of


def _item_scores(column: Score, chosen: Sequence[_Scored]) -> dict[int, dict[int, float]]:
    """By seed the score of every item, in the unit of the column, whose mean they have (`metrics.items`)."""
    made: dict[int, dict[int, float]] = {}
    for run, epoch, score in chosen:
        for part in comparability.kept_predictions(run):
            if part.split == column.split and part.epoch == epoch:
                own = item_scores(run.record.metric.name, column.metric, part.prediction, part.reference)
                _check_mean(run, column, score, float(np.mean(own)) if len(own) else math.nan)
                made[run.seed] = dict(zip(part.item.tolist(), (own * column.scale).tolist(), strict=True))
    return made


def _check_mean(run: Run, column: Score, score: float | None, mean: float) -> None:
    """Raise `UserError` where the predictions of ``run`` do not have the ``score`` that its record gives them."""
    if score is not None and not math.isclose(mean, score, rel_tol=1e-3, abs_tol=1e-4):
        raise UserError(
            f"the predictions of cell {run.cell_id} give {column.metric} {mean:.4f}, and its record {score:.4f}: one "
            "of the two was changed; take both from a copy, or run the cell again"
        )

"""What all figures of a table share: their frame, and the sentences of captions."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from uora_bench.report.collect import Run
from uora_bench.report.figure_spec import FigureSpec, stem, table_text
from uora_bench.report.model import Block, Score, Table
from uora_bench.report.notes import RULES


def figure_spec(
    table: Table,
    block: Block,
    kind: tuple[str, str],
    caption: Iterable[str],
    columns: Sequence[str],
    rows: Iterable[Mapping[str, Any]],
    draw: Callable[[], Any],
) -> FigureSpec:
    """The figure of a block; ``kind``: what it is called in the file's name and in the title; empty sentences of the
    ``caption`` are left out."""
    title = f"{table.title}{f' ({block.label})' if block.label else ''}: {kind[1]}"
    text = " ".join(sentence for sentence in caption if sentence)
    return FigureSpec(stem(table.name, block.label, kind[0]), title, text, table_text(columns, rows), draw)


def task_label(table: Table, task: str) -> str:
    """The column's label; the task's own name where several columns are scores of it."""
    labels = [column.label for column in table.columns if column.task == task]
    return labels[0] if len(labels) == 1 else task


def done(runs: Iterable[Run]) -> list[Run]:
    return [run for run in runs if run.status == "done"]


def ids(runs: Iterable[Run]) -> list[str]:
    return [run.cell_id for run in done(runs) if run.cell_id]


def rule(table: Table) -> str:
    return f"Selection rule {table.rule}: {RULES[table.rule]}."


def splits(columns: Sequence[Score], runs: Sequence[Run]) -> str:
    """Where the columns are scored, with the data set's own name of the split."""
    found: dict[str, list[str]] = {}
    for column in columns:
        found.setdefault(split(column.split, [r for r in runs if r.task == column.task]), []).append(column.label)
    if len(found) == 1:
        return f"Scored on {next(iter(found))}."
    return "Scored on " + "; ".join(f"{name} ({', '.join(labels)})" for name, labels in found.items()) + "."


def split(role: str, runs: Iterable[Run]) -> str:
    """``dev (validation)``: the role, and what the data set calls it."""
    named = {run.record.splits[role].name for run in done(runs) if role in run.record.splits}
    named.discard(role)
    return f"{role} ({', '.join(sorted(named))})" if named else role


def seeds(counts: Iterable[int], of: str = "point") -> str:
    """How many seeds stand behind each ``of``."""
    numbers = sorted(set(counts))
    if len(numbers) == 1:
        return f"n = {numbers[0]} seed{'s' if numbers[0] > 1 else ''} per {of}."
    return f"n = {numbers[0]} to {numbers[-1]} seeds per {of}, as the CSV says."


def std(by_seed: dict[int, float]) -> float | None:
    """Sample standard deviation (n − 1); None under two seeds."""
    return statistics.stdev(by_seed.values()) if len(by_seed) > 1 else None

"""The sentences of captions: rule, split, seeds, and what is to be known of seconds and memory."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from uora_bench.report.collect import Run
from uora_bench.report.model import Block, Score, Table
from uora_bench.report.notes import RULES


def heading(table: Table, block: Block, what: str) -> str:
    """A figure's title."""
    return f"{table.title}{f' ({block.label})' if block.label else ''}: {what}"


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
    named = {run.record["splits"][role]["name"] for run in done(runs) if role in run.record.get("splits", {})}
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

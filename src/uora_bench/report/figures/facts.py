"""What all figures of a table share: their frame, their numbers, and the sentences of captions.

A figure is drawn from the rows of its CSV and nothing else: `grouped` takes them apart into panels and lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from uora_bench.report.aggregate import std
from uora_bench.report.collect import Run, finished
from uora_bench.report.csv_file import csv_text
from uora_bench.report.figure_spec import FigureSpec, stem
from uora_bench.report.figures.style import Look, look
from uora_bench.report.model import Block, Entry, Row, Score, Table
from uora_bench.report.notes import RULES, split_name

Rows = list[dict[str, Any]]


def figure_spec(
    table: Table, block: Block, kind: tuple[str, str], caption: Iterable[str], rows: Rows, draw: Callable[[], Any]
) -> FigureSpec:
    """The figure of a block.

    ``kind``: its name in the file's name and in the title; empty sentences of the ``caption`` are left out.
    """
    title = f"{table.title}{f' ({block.label})' if block.label else ''}: {kind[1]}"
    text = " ".join(sentence for sentence in caption if sentence)
    return FigureSpec(stem(table.name, block.label, kind[0]), title, text, csv_text(rows), draw)


def grouped(rows: Iterable[Mapping[str, Any]], key: str) -> dict[Any, Rows]:
    """The rows by what they have under ``key``, in the order of its first occurrence."""
    found: dict[Any, Rows] = {}
    for row in rows:
        found.setdefault(row[key], []).append(dict(row))
    return found


def numbered(rows: Iterable[Mapping[str, Any]]) -> dict[str, tuple[int, str]]:
    """Number and short name of every table row among ``rows``, by its label. Numbers tell two of one name apart."""
    return {label: (n, short_name(label)) for n, label in enumerate(grouped(rows, "row"), start=1)}


def looks(rows: Iterable[Mapping[str, Any]]) -> dict[str, tuple[str, Look]]:
    """Short name and look of every table row among ``rows``, by its label."""
    return {label: (name, look(n - 1)) for label, (n, name) in numbered(rows).items()}


def short_name(label: str, most: int = 44) -> str:
    """``label`` without the groups of its keys, without the rest of long hashes, at most ``most`` letters."""
    text = re.sub(r"\b(?:trainer|method|task|backbone)\.", "", label)
    text = re.sub(r"\b([0-9a-f]{7})[0-9a-f]{5,}\b", r"\1…", text)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def method_of(run: Run) -> str:
    """The method's name, as ``method=`` takes it."""
    if run.recorded is not None:
        return str(run.record.cell["method"]["name"])
    told = [word.partition("=")[2] for word in run.overrides if word.startswith("method=")]
    return str(run.row.get("method") or (told[-1] if told else "?"))


def methods_of(row: Row) -> str:
    """The method of a row; its label where its cells are of several."""
    names = {method_of(run) for run in row.runs}
    return names.pop() if len(names) == 1 else row.label


def panels(table: Table, block: Block) -> Iterator[tuple[Score, list[tuple[Row, Entry]]]]:
    """The columns with the entries of the rows of ``block``.

    That of averages is called average, and its entries have the cells of the row and a deviation over seeds.
    """
    for i, column in enumerate(table.columns):
        yield column, [(row, row.entries[i]) for row in block.rows]
    if table.average is not None:
        entries = []
        for row in block.rows:
            if row.average is not None:
                ours = replace(row.average.ours, runs=row.runs, std=std(row.average.ours.by_seed.values()))
                entries.append((row, replace(row.average, ours=ours)))
        yield replace(table.average, label="average", metric="mean over the columns"), entries


def by_task(table: Table) -> dict[str, tuple[int, str]]:
    """The first column of each task, and the title of the task's panel.

    The title is the column's label, or the task where several columns are scores of it.
    """
    found: dict[str, tuple[int, str]] = {}
    for i, column in enumerate(table.columns):
        first, _ = found.get(column.task, (i, ""))
        found[column.task] = (first, column.label if first == i else column.task)
    return found


def ids(runs: Iterable[Run]) -> list[str]:
    """The cell_ids of the finished ``runs``."""
    return [run.cell_id for run in finished(runs) if run.cell_id]


def axis(column: Score) -> str:
    """``matthews correlation, dev``."""
    return ", ".join(text for text in (column.metric, column.split) if text).replace("_", " ")


def rule(table: Table) -> str:
    """The sentence about the table's selection rule."""
    return f"Selection rule {table.rule}: {RULES[table.rule]}."


def splits(columns: Iterable[Score], runs: Sequence[Run]) -> str:
    """Where the columns are scored, with the data set's own name of the split."""
    found: dict[str, list[str]] = {}
    for column in columns:
        found.setdefault(split(column.split, [r for r in runs if r.task == column.task]), []).append(column.label)
    if len(found) == 1:
        return f"Scored on {next(iter(found))}."
    return "Scored on " + "; ".join(f"{name} ({', '.join(labels)})" for name, labels in found.items()) + "."


def split(role: str, runs: Iterable[Run]) -> str:
    """``dev (validation)``: the role, and what the data set calls it."""
    return split_name(role, {run.record.splits[role].name for run in finished(runs) if role in run.record.splits})


def seeds(counts: Iterable[int], of: str = "point") -> str:
    """How many seeds stand behind each ``of``."""
    numbers = sorted(set(counts))
    if len(numbers) == 1:
        return f"n = {numbers[0]} seed{'s' if numbers[0] > 1 else ''} per {of}."
    return f"n = {numbers[0]} to {numbers[-1]} seeds per {of}, as the CSV says."

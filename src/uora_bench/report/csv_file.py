"""A `Table` as CSV: one line per entry, with what the printed forms leave out (every seed's score, the cells, both
aggregates). Ours and published are columns of their own."""

from __future__ import annotations

import csv
import io
from typing import Any

from uora_bench.report.model import Average, Block, Entry, Row, Score, Table

COLUMNS = (
    "table", "block", "row", "column", "task", "metric", "split", "rule", "ours_mean", "ours_median", "ours_std", "n",
    "planned", "by_seed", "mark", "published", "published_std", "delta", "aggregate", "adapter_parameters",
    "head_parameters", "bytes_to_ship", "seconds", "peak_memory_bytes", "published_parameters", "published_source",
    "published_confidence", "notes", "problems", "cell_ids",
)  # fmt: skip


def render(table: Table) -> str:
    """The table as CSV text."""
    out = io.StringIO()
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()
    for block in table.blocks:
        for row in block.rows:
            for column, entry in zip(table.columns, row.entries, strict=True):
                writer.writerow(_line(table, block, row, column, entry))
            if row.average is not None:
                writer.writerow(_average(table, block, row, row.average))
    return out.getvalue()


def comparisons(table: Table) -> str:
    """The comparisons with the reference row, as CSV text: a line per row and its p after Holm's correction."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        ("table", "block", "reference", "row", "columns", "pairs", "difference", "low", "high", "p", "p_holm",
         "verdict", "improvement", "improvement_low", "improvement_high")
    )  # fmt: skip
    for one in table.comparisons:
        for line in one.lines:
            found, better = line.comparison, line.improvement
            numbers: list[Any] = [""] * 8
            if found is not None and found.interval is not None and better is not None:
                values = (found.interval.point, found.interval.low, found.interval.high, found.p, found.adjusted_p)
                chances = (better.point, better.low, better.high)
                numbers = [*(_number(v, 4) for v in values), *(_number(v, 4) for v in chances)]
            pairs = 0 if found is None else found.n_pairs
            verdict = line.texts(table.spec.decimals)[-1]
            head = (table.name, one.block, one.reference, line.row, " ".join(line.columns), pairs)
            writer.writerow((*head, *numbers[:5], verdict, *numbers[5:]))
    return out.getvalue()


def _average(table: Table, block: Block, row: Row, average: Average) -> dict[str, Any]:
    digits = table.spec.decimals + 2
    line = dict.fromkeys(COLUMNS, "")
    line |= {"table": table.name, "block": block.label, "row": row.label, "column": "Avg", "rule": table.rule}
    line |= {"task": " ".join(average.columns), "mark": average.mark, "aggregate": table.spec.aggregate}
    line[f"ours_{table.spec.aggregate}"] = _number(average.ours, digits)
    line["n"] = str(len(average.by_seed))
    line["by_seed"] = " ".join(f"{seed}:{value:.{digits}f}" for seed, value in average.by_seed.items())
    if average.published is not None:
        line |= {"published": average.published.text.split(" ")[0], "published_source": average.published.source}
        line |= {"published_confidence": average.published.confidence, "delta": _number(average.delta, digits)}
    return line


def _line(table: Table, block: Block, row: Row, column: Score, entry: Entry) -> dict[str, Any]:
    ours, theirs, costs = entry.ours, entry.published, row.costs
    digits = column.decimals + 2
    notes = [table.notes[i] for i in (*entry.notes, *entry.published_notes)]
    return {
        "table": table.name,
        "block": block.label,
        "row": row.label,
        "column": column.label,
        "task": column.task,
        "metric": column.metric,
        "split": column.split,
        "rule": table.rule,
        "ours_mean": _number(ours.mean, digits),
        "ours_median": _number(ours.median, digits),
        "ours_std": _number(ours.std, digits),
        "n": ours.n,
        "planned": ours.planned,
        "by_seed": " ".join(f"{seed}:{value:.{digits}f}" for seed, value in ours.by_seed.items()),
        "mark": entry.mark,
        "published": "" if theirs is None else theirs.text.split(" ")[0],
        "published_std": "" if theirs is None or theirs.std is None else theirs.text.split(" ")[-1],
        "delta": _number(entry.delta, digits),
        "aggregate": ours.aggregate,
        "adapter_parameters": _plain(costs.parameters),
        "head_parameters": _plain(costs.head),
        "bytes_to_ship": _plain(costs.bytes_to_ship),
        "seconds": _number(costs.seconds, 1),
        "peak_memory_bytes": _plain(costs.memory),
        "published_parameters": row.published_parameters,
        "published_source": theirs.source if theirs is not None else "",
        "published_confidence": theirs.confidence if theirs is not None else "",
        "notes": "; ".join(notes),
        "problems": "; ".join(ours.problems),
        "cell_ids": " ".join(run.cell_id for run in ours.runs if run.status == "done" and run.cell_id),
    }


def _number(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"


def _plain(value: int | None) -> str:
    return "" if value is None else str(value)

"""A `Table` as CSV: one line per place, with what the printed forms leave out (every seed's score, the cells, both
aggregates). Ours and published are columns of their own."""

from __future__ import annotations

import csv
import io
from typing import Any

from uora_bench.report.table import Part, Place, Row, Score, Table

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
    for part in table.parts:
        for row in part.rows:
            for column, place in zip(table.columns, row.places, strict=True):
                writer.writerow(_line(table, part, row, column, place))
    return out.getvalue()


def _line(table: Table, part: Part, row: Row, column: Score, place: Place) -> dict[str, Any]:
    ours, theirs, costs = place.ours, place.published, row.costs
    digits = column.decimals + 2
    notes = [table.notes[i] for i in (*place.notes, *place.published_notes)]
    return {
        "table": table.name,
        "block": part.label,
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
        "mark": place.mark,
        "published": "" if theirs is None else theirs.text.split(" ")[0],
        "published_std": "" if theirs is None or theirs.std is None else theirs.text.split(" ")[-1],
        "delta": _number(place.delta, digits),
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

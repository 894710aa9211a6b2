"""A `Table` as CSV: one line per entry.

It has what the printed forms leave out (every seed's score, the cells, both aggregates). Ours and published are
separate columns.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from uora_bench.grid.table_spec import USUAL_COSTS
from uora_bench.report.aggregate import Costs
from uora_bench.report.bootstrap import Interval
from uora_bench.report.boxes import cost_columns
from uora_bench.report.model import Block, Entry, Row, Score, Table

if TYPE_CHECKING:
    import pandas

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would compute: it is shown instead


def render(table: Table) -> str:
    """The table as CSV text."""
    return csv_text(
        _line(table, block, row, column, entry)
        for block in table.blocks
        for row in block.rows
        for column, entry in zip(table.shown, row.shown, strict=True)
    )


def frame(table: Table) -> pandas.DataFrame:
    """The table as a pandas table: a line per entry, as in the CSV."""
    import pandas

    return pandas.read_csv(io.StringIO(render(table)))


def comparisons(table: Table) -> str:
    """The comparisons with the reference row, as CSV text: a line per row and its p after Holm's correction."""
    return csv_text(
        {
            "table": table.name, "block": one.block, "reference": one.reference, "row": line.row,
            "columns": line.columns, "pairs": 0 if line.comparison is None else line.comparison.n_pairs,
            **_interval("difference", "", getattr(line.comparison, "interval", None)),
            "p": _digits(getattr(line.comparison, "p", None), 4),
            "p_holm": _digits(getattr(line.comparison, "adjusted_p", None), 4),
            "verdict": line.texts(table.spec.decimals)[-1],
            **_interval("improvement", "improvement_", line.improvement),
        }
        for one in table.comparisons
        for line in one.lines
    )  # fmt: skip


def csv_text(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] = ()) -> str:
    """CSV of ``columns`` (those of the first row).

    None is empty; numbers have all digits; ``{seed: value}`` is ``seed:value``; several ids are separated by blanks.
    """
    rows = list(rows)
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns or tuple(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _text(value) for key, value in row.items()} for row in rows)
    return out.getvalue()


def _text(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return " ".join(f"{key}:{_text(one)}" for key, one in value.items())
    if isinstance(value, tuple | list):
        return " ".join(str(one) for one in value)
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) and not _is_number(value) else value
    return repr(value) if isinstance(value, float) else value


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _line(table: Table, block: Block, row: Row, column: Score, entry: Entry) -> dict[str, Any]:
    ours, theirs, digits, average = entry.ours, entry.published, column.decimals + 2, column is table.average
    costs = Costs() if average else row.costs
    value, _, spread = ("", "", "") if theirs is None else theirs.text.partition(" ± ")
    return {
        "table": table.name,
        "block": block.label,
        "row": row.label,
        "column": column.label,
        "task": column.task,
        "metric": column.metric,
        "split": column.split,
        "rule": table.rule,
        "ours_mean": _digits(ours.mean, digits),
        "ours_median": _digits(ours.median, digits),
        "ours_std": _digits(ours.std, digits),
        "n": ours.n,
        "planned": None if average else ours.planned,
        "by_seed": {seed: f"{score:.{digits}f}" for seed, score in ours.by_seed.items()},
        "mark": entry.mark,
        "published": value,
        "published_std": spread,
        "delta": _digits(entry.delta, digits),
        "aggregate": ours.aggregate,
        "adapter_parameters": costs.parameters,
        "head_parameters": costs.head,
        "adapter_size": costs.adapter_size,
        "seconds": _digits(costs.seconds, 1),
        "peak_memory_bytes": costs.memory,
        **{c.name.replace(" ", "_"): c.of(costs) for c in cost_columns(table) if c.name not in USUAL_COSTS},
        "published_parameters": "" if average else row.published_parameters,
        "published_source": "" if theirs is None else theirs.source,
        "published_confidence": "" if theirs is None else theirs.confidence,
        "notes": "; ".join(table.notes[i] for i in (*entry.notes, *entry.published_notes)),
        "problems": "; ".join(ours.problems),
        "cell_ids": None if average else ours.ids,
    }


def _interval(name: str, prefix: str, found: Interval | None) -> dict[str, str]:
    ends = (None, None, None) if found is None else (found.point, found.low, found.high)
    return {key: _digits(v, 4) for key, v in zip((name, f"{prefix}low", f"{prefix}high"), ends, strict=True)}


def _digits(value: float | None, digits: int) -> str:
    return "" if value is None else f"{value:.{digits}f}"

"""One number of a theory table, taken apart: the records behind it and the command that makes them."""

from __future__ import annotations

import shlex
from pathlib import Path

from uora_bench.errors import UserError, nearest
from uora_bench.report.table import Table
from uora_bench.theory.presets import PREFIX


def lines(table: Table, words: list[str], results: Path) -> list[str]:
    """What is behind ``words``, ROW COLUMN and, where rows of several blocks have that label, BLOCK.

    Raises:
        UserError: when a word names nothing, or several blocks have such a row and none is named.
    """
    row_label, column_label, *block = words
    labels = [row.label for part in table.parts for row in part.rows]
    found = table.row(row_label, block[0] if block else None)
    if not found:
        raise UserError(f"no row '{row_label}' in '{table.name}'{nearest(row_label, labels)}")
    if len(found) > 1:
        blocks = ", ".join(f"'{part.label}'" for part, _ in found)
        raise UserError(f"row '{row_label}' is in {len(found)} blocks of '{table.name}'; add one of {blocks}")
    part, row = found[0]
    columns = [column.label for column in table.columns]
    if column_label not in columns:
        raise UserError(f"no column '{column_label}' in '{table.name}'{nearest(column_label, columns)}")
    i = columns.index(column_label)
    column, place = table.columns[i], row.places[i]
    ours = place.ours
    value = "empty" if ours.value is None else f"{ours.value:.{column.decimals + 2}f}"
    spread = "" if ours.std is None else f" ± {ours.std:.{column.decimals + 2}f}"
    name = " · ".join(word for word in (table.name, part.label, row.label, column.label) if word)
    said = [f"{name}: {value}{spread}", f"  {column.metric}, {column.split}, × {column.scale:g}"]
    if place.published is not None:
        said.append(f"  published: {place.published.text} ({place.published.source}, {place.published.confidence})")
    folder = results / "records"
    for run in ours.runs:
        path = next(iter(sorted(folder.glob(f"{PREFIX}*/{run.cell_id}.json"))), None)
        said.append(f"  seed {run.seed}: {path}")
        said.append(f"    uora-bench theory {shlex.join(run.words)}")
    return said

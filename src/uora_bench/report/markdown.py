"""A `Table` as Markdown: our line, the published one and Δ below each other, footnotes as letters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from uora_bench.report.boxes import Box, cost_columns, letters, lines
from uora_bench.report.model import Row, Table
from uora_bench.report.row_comparison import TEXT


def render(table: Table) -> str:
    """The whole table with its title, the lines about it and its footnotes."""
    whose = [""] if table.has_published else []
    costs = [cost.name for cost in cost_columns(table)]
    heading = [table.heading, *whose, *costs, *(_safe(column.label) for column in table.shown)]
    text = [f"## {_safe(table.title)}", "", *[f"{_safe(line)}  " for line in table.about], ""]
    for block in table.blocks:
        text += [f"### {_safe(block.label)}", ""] if block.label else []
        rows = [line for row in block.rows for line in _rows(table, row, bool(whose))]
        text += [*grid(heading, rows, heading[:1]), ""]
    for sheet in table.sheets:
        cells = [[_safe(text) for text in row] for row in sheet.rows]
        text += [_safe(sheet.caption), "", *([*grid(sheet.heading, cells), ""] if cells else [])]
    text += [f"{letters(i)}. {_safe(note)}  " for i, note in enumerate(table.notes)]
    if table.orphans:
        text += ["", f"{len(table.orphans)} record(s) of other settings lie in the same folder and are not in here."]
    return "\n".join(text).rstrip() + "\n"


def _rows(table: Table, row: Row, whose: bool) -> Iterator[list[str]]:
    for i, line in enumerate(lines(table, row)):
        first = ["" if i else _safe(row.label), *([line.name] if whose else [])]
        yield [*first, *(_text(box) for box in (*line.costs, *line.boxes))]


def _safe(text: str) -> str:
    """``text`` of somebody's YAML or folder, which is neither a line end nor markup to whatever shows the table."""
    return re.sub(r"<(?=[A-Za-z/!?])", "&lt;", " ".join(text.split()))


def _text(box: Box) -> str:
    if box.kind:
        return box.text
    text = box.text + (f" ± {box.spread}" if box.spread else "") + (f" ({box.count})" if box.count else "")
    marked = {"best": f"**{text}**", "second": f"<u>{text}</u>"}.get(box.mark, text)
    return marked + (f"<sup>{','.join(box.notes)}</sup>" if box.notes else "")


def grid(heading: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[str] = TEXT) -> list[str]:
    """A table of Markdown; columns of ``words`` stand to the left."""
    aligned = ["---" if text in words else "---:" for text in heading]
    return ["| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in (heading, aligned, *rows)]

"""A `Table` as Markdown: our line, the published one and Δ below each other, footnotes as letters."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from uora_bench.report.formatting import letters, seconds, size
from uora_bench.report.model import Average, Entry, Row, Table
from uora_bench.report.row_comparison import TEXT, Sheet

MISSING = "–"
_COSTS = ("adapter parameters", "bytes to ship", "seconds", "peak memory")


def render(table: Table) -> str:
    """The whole table with its title, the lines about it and its footnotes."""
    lines = [f"## {table.title}", "", *[f"{line}  " for line in table.about], ""]
    heading = [table.heading, "", *([] if table.plain else _COSTS)]
    heading += [column.label for column in table.columns]
    averaged = any(row.average is not None for row in table.rows)
    heading += ["Avg"] if averaged else []
    if not any(row.has_published for row in table.rows):
        heading.pop(1)
    for block in table.blocks:
        if block.label:
            lines += [f"### {block.label}", ""]
        lines += [_line(heading), _line(["---"] + ["---:"] * (len(heading) - 1))]
        for row in block.rows:
            lines += [_line(cells) for cells in _cells(table, row, heading[1] == "")]
        lines.append("")
    for one in table.comparisons:
        for sheet in one.sheets(table.spec.decimals):
            lines += _sheet(sheet)
    lines += [f"{letters(i)}. {text}  " for i, text in enumerate(table.notes)]
    if table.orphans:
        lines += ["", f"{len(table.orphans)} record(s) of other settings lie in the same folder and are not in here."]
    return "\n".join(lines).rstrip() + "\n"


def _cells(table: Table, row: Row, published: bool) -> list[list[str]]:
    costs = row.costs
    ours = [
        MISSING if costs.parameters is None else f"{costs.parameters:,}",
        size(costs.bytes_to_ship),
        seconds(costs.seconds),
        size(costs.memory),
    ][: 0 if table.plain else None]
    blank = len(ours)
    decimals = [c.decimals for c in table.columns]
    ours += [_ours(p, d) for p, d in zip(row.entries, decimals, strict=True)]
    ours += [_mark(_number(row.average.ours, table.spec.decimals), row.average.mark)] if row.average else []
    label = row.label
    if not published:
        return [[label, *ours]]
    lines = [[label, "ours", *ours]]
    if row.has_published:
        theirs = [row.published_parameters or MISSING, MISSING, MISSING, MISSING][:blank]
        theirs += [_theirs(p) for p in row.entries]
        lines.append(["", "published", *theirs, *_last(row.average, _published_average)])
        delta = [""] * blank + [_signed(p.delta, d) for p, d in zip(row.entries, decimals, strict=True)]
        delta += _last(row.average, lambda a: _signed(a.delta, table.spec.decimals))
        if any(text not in ("", MISSING) for text in delta):
            lines.append(["", "Δ", *delta])
    return lines


def _published_average(average: Average) -> str:
    return "" if average.published is None else average.published.text


def _sheet(sheet: Sheet) -> list[str]:
    lines = [sheet.caption, ""]
    if sheet.rows:
        aligned = ["---" if heading in TEXT else "---:" for heading in sheet.heading]
        lines += [_line(sheet.heading), _line(aligned), *(_line(row) for row in sheet.rows), ""]
    return lines


def _last(average: Average | None, text: Callable[[Average], str | None]) -> list[str]:
    return [] if average is None else [text(average) or MISSING]


def _ours(entry: Entry, decimals: int) -> str:
    number = entry.ours
    if number.value is None:
        failed = any(run.status == "failed" for run in number.runs)
        return "failed" if failed else MISSING
    text = _number(number.value, decimals)
    if number.std is not None:
        text += f" ± {number.std:.{decimals}f}"
    text += f" ({number.count})" if number.count else ""
    return _mark(text, entry.mark) + _notes(entry.notes)


def _theirs(entry: Entry) -> str:
    number = entry.published
    if number is None:
        return MISSING
    return number.text + _notes(entry.published_notes)


def _number(value: float | None, decimals: int) -> str:
    return MISSING if value is None else f"{value:.{decimals}f}"


def _signed(value: float | None, decimals: int) -> str:
    return "" if value is None else f"{value:+.{decimals}f}".replace("-", "−")


def _mark(text: str, mark: str) -> str:
    return f"**{text}**" if mark == "best" else f"<u>{text}</u>" if mark == "second" else text


def _notes(indices: Sequence[int]) -> str:
    return f"<sup>{','.join(letters(i) for i in indices)}</sup>" if indices else ""


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"

"""A `Table` as a LaTeX fragment for `\\input`; footnotes below in a small font.

A table of many columns stands sideways, one still wider than the text is made smaller to fit it, one with many rows is
set in a smaller font. What says nothing is left out: columns of costs without a number, lines of Δ without one, the
number of seeds where it is that of the table. A footnote to every number of a line stands at the line's name.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from uora_bench.report.formatting import letters, seconds, size
from uora_bench.report.model import Average, Entry, Row, Table
from uora_bench.report.row_comparison import TEXT

PACKAGES = ("booktabs", "graphicx", "rotating")
WIDE = 12  # columns; more stand sideways
TALL = 45  # rows; more are set in \scriptsize, of which about 75 fill a page
_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "|": r"\textbar{}", "–": "--", "—": "---", "‘": "`", "’": "'", "“": "``", "”": "''", "…": r"\dots{}", "\xa0": "~",
    **{character: f"${command}$" for character, command in {
        "−": "-", "±": r"\pm", "×": r"\times", "·": r"\cdot", "≤": r"\le", "≥": r"\ge", "≈": r"\approx", "≠": r"\ne",
        "→": r"\rightarrow", "∞": r"\infty", "²": "^2", "³": "^3", "°": r"^\circ", "Δ": r"\Delta", "Λ": r"\Lambda",
        "Σ": r"\Sigma", "Θ": r"\Theta", "α": r"\alpha", "β": r"\beta", "γ": r"\gamma", "δ": r"\delta",
        "ε": r"\varepsilon", "η": r"\eta", "λ": r"\lambda", "μ": r"\mu", "π": r"\pi", "ρ": r"\rho", "σ": r"\sigma",
        "τ": r"\tau", "⊙": r"\odot",
    }.items()},
}  # fmt: skip
_NOT_IN_FONT = "ÐðÞþ×÷"  # among the Latin letters that LaTeX knows as UTF-8


def escape(text: str) -> str:
    """``text`` with everything that means something to LaTeX written out; a character that its own fonts do not have
    becomes its code, ``[U+0438]``."""
    return "".join(_character(c) for c in text)


def _character(c: str) -> str:
    if c in _SPECIAL:
        return _SPECIAL[c]
    if " " <= c <= "~" or ("À" <= c <= "ÿ" and c not in _NOT_IN_FONT):
        return c
    return f"[U+{ord(c):04X}]"


def render(table: Table) -> str:
    """A `table` or `sidewaystable` environment (needs `PACKAGES`)."""
    rows = [row for row in table.rows]
    published = any(row.has_published for row in rows)
    usual = _usual(rows)
    costs = _Costs(rows)
    heading = [table.heading, *([""] if published else []), *costs.heading]
    heading += [column.label for column in table.columns]
    heading += ["Avg"] if any(row.average is not None for row in rows) else []
    body: list[str] = []
    for block in table.blocks:
        body.append(r"\midrule")
        if block.label:
            body.append(rf"\multicolumn{{{len(heading)}}}{{@{{}}l}}{{\emph{{{escape(block.label)}}}}} \\")
        for i, row in enumerate(block.rows):
            body += [r"\addlinespace[2pt]"] if published and i else []
            body += [_line(cells) for cells in _cells(table, row, published, costs, usual)]
    about = [line.replace("`", "").replace("**", "") for line in table.about]
    if usual is not None and not table.plain:
        about.append(f"Where no number of seeds is given it is {usual}.")
    text_columns = 2 if published else 1
    environment = "sidewaystable" if len(heading) > WIDE else "table"
    return (
        "\n".join(
            [
                f"% made by `make tables` from results/records; needs \\usepackage{{{','.join(PACKAGES)}}}",
                rf"\begin{{{environment}}}",
                *_framed(
                    escape(table.title),
                    _slug(table.name),
                    "l" * text_columns + "r" * (len(heading) - text_columns),
                    heading,
                    body,
                ),
                "",
                r"\smallskip\raggedright\scriptsize",
                *[escape(line) for line in about],
                *([""] if table.notes else []),
                *[rf"\textsuperscript{{{letters(i)}}}\,{escape(text)}." for i, text in enumerate(table.notes)],
                rf"\end{{{environment}}}",
            ]
        )
        + "\n"
    )


def comparisons(table: Table) -> str:
    """The sheets of ``table.comparisons`` as a `table` environment each; empty where nothing could be compared."""
    sheets = [sheet for one in table.comparisons for sheet in one.sheets(table.spec.decimals) if sheet.rows]
    if not sheets:
        return ""
    lines = [f"% made by `make tables` from results/records; needs \\usepackage{{{','.join(PACKAGES)}}}"]
    for sheet in sheets:
        caption = f"{escape(table.title)}. {escape(sheet.caption.replace('`', '').replace('**', ''))}"
        columns = "".join("l" if heading in TEXT else "r" for heading in sheet.heading)
        body = [r"\midrule", *[_line([escape(text) for text in row]) for row in sheet.rows]]
        frame = _framed(caption, f"{_slug(table.name)}-{sheet.label}", columns, sheet.heading, body)
        lines += [r"\begin{table}", *frame, r"\end{table}"]
    return "\n".join(lines) + "\n"


def _framed(caption: str, label: str, columns: str, heading: Sequence[str], body: Sequence[str]) -> list[str]:
    """The lines of a float from its caption to the end of its `tabular`; ``body`` follows the line of headings."""
    return [
        rf"\centering\{'scriptsize' if len(body) > TALL else 'footnotesize'}\setlength{{\tabcolsep}}{{4pt}}",
        rf"\caption{{{caption}}}",
        rf"\label{{tab:{label}}}",
        r"\smallskip",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
        r"\toprule",
        _line([escape(h) for h in heading]),
        *body,
        r"\bottomrule",
        r"\end{tabular}}",
    ]


def _slug(name: str) -> str:
    return re.sub("[^A-Za-z0-9]+", "-", name)


def _usual(rows: Sequence[Row]) -> int | None:
    """The number of seeds of every entry that is complete, where they all have the same."""
    found = {p.ours.n for row in rows for p in row.entries if 0 < p.ours.n == p.ours.planned}
    return found.pop() if len(found) == 1 else None


class _Costs:
    """The columns of costs that say something."""

    def __init__(self, rows: Sequence[Row]) -> None:
        all_columns = (
            ("parameters", any(r.costs.parameters is not None or r.published_parameters for r in rows)),
            ("to ship", any(r.costs.bytes_to_ship is not None for r in rows)),
            ("time", any(r.costs.seconds is not None for r in rows)),
            ("memory", any(r.costs.memory is not None for r in rows)),
        )
        self._shown = [shown for _, shown in all_columns]
        self.heading = [name for name, shown in all_columns if shown]

    def _chosen(self, cells: Sequence[str]) -> list[str]:
        return [cell for cell, shown in zip(cells, self._shown, strict=True) if shown]

    def ours(self, row: Row) -> list[str]:
        costs = row.costs
        time = "--" if costs.seconds is None else rf"{seconds(costs.seconds)}\,s"
        parameters = "--" if costs.parameters is None else f"{costs.parameters:,}"
        sizes = (escape(size(n)).replace(" ", r"\,") for n in (costs.bytes_to_ship, costs.memory))
        return self._chosen([parameters, next(sizes), time, next(sizes)])

    def theirs(self, row: Row) -> list[str]:
        printed = row.published_parameters
        return self._chosen(["--" if printed in ("", "-") else escape(printed), "", "", ""])

    def nothing(self) -> list[str]:
        return self._chosen([""] * 4)


def _cells(table: Table, row: Row, published: bool, costs: _Costs, usual: int | None) -> list[list[str]]:
    decimals = [column.decimals for column in table.columns]
    everywhere = _everywhere([p.notes for p in row.entries if p.ours.n])
    ours = [*costs.ours(row), *(_ours(p, d, usual, everywhere) for p, d in zip(row.entries, decimals, strict=True))]
    ours += _average(row.average, lambda a: _marked(_number(a.ours, table.spec.decimals), a.mark))
    label = escape(row.label)
    if not published:
        return [[label + _notes(everywhere), *ours]]
    lines = [[label, "ours" + _notes(everywhere), *ours]]
    if row.has_published:
        everywhere = _everywhere([p.published_notes for p in row.entries if p.published is not None])
        theirs = [*costs.theirs(row), *(_theirs(entry, everywhere) for entry in row.entries)]
        theirs += _average(row.average, lambda a: "--" if a.published is None else escape(a.published.text))
        lines.append(["", "published" + _notes(everywhere), *theirs])
        delta = [_signed(p.delta, d) for p, d in zip(row.entries, decimals, strict=True)]
        delta += _average(row.average, lambda a: _signed(a.delta, table.spec.decimals))
        if any(delta):
            lines.append(["", r"$\Delta$", *costs.nothing(), *delta])
    return lines


def _everywhere(notes: Sequence[tuple[int, ...]]) -> tuple[int, ...]:
    """The footnotes that all of the numbers have."""
    return tuple(i for i in notes[0] if all(i in other for other in notes)) if notes else ()


def _average(average: Average | None, text: Callable[[Average], str]) -> list[str]:
    return [] if average is None else [text(average)]


def _ours(entry: Entry, decimals: int, usual: int | None, said: tuple[int, ...]) -> str:
    number = entry.ours
    if number.value is None:
        return "failed" if any(run.status == "failed" for run in number.runs) else "--"
    text = _number(number.value, decimals)
    if number.std is not None:
        text += rf"$_{{\pm {number.std:.{decimals}f}}}$"
    if number.n != number.planned:
        text += f" ({number.count})"
    elif number.n != usual:
        text += f" ({number.n})"
    return _marked(text, entry.mark) + _notes([i for i in entry.notes if i not in said])


def _theirs(entry: Entry, said: tuple[int, ...]) -> str:
    number = entry.published
    if number is None:
        return "--"
    value, _, std = number.text.partition(" ± ")
    spread = rf"$_{{\pm {escape(std)}}}$" if std else ""
    return escape(value) + spread + _notes([i for i in entry.published_notes if i not in said])


def _number(value: float | None, decimals: int) -> str:
    return "--" if value is None else f"{value:.{decimals}f}"


def _signed(value: float | None, decimals: int) -> str:
    return "" if value is None else f"${value:+.{decimals}f}$"


def _marked(text: str, mark: str) -> str:
    return rf"\textbf{{{text}}}" if mark == "best" else rf"\underline{{{text}}}" if mark == "second" else text


def _notes(indices: Sequence[int]) -> str:
    return rf"\textsuperscript{{{','.join(letters(i) for i in indices)}}}" if indices else ""


def _line(cells: Sequence[str]) -> str:
    shield = "{}" if cells[0].startswith(("[", "*")) else ""  # the row end before would take it for an option
    return shield + " & ".join(cells) + r" \\"

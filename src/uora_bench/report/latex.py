r"""A `Table` as a LaTeX fragment for `\input`; footnotes below in a small font.

A table of many columns stands sideways, one still wider than the text is made smaller to fit it, one with many rows is
set in a smaller font. What says nothing is left out: columns of costs without a number, lines of Δ without one, the
number of seeds where it is that of the table. A footnote to every number of a line stands at the line's name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from uora_bench.report.boxes import MISSING, Box, Cost, cost_columns, letters, lines
from uora_bench.report.model import Row, Table
from uora_bench.report.row_comparison import TEXT

PACKAGES = ("booktabs", "graphicx", "rotating")
_PREAMBLE = f"% made by `uora-bench tables` from results/records; needs \\usepackage{{{','.join(PACKAGES)}}}"
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
    """``text`` with everything that means something to LaTeX written out.

    A character that its own fonts do not have becomes its code, ``[U+0438]``.
    """
    return "".join(_character(c) for c in text)


def _character(c: str) -> str:
    if c in _SPECIAL:
        return _SPECIAL[c]
    if " " <= c <= "~" or ("À" <= c <= "ÿ" and c not in _NOT_IN_FONT):
        return c
    return f"[U+{ord(c):04X}]"


def render(table: Table) -> str:
    """A `table` or `sidewaystable` environment (needs `PACKAGES`)."""
    published = table.has_published
    usual = _usual(table.rows)
    printed = any(row.published_parameters for row in table.rows)
    costs = [
        (n, cost)
        for n, cost in enumerate(cost_columns(table))
        if any(cost.of(r.costs) is not None for r in table.rows) or (cost.field == "parameters" and printed)
    ]
    heading = [table.heading, *([""] if published else []), *(cost.short for _, cost in costs)]
    heading += [column.label for column in table.shown]
    body: list[str] = []
    for block in table.blocks:
        body.append(r"\midrule")
        if block.label:
            body.append(rf"\multicolumn{{{len(heading)}}}{{@{{}}l}}{{\emph{{{escape(block.label)}}}}} \\")
        for i, row in enumerate(block.rows):
            body += [r"\addlinespace[2pt]"] if published and i else []
            body += [_line(cells) for cells in _rows(table, row, published, costs, usual)]
    about = [line.replace("`", "").replace("**", "") for line in table.about]
    if usual is not None and not table.plain:
        about.append(f"Where no number of seeds is given it is {usual}.")
    text_columns = 2 if published else 1
    environment = "sidewaystable" if len(heading) > WIDE else "table"
    columns = "l" * text_columns + "r" * (len(heading) - text_columns)
    text = [
        _PREAMBLE,
        rf"\begin{{{environment}}}",
        *_framed(escape(table.title), _slug(table.name), columns, heading, body),
        "",
        r"\smallskip\raggedright\scriptsize",
        *[escape(line) for line in about],
        *([""] if table.notes else []),
        *[rf"\textsuperscript{{{letters(i)}}}\,{escape(text)}." for i, text in enumerate(table.notes)],
        rf"\end{{{environment}}}",
    ]
    return "\n".join(text) + "\n"


def comparisons(table: Table) -> str:
    """The sheets of ``table.comparisons`` as a `table` environment each; empty where nothing could be compared."""
    sheets = [sheet for sheet in table.sheets if sheet.rows]
    if not sheets:
        return ""
    text = [_PREAMBLE]
    for sheet in sheets:
        caption = f"{escape(table.title)}. {escape(sheet.caption.replace('`', '').replace('**', ''))}"
        columns = "".join("l" if heading in TEXT else "r" for heading in sheet.heading)
        body = [r"\midrule", *[_line([escape(text) for text in row]) for row in sheet.rows]]
        frame = _framed(caption, f"{_slug(table.name)}-{sheet.label}", columns, sheet.heading, body)
        text += [r"\begin{table}", *frame, r"\end{table}"]
    return "\n".join(text) + "\n"


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


def _rows(
    table: Table, row: Row, whose: bool, costs: Sequence[tuple[int, Cost]], usual: int | None
) -> Iterator[list[str]]:
    for i, line in enumerate(lines(table, row)):
        # of the columns alone: an average has no footnotes
        numbers = [box.notes for box in line.boxes[: len(table.columns)] if not box.kind and box.text != MISSING]
        said = [note for note in numbers[0] if all(note in other for other in numbers)] if numbers else []
        names = ["" if i else escape(row.label), *([escape(line.name)] if whose else [])]
        names[-1] += _notes(said)
        spent = [_cost(line.costs[n], cost) if i == 0 or cost.field == "parameters" else "" for n, cost in costs]
        yield [*names, *spent, *(_text(box, line.name, usual, said) for box in line.boxes)]


def _cost(box: Box, cost: Cost) -> str:
    if box.sort is None:
        return escape(MISSING if box.text == "-" else box.text)
    return escape(box.text).replace(" ", r"\,") + (r"\,s" if cost.field == "seconds" else "")


def _text(box: Box, line: str, usual: int | None, said: Sequence[str]) -> str:
    if box.kind:
        return escape(box.text)
    if line == "Δ":
        return f"${box.text.replace('−', '-')}$" if box.text else ""
    text = escape(box.text) + (rf"$_{{\pm {escape(box.spread)}}}$" if box.spread else "")
    text += f" ({box.count})" if box.count and box.count != str(usual) else ""
    command = {"best": "textbf", "second": "underline"}.get(box.mark)
    marked = rf"\{command}{{{text}}}" if command else text
    return marked + _notes([note for note in box.notes if note not in said])


def _notes(letters: Sequence[str]) -> str:
    return rf"\textsuperscript{{{','.join(letters)}}}" if letters else ""


def _line(cells: Sequence[str]) -> str:
    shield = "{}" if cells[0].startswith(("[", "*")) else ""  # the row end before would take it for an option
    return shield + " & ".join(cells) + r" \\"

"""A `Table` as a LaTeX fragment for `\\input`: booktabs, nothing else; footnotes below in a small font."""

from __future__ import annotations

from collections.abc import Sequence

from uora_bench.report.table import Place, Row, Table
from uora_bench.report.words import letters, seconds, size

_SPECIAL = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "−": "$-$", "±": r"$\pm$", "×": r"$\times$",
    "Δ": r"$\Delta$", "α": r"$\alpha$", "τ": r"$\tau$", "Λ": r"$\Lambda$", "≤": r"$\le$", "·": r"$\cdot$",
    "…": r"\dots{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "→": r"$\rightarrow$", "²": r"$^2$",
}  # fmt: skip


def escape(text: str) -> str:
    """``text`` with everything that means something to LaTeX, or is not in its fonts, written out."""
    return "".join(_SPECIAL.get(c, c) for c in text)


def render(table: Table) -> str:
    """A `table` environment (needs the package booktabs)."""
    beside = any(row.has_published for part in table.parts for row in part.rows)
    averaged = any(row.average is not None for part in table.parts for row in part.rows)
    heading = ["method", *([""] if beside else []), "parameters", "to ship", "s", "memory"]
    heading += [column.label for column in table.columns] + (["Avg"] if averaged else [])
    lines = [
        "% made by `make tables` from results/records; needs \\usepackage{booktabs}",
        r"\begin{table}",
        r"\centering\footnotesize",
        rf"\caption{{{escape(table.title)}}}",
        rf"\label{{tab:{table.name.replace('_', '-')}}}",
        rf"\begin{{tabular}}{{{'ll' if beside else 'l'}{'r' * (len(heading) - (2 if beside else 1))}}}",
        r"\toprule",
        _line([escape(h) for h in heading]),
    ]
    for part in table.parts:
        lines.append(r"\midrule")
        if part.label:
            lines.append(rf"\multicolumn{{{len(heading)}}}{{l}}{{\emph{{{escape(part.label)}}}}} \\")
        for row in part.rows:
            lines += [_line(cells) for cells in _cells(table, row, beside)]
    lines += [r"\bottomrule", r"\end{tabular}", "", r"\smallskip\raggedright"]
    about = [line.replace("`", "").replace("**", "") for line in table.about]
    lines += [rf"{escape(' '.join(about))}", ""]
    lines += [rf"$^{{{letters(i)}}}$\,{escape(text)}\quad" for i, text in enumerate(table.notes)]
    return "\n".join([*lines, r"\end{table}"]) + "\n"


def _cells(table: Table, row: Row, beside: bool) -> list[list[str]]:
    costs = row.costs
    ours = [
        "--" if costs.parameters is None else f"{costs.parameters:,}",
        *(escape(text) for text in (size(costs.bytes_to_ship), seconds(costs.seconds), size(costs.memory))),
    ]
    decimals = [column.decimals for column in table.columns]
    ours += [_ours(place, d) for place, d in zip(row.places, decimals, strict=True)]
    if row.average is not None:
        ours.append(_marked(_number(row.average.ours, table.spec.decimals), row.average.mark))
    if not beside:
        return [[escape(row.label), *ours]]
    lines = [[escape(row.label), "ours", *ours]]
    if row.has_published:
        average = row.average
        theirs = [escape(row.published_parameters) or "--", "--", "--", "--", *(_theirs(place) for place in row.places)]
        delta = ["", "", "", "", *(_signed(p.delta, d) for p, d in zip(row.places, decimals, strict=True))]
        if average is not None:
            theirs.append("--" if average.published is None else f"{average.published.value:g}")
            delta.append(_signed(average.delta, table.spec.decimals))
        lines += [["", "published", *theirs], ["", r"$\Delta$", *delta]]
    return lines


def _ours(place: Place, decimals: int) -> str:
    number = place.ours
    if number.value is None:
        return "failed" if any(run.status == "failed" for run in number.runs) else "--"
    text = _number(number.value, decimals)
    if number.std is not None:
        text += rf" $\pm$ {number.std:.{decimals}f}"
    text += f" ({number.n})" if number.n == number.planned else f" ({number.n} of {number.planned})"
    return _marked(text, place.mark) + _notes(place.notes)


def _theirs(place: Place) -> str:
    number = place.published
    if number is None:
        return "--"
    text = f"{number.value:g}" + (rf" $\pm$ {number.std:g}" if number.std is not None else "")
    return text + _notes(place.published_notes)


def _number(value: float | None, decimals: int) -> str:
    return "--" if value is None else f"{value:.{decimals}f}"


def _signed(value: float | None, decimals: int) -> str:
    return "" if value is None else f"${value:+.{decimals}f}$"


def _marked(text: str, mark: str) -> str:
    return rf"\textbf{{{text}}}" if mark == "best" else rf"\underline{{{text}}}" if mark == "second" else text


def _notes(indices: Sequence[int]) -> str:
    return rf"$^{{{','.join(letters(i) for i in indices)}}}$" if indices else ""


def _line(cells: Sequence[str]) -> str:
    return " & ".join(cells) + r" \\"

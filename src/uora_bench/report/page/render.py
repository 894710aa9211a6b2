"""The page put together: view models of every experiment, the data for the script, and the templates."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup, escape

from uora_bench.errors import UserError
from uora_bench.grid.request import GridRequest
from uora_bench.grid.table_spec import Rule
from uora_bench.report import collect, explain, table, write
from uora_bench.report import figures as figures_module
from uora_bench.report.boxes import letters
from uora_bench.report.collect import Collection, Run
from uora_bench.report.figure_spec import FigureSpec
from uora_bench.report.figures.facts import method_of
from uora_bench.report.model import Table
from uora_bench.report.notes import RULES
from uora_bench.report.page import cells as cells_module
from uora_bench.report.page.data import packed
from uora_bench.report.page.numbers import BlockView, Numbers
from uora_bench.report.published import Library
from uora_bench.report.row_comparison import TEXT

_HERE = Path(__file__).parent
_SCRIPTS = ("dom.js", "chart.js", "views.js", "script.js")
_ARXIV = re.compile(r"arXiv[: ](\d{4}\.\d{4,5})(v\d+)?")
_INLINE = re.compile(r"`([^`]+)`|\*\*([^*]+)\*\*")


@dataclass(frozen=True)
class Page:
    """The file's text, and what is in it."""

    html: str
    records: int
    figures: int


@dataclass(frozen=True)
class Open:
    """A cell that has no score: its reason and what would make it. ``key``: of its page, where there is a record."""

    label: str
    task: str
    seed: int
    reason: str
    command: str
    key: str | None


@dataclass(frozen=True)
class Section:
    """One experiment.

    Pairs are keys of cells' pages and labels: ``unplaced``, finished cells of the grid that are in no row, and
    ``orphans``, records of other settings in the same folder.
    """

    slug: str
    table: Table
    note: str
    blocks: list[BlockView]
    done: int
    planned: int
    open_cells: dict[str, list[Open]]  # failed, missing
    unplaced: list[tuple[str, str]]
    orphans: list[tuple[str, str]]
    figures: list[tuple[FigureSpec, str]]

    @property
    def methods(self) -> list[str]:
        """Of its rows, each once."""
        return list(dict.fromkeys(m for block in self.blocks for group in block.groups for m in group.methods))

    @property
    def notes(self) -> list[tuple[str, str]]:
        """The footnotes, each with its letter."""
        return [(letters(i), text) for i, text in enumerate(self.table.notes)]

    @property
    def warnings(self) -> list[str]:
        """The lines about the table that nobody may miss: those in bold."""
        return [line for line in self.table.about if line.startswith("**")]

    @property
    def compares(self) -> bool:
        """Whether there is anything for the summary to show."""
        return bool(self.verdicts) or any(block.plot is not None for block in self.blocks)

    @property
    def compared(self) -> str:
        """``13 rows on 4 tasks, 99 of 129 cells done, 1 failed, beside VeRA, Table 2``."""
        rows, tasks = len(self.table.rows), len({column.task for column in self.table.columns})
        failed = len(self.open_cells["failed"])
        parts = [
            f"{rows} row{'s' * (rows > 1)} on {tasks} task{'s' * (tasks > 1)}",
            f"{self.done} of {self.planned} cells done",
            f"{failed} failed" if failed else "",
            f"beside {self.table.paper}" if self.table.paper else "",
        ]
        return ", ".join(part for part in parts if part)

    @property
    def verdicts(self) -> list[tuple[str, list[tuple[str, list[str]]]]]:
        """By comparison with a reference row: against what, and the rows of each verdict."""
        found = []
        for one in self.table.comparisons:
            for sheet in one.sheets(self.table.spec.decimals):
                if "verdict" in sheet.heading:
                    at, of_verdict = sheet.heading.index("verdict"), dict[str, list[str]]()
                    for row in sheet.rows:
                        of_verdict.setdefault(row[at], []).append(row[0])
                    against = f"{one.reference} ({one.block})" if one.block else one.reference
                    found.append((against, list(of_verdict.items())))
        return found


def build(
    names: Iterable[str], results: Path, library: Library | None, rule: Rule | None, figures: bool, remark: str
) -> Page:
    """The page of the experiments ``names``. ``remark``: a line that is shown at its top, "" for none.

    Raises:
        UserError: as `collect.collect` and `table.build`, naming the experiment.
    """
    found = []
    for name in names:
        try:
            collection = collect.collect(GridRequest(name, "print"), results)
            found.append((table.build(collection, library, rule), collection))
        except UserError as error:
            raise UserError(f"experiment '{name}': {error}") from None
    # what has most results comes first
    found.sort(key=lambda pair: -len(collect.finished(pair[1].runs)))
    return assemble(found, results, figures, remark)


def assemble(found: Iterable[tuple[Table, Collection]], results: Path, figures: bool, remark: str) -> Page:
    """The page of these tables, each with the cells that it was made of.

    Records of other settings are read below ``results``.
    """
    known = cells_module.Cells()
    numbers = Numbers(known)
    sections: list[Section] = []
    planned: list[tuple[Table, int]] = []
    for one, collection in found:
        if not any(run.recorded is not None for run in collection.runs) and not collection.orphans:
            planned.append((one, len(collection.runs)))
            continue
        slug = _slug(one.name, {section.slug for section in sections})
        folder = results / "figures" if write.is_bundled(one.name) else results / "figures" / write.OWN
        drawn = figures_module.drawn_figures(one, folder) if figures else []
        sections.append(_section(slug, one, collection, numbers, results, drawn))
    pictures = {spec.name: {"svg": svg, "csv": spec.data} for section in sections for spec, svg in section.figures}
    data = {"cells": known.found, "numbers": numbers.ours, "published": numbers.published}
    data |= {"rules": RULES, "sections": {section.table.name: section.slug for section in sections}}
    data["figures"] = pictures
    html = _html(sections, data, planned=planned, records=len(known.found), newest=known.newest, remark=remark)
    return Page(html, len(known.found), len(pictures))


def _section(
    slug: str,
    one: Table,
    collection: Collection,
    numbers: Numbers,
    results: Path,
    figures: list[tuple[FigureSpec, str]],
) -> Section:
    blocks = numbers.blocks(one, slug)
    rows = {id(run): row.label for row in one.rows for run in row.runs}
    open_cells: dict[str, list[Open]] = {"failed": [], "missing": []}
    unplaced = []
    for run in collection.runs:
        key = numbers.cells.add(run, one.name)  # also those that are in no row
        if run.status != "done":
            label = rows.get(id(run), method_of(run))
            reason = run.reason or "nothing recorded yet"
            open_cells[run.status].append(Open(label, run.task, run.seed, reason, explain.command(run), key))
        elif id(run) not in rows and key is not None:
            unplaced.append((key, _label(run)))
    others = []
    for run in cells_module.orphans(collection, results):
        key = numbers.cells.add(run, one.name, orphan=True)
        if key is not None:
            others.append((key, _label(run)))
    note = " ".join(collection.experiment.note.split())
    done = len(collect.finished(collection.runs))
    return Section(slug, one, note, blocks, done, len(collection.runs), open_cells, unplaced, others, figures)


def _label(run: Run) -> str:
    return f"{run.record.label} ({run.status})"


def _slug(name: str, taken: set[str]) -> str:
    """``name`` as an address can hold it, told from those in ``taken``."""
    plain = re.sub(r"[^\w.-]+", "-", name) or "experiment"
    slug, n = plain, 2
    while slug in taken:
        slug, n = f"{plain}-{n}", n + 1
    return slug


def inline(text: str) -> Markup:
    """A line with `code` and **bold** as HTML; everything else is escaped."""
    marked = _INLINE.sub(lambda m: f"<code>{m[1]}</code>" if m[1] else f"<strong>{m[2]}</strong>", str(escape(text)))
    return Markup(_ARXIV.sub(r'<a href="https://arxiv.org/abs/\1\2">\g<0></a>', marked))


def _html(sections: list[Section], data: dict[str, Any], **facts: Any) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["inline"] = inline
    environment.globals["words"] = TEXT
    environment.filters["address"] = lambda text: quote(str(text), safe="")
    environment.filters["time"] = lambda text: text.replace("T", " ").replace("+00:00", " UTC")
    style = (_HERE / "style.css").read_text(encoding="utf-8")
    script = "\n" + "\n".join((_HERE / name).read_text(encoding="utf-8") for name in _SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    return environment.get_template("page.html.j2").render(
        sections=sections,
        style=Markup(style),
        script=Markup(script),
        digest=digest,
        data=Markup(packed(data)),
        **facts,
    )

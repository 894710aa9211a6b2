"""Every table as files below ``results/tables``, and whether the files there are what the records give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from uora_bench.config import registry
from uora_bench.errors import UserError
from uora_bench.grid import preset
from uora_bench.grid.request import GridRequest
from uora_bench.grid.table_spec import Rule
from uora_bench.report import collect, csv_file, latex, markdown, published, table
from uora_bench.report.kinds import RecordKind, owner
from uora_bench.report.model import Table
from uora_bench.util import atomic

TRIALS = ("quickstart", "scratch")  # everybody's own: a table of them is there when asked for, and in no list
FORMATS: dict[str, Callable[[Table], str]] = {"md": markdown.render, "csv": csv_file.render, "tex": latex.render}


def published_library() -> published.Library:
    """The published numbers that come with the package, wherever one's own results are."""
    return published.read_published(registry.paper_dir())


def experiments(results: Path, kinds: Sequence[RecordKind] = ()) -> list[str]:
    """The experiments that have a table: every preset that says how it looks or that has records, and every folder of
    records without a preset; not `TRIALS`, and not those of other ``kinds`` of records."""
    root = results / "records"
    folders = root.iterdir() if root.is_dir() else ()
    recorded = {p.name for p in folders if any(p.glob("*.json")) and owner(p.name, kinds) is None}
    specified = {name for name in registry.choices("experiment") if preset.load_experiment(name).table is not None}
    return sorted((recorded | specified) - set(TRIALS))


def make_table(
    request: GridRequest,
    results: Path,
    library: published.Library | None,
    rule: Rule | None = None,
    kinds: Sequence[RecordKind] = (),
) -> Table:
    """The table that ``request`` asks for."""
    kind = owner(request.experiment, kinds)
    if kind is not None:
        return kind.table_of(request, results, library)
    return table.build(collect.collect(request, results), library, rule)


def all_tables(
    results: Path, rule: Rule | None = None, names: Iterable[str] | None = None, kinds: Sequence[RecordKind] = ()
) -> list[Table]:
    """The tables of ``names``; where None all of `experiments`, and without a ``rule`` those of other ``kinds``."""
    known = published_library()
    wanted = experiments(results, kinds) if names is None else names
    own = [make_table(GridRequest(name, "print"), results, known, rule) for name in wanted]
    if names is not None or rule is not None:  # nothing was chosen by a rule where nothing was trained
        return own
    return own + [one for kind in kinds for name in kind.names(results) for one in kind.tables_of(name, results, known)]


def files(tables: Iterable[Table], folder: Path) -> dict[Path, str]:
    """What is to be written, by path: every table in every format, and a list of them."""
    tables = list(tables)
    found = {folder / f"{t.name}.{kind}": render(t) for t in tables for kind, render in FORMATS.items()}
    found |= {
        folder / f"{t.name}_comparisons.csv": csv_file.comparisons(t)
        for t in tables
        if any(one.lines for one in t.comparisons)
    }
    papers = {folder / f"{t.name}_comparisons.tex": latex.comparisons(t) for t in tables}
    found |= {path: text for path, text in papers.items() if text}
    found[folder / "README.md"] = _index(tables)
    return found


def write_files(contents: dict[Path, str]) -> None:
    """Write ``contents``, each file whole or not at all."""
    for path, text in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic.write_text(path, text)


def check(contents: Mapping[Path, str | None], make: str = "tables", alone: bool = True) -> None:
    """Raise `UserError` unless the files of ``contents`` are there as they should be (None: whatever is in them), and,
    where they are ``alone``, no other in their folders. ``make``: the command that makes them."""
    wrong = [
        path
        for path, text in contents.items()
        if not path.is_file() or (text is not None and path.read_text("utf-8") != text)
    ]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UserError(f"'{wrong[0]}'{more} is not what the records give; run `make {make}` and commit the result")
    folders = {path.parent for path in contents} if alone else set()
    others = [p for folder in folders if folder.is_dir() for p in folder.iterdir() if p.is_file() and p not in contents]
    if others:
        raise UserError(f"'{min(others)}' ({len(others)} such) is none of the {make} of the records; remove it")


def _index(tables: list[Table]) -> str:
    lines = [
        "# Tables",
        "",
        "Made by `make tables` from `results/records` and `results/paper`; not to be edited. Each is here as Markdown,",
        "as CSV (with every seed's score and the ids of the cells) and as LaTeX (booktabs). Rows are compared with a",
        "reference row below the Markdown, and in `*_comparisons` as CSV and LaTeX.",
        "",
        "| table | published | rule | scores there |",
        "| --- | --- | --- | ---: |",
    ]
    for one in tables:
        entries = [entry.ours for row in one.rows for entry in row.entries]
        done, planned = sum(n.n for n in entries), sum(n.planned for n in entries)
        paper, rule = one.paper or "(own)", one.rule or "–"
        lines.append(f"| [{one.name}]({one.name}.md): {one.title} | {paper} | {rule} | {done} of {planned} |")
    return "\n".join(lines) + "\n"

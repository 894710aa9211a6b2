"""Every table as files below ``results/tables``, and whether the files there are what the records give."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from uora_bench.config import registry
from uora_bench.errors import UserError
from uora_bench.grid import preset
from uora_bench.grid.request import GridRequest
from uora_bench.grid.table_spec import Rule
from uora_bench.records.near import has_records, where_are_records
from uora_bench.records.record import TRIALS, record_paths
from uora_bench.report import collect, csv_file, latex, markdown, published, table
from uora_bench.report.kinds import RecordKind, owner
from uora_bench.report.model import Table
from uora_bench.util import atomic
from uora_bench.util.log import LOG

OWN = "own"  # below tables/ and figures/: those of experiments that do not come with the package
FORMATS: dict[str, Callable[[Table], str]] = {"md": markdown.render, "csv": csv_file.render, "tex": latex.render}


def published_library() -> published.Library:
    """The published numbers that come with the package, wherever one's own results are."""
    return published.read_published(registry.paper_dir())


def experiments(results: Path, kinds: Sequence[RecordKind] = ()) -> list[str]:
    """The experiments that have a table.

    Every preset that defines one or has records, and every folder of records without a preset; not `TRIALS`, and not
    those of other ``kinds`` of records. An experiment file of one's own that cannot be read is left out with a warning.
    """
    root = results / "records"
    folders = root.iterdir() if root.is_dir() else ()
    recorded = {p.name for p in folders if any(p.glob("*.json")) and owner(p.name, kinds) is None}
    specified, broken = set[str](), set[str]()
    for name in registry.choices("experiment"):
        try:
            if preset.load_experiment(name).table is not None:
                specified.add(name)
        except UserError as error:
            if registry.is_bundled("experiment", name):
                raise
            broken.add(name)
            LOG.warning(f"experiment '{name}' is left out: {error}")
    return sorted((recorded | specified) - broken - set(TRIALS))


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


def is_bundled(name: str, kinds: Sequence[RecordKind] = ()) -> bool:
    """Whether the folder of records ``name`` is that of an experiment of the package, rather than of a user's own."""
    kind = owner(name, kinds)
    return registry.is_bundled("experiment", name) if kind is None else kind.is_bundled(name)


def all_tables(
    results: Path, rule: Rule | None = None, names: Iterable[str] | None = None, kinds: Sequence[RecordKind] = ()
) -> list[Table]:
    """The tables of ``names``; where None of all `experiments`, and without a ``rule`` those of other ``kinds``."""
    known = published_library()
    found: list[Table] = []
    for name in every_name(results, rule, kinds) if names is None else names:
        kind = owner(name, kinds)
        request = GridRequest(name, "print")
        found += kind.tables_of(name, results, known) if kind else [make_table(request, results, known, rule)]
    return found


def every_name(results: Path, rule: Rule | None, kinds: Sequence[RecordKind] = ()) -> list[str]:
    """`experiments`, and without a ``rule`` the folders of other ``kinds``."""
    # nothing was chosen by a rule where nothing was trained
    others = [name for kind in kinds for name in kind.names(results)] if rule is None else []
    return [*experiments(results, kinds), *others]


def table_files(
    results: Path, rule: Rule | None = None, kinds: Sequence[RecordKind] = (), own: bool = True
) -> tuple[dict[Path, str], list[str]]:
    """All tables as `files` gives them, those of a user's ``own`` experiments in a folder `OWN` with a list of its own.

    And the experiments that are left out, because they have neither records nor a file there already.

    Raises:
        UserError: when nothing is there.
    """
    folder = results / "tables" if rule is None else results / "tables" / rule
    names, absent = list[str](), list[str]()
    for name in every_name(results, rule, kinds):
        there = record_paths(results / "records" / name) or (folder / f"{name}.md").is_file()
        (names if there else absent).append(name)
    if not names:
        raise nothing_recorded(results)
    bundled = [name for name in names if is_bundled(name, kinds)]
    contents = files(all_tables(results, rule, bundled, kinds), folder) if bundled else {}
    if own and (rest := [name for name in names if name not in bundled]):
        contents |= files(all_tables(results, rule, rest, kinds), folder / OWN)
    return contents, absent


def nothing_recorded(results: Path) -> UserError:
    """The error for a folder without any record but those of `TRIALS`."""
    trials = [name for name in TRIALS if record_paths(results / "records" / name)]
    if trials:
        return UserError(
            f"'{results / 'records'}' holds trials only ({', '.join(trials)}); tables experiment={trials[0]} shows "
            "them, and cells run with experiment_name=<name> have tables and figures as files"
        )
    return UserError(
        f"no records in '{results / 'records'}'; run a cell first (uora-bench sweep experiment=quickstart), or "
        f"{where_are_records(results)}"
    )


def missing_records(table: Table, results: Path) -> str:
    """What to say of a table none of whose cells has a record; "" for any other."""
    if any(run.status != "missing" for block in table.blocks for run in block.runs):
        return ""
    name, place = table.name, results / "records"
    if record_paths(place / name):
        return f"the records of {name} in '{place}' are of other cells than these"
    return f"no records of {name} in '{place}'"


def way_to_records(results: Path, name: str) -> str:
    """What to do where `missing_records` says that the table ``name`` has none."""
    if not has_records(results):
        return where_are_records(results)
    return f"run some cells: uora-bench sweep experiment={name}, or name a folder that has some, results.dir=<folder>"


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
    """Raise `UserError` unless the files of ``contents`` exist with that content (None: any content).

    Where they are ``alone``, there must be no other file in their folders. ``make``: the command that makes them.
    """
    wrong = [
        path
        for path, text in contents.items()
        if not path.is_file() or (text is not None and path.read_text("utf-8") != text)
    ]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UserError(
            f"'{wrong[0]}'{more} differs from what the records give; run `uora-bench {make}` and commit the result"
        )
    folders = {path.parent for path in contents} if alone else set()
    others = [p for folder in folders if folder.is_dir() for p in folder.iterdir() if p.is_file() and p not in contents]
    if others:
        raise UserError(f"'{min(others)}' ({len(others)} such) is none of the {make} of the records; remove it")


def _index(tables: list[Table]) -> str:
    lines = [
        "# Tables",
        "",
        "Made by `uora-bench tables` from `results/records` and `results/paper`; do not edit. Each table exists as",
        "Markdown, CSV (with every seed's score and the ids of the cells) and LaTeX (booktabs). Comparisons with",
        "the reference row are below the Markdown table and in `*_comparisons` (CSV and LaTeX).",
        "",
    ]
    rows = []
    for one in tables:
        entries = [entry.ours for row in one.rows for entry in row.entries]
        done, planned = sum(n.n for n in entries), sum(n.planned for n in entries)
        paper, rule = one.paper or "(own)", one.rule or "–"
        rows.append([f"[{one.name}]({one.name}.md): {one.title}", paper, rule, f"{done} of {planned}"])
    words = ("table", "published", "rule")
    return "\n".join([*lines, *markdown.grid([*words, "scores"], rows, words)]) + "\n"

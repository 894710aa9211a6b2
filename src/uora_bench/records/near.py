"""What may be meant by a folder without records: others, in it or beside it, that hold some."""

from __future__ import annotations

import difflib
import shlex
from pathlib import Path

from uora_bench.records.record import record_paths


def has_records(results: Path) -> bool:
    """Whether any experiment in ``results`` has a record."""
    return any(record_paths(one) for one in results.glob("records/*"))


def near_results(folder: Path) -> list[Path]:
    """Folders of results with records in ``folder`` or beside it; itself it is none."""
    bases = [folder, folder.parent] if folder.name else [folder]
    places = dict.fromkeys(p for base in bases if base.is_dir() for p in sorted(base.iterdir()))
    return [p for p in places if p != folder and has_records(p)]


def where_are_records(results: Path) -> str:
    """What to do about ``results`` without a record, on the command line: the end of a message."""
    near = near_results(results)
    if near:
        return f"did you mean results.dir={shlex.quote(str(near[0]))}?"
    return "name the folder that holds some, results.dir=<folder> (those of the suite are in results/ of a checkout)"


def meant_by(folder: Path) -> str:
    """The tail of a message about a ``folder`` without a record, for Python code."""
    near = near_results(folder)
    if record_paths(named := Path("results/records") / folder):  # the name of an experiment alone
        near = [named]
    if not near and folder.parent.is_dir():
        beside = {p.name: p for p in sorted(folder.parent.iterdir()) if record_paths(p)}
        near = [beside[name] for name in difflib.get_close_matches(folder.name, beside, n=1)]
    return f"; did you mean '{near[0]}'?" if near else "; run a cell first, or name another folder"

"""``uora-bench verify CELL_ID``: does the cell give its record again? ``verify all=true``: are records as written?"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

from uora_bench.cli import keys
from uora_bench.cli.parser import Command, Given, Key
from uora_bench.errors import CellError, UserError, nearest
from uora_bench.util.words import count


def _act(given: Given) -> int:
    root = Path(given.text("results.dir") or "results") / "records"
    folders = _folders(root, given.text("experiment"))
    if given.names:
        return _again(given, folders)
    if given.passed:
        key = given.passed[0].partition("=")[0]
        hint = nearest(key, [own.name for own in COMMAND.keys])
        raise UserError(f"'{key}' is for a cell that is run again; without a cell_id nothing is run{hint}")
    if not given.flag("all") and given.text("experiment") is None:
        raise UserError("name a cell_id to run it again, or check the records: all=true, or experiment=<name>")
    from uora_bench.records.manifest import check_manifest, write_manifest

    sound = True
    for name, folder in folders.items():
        found = write_manifest(folder) if given.flag("write") else check_manifest(folder)
        said = count(len(found.problems), "problem") if found.problems else "as they were written"
        print(f"{name}: {count(found.files, 'file')}, head {found.head[:16]}: {said}")
        for problem in found.problems:
            print(f"  {problem}")
        sound &= not found.problems
    return 0 if sound else 1


def _again(given: Given, folders: dict[str, Path]) -> int:
    from uora_bench.cli.places import known_places
    from uora_bench.config import synonyms
    from uora_bench.config.run_folders import full_id
    from uora_bench.execution.verify import verify_cell
    from uora_bench.records.record import find_record, record_paths
    from uora_bench.util.signals import StopRequest

    if given.flag("write") or given.flag("all"):
        raise UserError("write and all are for whole experiments; leave the cell_id away, or them")
    (named,) = given.names
    known = {name: {path.stem for path in record_paths(folder)} for name, folder in folders.items()}
    every = set().union(*known.values())
    cell_id = full_id(named, every)
    if cell_id is None:
        raise UserError(f"there is no record of cell '{named}'{nearest(named, every, 3)}")
    holders = {name: folders[name] for name, ids in known.items() if cell_id in ids}
    if len(holders) > 1:
        raise UserError(f"cell {cell_id} is in several experiments ({', '.join(holders)}); take one: experiment=<name>")
    ((_, folder),) = holders.items()
    record = find_record(folder, cell_id)
    assert record is not None
    words = synonyms.canonical(given.passed)
    taken = known_places(record, words, Path(given.text("runs.dir") or "runs"))
    if taken:
        print(f"taken from where the cell was made: {shlex.join(taken)}", file=sys.stderr)
    stop = StopRequest()
    stop.install()
    try:
        found = verify_cell(record, folder, [*words, *taken], stop)
    except CellError as error:
        print(f"{record.label} [{cell_id}]: {error}")
        return 1
    print(f"{record.label} [{cell_id}]: {found.lines[0]}", *found.lines[1:], sep="\n  ", flush=True)
    return 0 if found.same else 1


def _folders(root: Path, wanted: str | None) -> dict[str, Path]:
    """The folders of records of trained cells below ``root``, or the one that is wanted."""
    from uora_bench.records.record import record_paths

    known = {p.name: p for p in sorted(root.iterdir()) if record_paths(p)} if root.is_dir() else {}
    known = {name: path for name, path in known.items() if not name.startswith("theory_")}
    if not known:
        raise UserError(f"there is no record below '{root}'; set results.dir=<folder>")
    if wanted is not None and wanted not in known:
        raise UserError(f"experiment={wanted}: no records below '{root}'{nearest(wanted, known)}")
    return known if wanted is None else {wanted: known[wanted]}


COMMAND = Command(
    "verify",
    "run a recorded cell again and compare; are records as they were written?",
    _act,
    words="[CELL_ID]",
    most=1,
    keys=(
        Key("all", "check the records of every experiment; nothing is run", flag=True),
        Key("write", "write manifest.jsonl; refused while something is removed or changed", flag=True),
        keys.RECORDED,
        keys.RESULTS,
        keys.RUNS,
    ),
    passed=(keys.DATA_ROOT, keys.BACKBONE, keys.ANY),
    about=(
        "With a cell_id: trains the cell again in a temporary folder, once its data and weights are seen to be those "
        "of the record, and says which predictions came out otherwise. Folders, which no record names, are taken from "
        "the run folder or the grid's file where they are still there, else from keys.",
        "Without: compares every record, and the files beside it, with the hash chain in manifest.jsonl of its folder, "
        "and each record with itself: its name with its settings and data, its scores with its epochs. The head "
        "stands for all files: one that was published tells whether the manifest was written again.",
        "Nothing that is verified is changed. write=true adds new records to a manifest, and refuses to seal what was "
        "removed or changed since.",
    ),
    examples=("verify 00383f54284a26a6 data.root=<folder>", "verify all=true", "verify experiment=my_grid write=true"),
    codes={1: "something is not as it was written"},
)

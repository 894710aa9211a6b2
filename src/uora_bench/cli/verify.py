"""``uora-bench verify``: run recorded cells again and compare; check records against their manifests."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from uora_bench.cli import keys
from uora_bench.cli.parser import Command, Given, Key
from uora_bench.config.ids import THEORY
from uora_bench.errors import CellError, UserError, nearest
from uora_bench.util.log import LOG
from uora_bench.util.words import count

if TYPE_CHECKING:
    from uora_bench.execution.verify import Verified
    from uora_bench.records.record import CellRecord
    from uora_bench.util.signals import StopRequest


def _act(given: Given) -> int:
    results = Path(given.text("results.dir") or "results")
    if len(given.names) > 1:
        return _number(given, results)
    if alone := next((key for key in ("rule", "seed") if given.every(key)), None):
        raise UserError(f"{alone}= is for a number of a table: verify TABLE ROW COLUMN {alone}=…")
    folders = _folders(results / "records", given.text("experiment"))
    if given.names:
        return _cell(given, {name: path for name, path in folders.items() if not name.startswith(THEORY)})
    if given.passed:
        key = given.passed[0].partition("=")[0]
        hint = nearest(key, [own.name for own in COMMAND.keys])
        raise UserError(f"'{key}' is for a cell that is run again; without a cell_id nothing is run{hint}")
    if not given.flag("all") and given.text("experiment") is None:
        raise UserError("name a cell_id to run it again, or check the records: all=true, or experiment=<name>")
    from uora_bench.records.manifest import NAME, check_manifest, record_problems, write_manifest
    from uora_bench.records.record import TRIALS
    from uora_bench.theory import record as theory

    if given.flag("write"):  # what is sealed is looked at more closely
        from uora_bench.execution.self_check import all_problems

        problems_of, good = all_problems, f"{NAME} written"
    else:
        problems_of, good = record_problems, "as they were written"
    sound, of_all = True, given.text("experiment") is None
    for name, folder in folders.items():
        if of_all and name in TRIALS:
            continue
        act = write_manifest if given.flag("write") else check_manifest
        found = act(folder, theory.record_problems if name.startswith(THEORY) else problems_of)
        said = count(len(found.problems), "problem") if found.problems else good
        print(f"{name}: {count(found.files, 'file')}, head {found.head[:16] or 'none'}: {said}")
        for problem in found.problems:
            print(f"  {problem}")
        sound &= not found.problems
    sound &= not of_all or _sealed_files(results)
    return 0 if sound else 1


def _sealed_files(results: Path) -> bool:
    """Whether the files of searches and races are as they were written, by the sha256 that each has of itself.

    Those that are not are printed.
    """
    from uora_bench.grid import race, search

    sound = True
    for folder, reader in ((search.FOLDER, search.read_search), (race.FOLDER, race.read_race)):
        paths, problems = sorted((results / folder).glob("*.json")), list[str]()
        for path in paths:
            try:
                reader(path)
            except UserError as error:
                problems.append(f"  {error}")
        if paths:
            said = count(len(problems), "problem") if problems else "as they were written"
            print("\n".join([f"{folder}: {count(len(paths), 'file')}: {said}", *problems]))
        sound &= not problems
    return sound


def _number(given: Given, results: Path) -> int:
    """Every cell behind one number of a table, or the one of ``seed``."""
    from uora_bench.report import explain
    from uora_bench.report.kinds import owner
    from uora_bench.theory import report as theory

    _alone(given)
    if given.text("experiment") is not None:
        raise UserError("experiment= is for a cell_id; the first word names the table")
    one = explain.find_entry(given.names, results, keys.rule_of(given), (theory,))
    if owner(one.table.name, (theory,)) is not None:
        raise UserError(f"'{one.title}' is computed, not trained; uora-bench explain says how to make it again")
    if one.column is one.table.average:
        raise UserError(f"'{one.title}' is an average; verify the columns it is of, one after the other")
    number = one.entry.ours
    runs = {run.seed: run for run in number.runs if run.seed in number.by_seed}
    wanted = given.text("seed")
    if wanted is not None:
        if wanted not in map(str, runs):
            hint = nearest(wanted, map(str, runs))
            raise UserError(f"seed={wanted} is not behind '{one.title}'{hint}; name one, or none for all")
        runs = {int(wanted): runs[int(wanted)]}
    if not runs:
        raise UserError(f"no cell is behind '{one.title}': nothing of ours to verify")
    decimals, found, stop = one.column.decimals, {}, _stop()
    for seed, run in sorted(runs.items()):
        assert run.folder is not None
        found[seed] = _again(given, run.record, run.folder, stop)
    ended = {seed: replace(runs[seed], recorded=own.again) for seed, own in found.items() if own is not None}
    scores = {seed: run.score(one.table.rule, one.column.split, one.column.metric) for seed, run in ended.items()}
    told = ", ".join(
        f"seed {seed}: {number.by_seed[seed]:.{decimals}f}, again "
        + ("failed" if (score := scores.get(seed)) is None else f"{score * one.column.scale:.{decimals}f}")
        for seed in found
    )
    good = sum(own is not None and own.same for own in found.values())
    verdict = "verified" if good == len(found) else f"{good} of {count(len(found), 'cell')} verified"
    left = "" if wanted is None else f", seed {wanted} of {', '.join(map(str, sorted(number.by_seed)))}"
    print(f"{one.title}{left}: {verdict} ({told}; rule {one.table.rule})", flush=True)
    return 0 if good == len(found) else 1


def _cell(given: Given, folders: dict[str, Path]) -> int:
    from uora_bench.config.run_folders import full_id
    from uora_bench.records.record import find_record, record_paths

    _alone(given)
    (named,) = given.names
    known = {name: {path.stem for path in record_paths(folder)} for name, folder in folders.items()}
    every = set().union(*known.values())
    cell_id = full_id(named, every)
    if cell_id is None and named in known:
        raise UserError(f"'{named}' is an experiment: experiment={named} checks its records; or name a cell_id of it")
    if cell_id is None:
        raise UserError(f"there is no record of cell '{named}'{nearest(named, every, 3)}")
    holders = {name: folders[name] for name, ids in known.items() if cell_id in ids}
    if len(holders) > 1:
        raise UserError(f"cell {cell_id} is in several experiments ({', '.join(holders)}); take one: experiment=<name>")
    ((_, folder),) = holders.items()
    record = find_record(folder, cell_id)
    assert record is not None
    found = _again(given, record, folder, _stop())
    return 0 if found is not None and found.same else 1


def _alone(given: Given) -> None:
    if given.flag("write") or given.flag("all"):
        raise UserError("write and all are for whole experiments; drop them, or drop the cell")


def _stop() -> StopRequest:
    from uora_bench.util.signals import StopRequest

    stop = StopRequest()
    stop.install()
    return stop


def _again(given: Given, record: CellRecord, folder: Path, stop: StopRequest) -> Verified | None:
    """Run one cell again and say what came out; None where it fails."""
    from uora_bench.cli.places import known_places
    from uora_bench.config import synonyms
    from uora_bench.execution.verify import verify_cell

    start = f"{record.label} [{record.cell_id}]: "
    words = synonyms.canonical(given.passed)
    taken, gone = known_places(record, words, Path(given.text("runs.dir") or "runs"))
    if gone:
        LOG.warning(f"note: not there any more: {shlex.join(gone)}; name the place where it is now")
    if taken:
        LOG.info(f"settings of the original run: {shlex.join(taken)}")
    try:
        found = verify_cell(record, folder, [*words, *taken], stop)
    except CellError as error:
        print(f"{start}{error}", flush=True)
        return None
    print(f"{start}{found.lines[0]}", *found.lines[1:], sep="\n  ", flush=True)
    return found


def _folders(root: Path, wanted: str | None) -> dict[str, Path]:
    """The folders of records below ``root``, or the one that is wanted."""
    from uora_bench.records.manifest import NAME
    from uora_bench.records.near import where_are_records
    from uora_bench.records.record import record_paths

    there = sorted(root.iterdir()) if root.is_dir() else []
    known = {p.name: p for p in there if record_paths(p) or (p / NAME).is_file()}  # a manifest tells what was removed
    if not known:
        raise UserError(f"there is no record below '{root}'; {where_are_records(root.parent)}")
    if wanted is not None and wanted not in known:
        raise UserError(f"experiment={wanted}: no records below '{root}'{nearest(wanted, known)}")
    return known if wanted is None else {wanted: known[wanted]}


COMMAND = Command(
    "verify",
    "run recorded cells again and compare; check records against manifests",
    _act,
    words="[CELL_ID | TABLE ROW COLUMN [BLOCK]]",
    most=4,
    keys=(
        Key("all", "check the records of every experiment but trials; nothing is run", flag=True),
        Key("write", "write manifest.jsonl; refused while something is removed or changed", flag=True),
        Key("seed", "of TABLE ROW COLUMN: this one; else all behind the number", shown="0"),
        keys.RULE,
        keys.RECORDED,
        keys.RESULTS,
        keys.RUNS,
    ),
    passed=(keys.DATA_ROOT, keys.BACKBONE, keys.ANY),
    about=(
        "With a cell_id, or the name of a number as in explain: trains the cell, or all behind the number, again in "
        "a temporary folder, once data and weights are seen to be those of the record, and says which predictions "
        "came out otherwise, and whether another processor explains it. Folders, which no record names, are taken from "
        "the run folder or the grid's file where they are still there, else from keys.",
        "Without: compares every record, and the files beside it, with the hash chain in manifest.jsonl of its folder, "
        "and each record with itself: its name with its settings and data, its scores with its epochs. The head "
        "stands for all files: one that was published tells whether the manifest was written again.",
        "Nothing that is verified is changed. write=true adds new records to a manifest, and refuses to seal what was "
        "removed or changed since.",
    ),
    examples=(
        "verify 00383f54284a26a6 data.root=<folder>",
        "verify minilm_glue LoRA MRPC seed=0 data.root=<folder>",
        "verify all=true",
        "verify experiment=my_grid write=true",
    ),
    codes={1: "something is not as it was written, or came out otherwise"},
)

"""``manifest.jsonl`` of a folder of records: every file's sha256 in a chain, so that what was changed later is named.

A line per file, by name: its sha256, of a record its label, schema and the package's version, and ``chain``, the hash
of the line and of the chain before it. The last one, the head, stands for all of them: whoever published it can tell
whether the manifest itself was written again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uora_bench.config.metrics import AUTO
from uora_bench.errors import UserError
from uora_bench.records.record import content_id, read_record, read_record_data, record_paths
from uora_bench.records.selection import select_scores
from uora_bench.util import atomic
from uora_bench.util.hashes import file_sha256
from uora_bench.util.words import clause

NAME = "manifest.jsonl"
_ADDED = ": not in the manifest"


@dataclass(frozen=True)
class Checked:
    """The result of checking a folder against its manifest.

    ``files``: their number; ``head``: the last link of the chain, in hex; ``problems``: one line for each change.
    """

    files: int
    head: str
    problems: tuple[str, ...]


def write_manifest(folder: Path, problems_of: Callable[[Path], list[str]] | None = None) -> Checked:
    """Write the manifest of the records in ``folder`` and of what lies beside them.

    Files that an older manifest there does not name are added. ``problems_of``: what is wrong within one record, where
    it is not of a trained cell (`record_problems`).

    Raises:
        UserError: when there is no record, one that does not agree with itself (`record_problems`), or a file that is
            not as the manifest that is there says.
    """
    lines = _lines(folder)
    if not lines and not (folder / NAME).exists():
        raise UserError(f"there is no record in '{folder}'")
    problems = [problem for path in record_paths(folder) for problem in (problems_of or record_problems)(path)]
    if problems:
        raise UserError(f"no manifest is written of what is not sound: {problems[0]}")
    if (folder / NAME).exists():
        before = check_manifest(folder, problems_of)
        wrong = [problem for problem in before.problems if not problem.endswith(_ADDED)]
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise UserError(
                f"the manifest is not written while {folder.name} has a problem: {wrong[0]}{more}; restore what was "
                f"written, or, if the change is meant, delete '{folder / NAME}' (head {before.head[:16]}) and say so "
                "where its head was published"
            )
    atomic.write_text(folder / NAME, "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in _chained(lines)))
    return check_manifest(folder, problems_of)


def check_manifest(folder: Path, problems_of: Callable[[Path], list[str]] | None = None) -> Checked:
    """Compare the files in ``folder`` with its manifest; a look at bytes and at each record, seconds for thousands.

    ``problems_of`` as in `write_manifest`. A folder without a manifest has that as its problem.

    Raises:
        UserError: when the manifest cannot be read.
    """
    path = folder / NAME
    if not path.exists():
        makes = f"uora-bench verify experiment={folder.name} write=true makes it"
        return Checked(len(_lines(folder)), "", (f"there is no {NAME}: {makes}",))
    known = _read_lines(path)
    names = {line["name"]: line for line in known}
    problems = [
        f"{path.name}: line {number} was changed, or one before it was added or removed"
        for number, (line, right) in enumerate(zip(known, _chained(known), strict=True), start=1)
        if line != right
    ][:1]
    if [line["name"] for line in known] != sorted(names):
        problems.append(f"{path.name}: it does not have every file once, by name: it was not written by verify")
    there = {line["name"]: line for line in _lines(folder)}
    for name, line in names.items():
        what = f"{name} ({line['label']})" if line.get("label") else name
        now = there.get(name)
        if now is None:
            problems.append(f"{what}: removed")
        elif now["sha256"] != line.get("sha256"):
            keys = [key for key in ("schema", "version") if now.get(key) != line.get(key)]
            of = "; ".join(f"{key} {now.get(key)}, it was {line.get(key) or 'not known'}" for key in keys)
            problems.append(f"{what}: changed{f' ({of})' if of else ''}")
    problems += [f"{name}{_ADDED}" for name in there if name not in names]
    problems += [problem for one in record_paths(folder) for problem in (problems_of or record_problems)(one)]
    return Checked(len(there), str(known[-1]["chain"]), tuple(problems))


def _read_lines(path: Path) -> list[dict[str, Any]]:
    """The lines of the manifest ``path``; raises `UserError` for what is none."""
    try:
        lines = [json.loads(line) for line in path.read_text("utf-8").rstrip("\n").split("\n")]
        json.dumps(lines, ensure_ascii=False).encode("utf-8")  # half of a character cannot be printed
    except (OSError, ValueError, RecursionError) as error:
        said = clause(str(error).splitlines()[0][:100])
        raise UserError(f"cannot read '{path}': {said}; take it from a copy") from None
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, dict) or not all(isinstance(line.get(key), str) for key in ("name", "chain")):
            raise UserError(f"cannot read '{path}': line {number} names no file; take it from a copy")
    return lines


def record_problems(path: Path) -> list[str]:
    """What is inconsistent in a record, one line each.

    A name that is not the hash of its settings and data, scores that are not those of its epochs, predictions that are
    missing or changed.
    """
    try:
        record = read_record(path)
    except UserError as error:
        return [f"{path.name}: {error}"]
    found = []
    if record.status == "done" and content_id(record.cell, record.provenance.data) != record.cell_id:
        found.append("its settings or the hashes of its data were changed: they are another cell's")
    if record.status == "done" and dict(record.scores) != select_scores(record.epochs, record.metric):
        found.append("its scores are not those of the epochs that the rules choose")
    said = record.cell["task"]["metric"]
    if record.status == "done" and said.get("name") != AUTO and not record.cell.get("metric"):  # no file of one's own
        found += [f"its metric.{key} is not that of its settings" for key in ("name", "primary", "higher_is_better")
                  if key in said and said[key] != getattr(record.metric, key)]  # fmt: skip
    kept = record.provenance.predictions
    if kept is not None and kept.sha256 is not None:
        beside = path.with_suffix(".predictions.parquet")
        if not beside.is_file():
            found.append("its predictions are gone")
        elif file_sha256(beside) != kept.sha256:
            found.append("its predictions are not those that it was written with")
    return [f"{path.name} ({record.label}): {problem}" for problem in found]


def _lines(folder: Path) -> list[dict[str, Any]]:
    records = record_paths(folder)
    stems = {path.stem for path in records}
    beside = [p for p in folder.iterdir() if p.is_file() and p.name.split(".")[0] in stems and p not in records]
    lines = []
    for path in sorted([*records, *beside], key=lambda p: p.name):
        line: dict[str, Any] = {"name": path.name, "sha256": file_sha256(path)}
        if path in records:
            line |= _of_record(path)
        lines.append(line)
    return lines


def _of_record(path: Path) -> dict[str, Any]:
    """What a line says of a record; nothing of one that cannot be read, which is a problem of its own."""
    try:
        data = read_record_data(path)
    except UserError:
        return {}
    version: Any = data
    for key in ("provenance", "versions", "uora_bench"):
        version = version.get(key) if isinstance(version, dict) else None
    return {"label": data.get("label"), "schema": data.get("schema"), "version": version}


def _chained(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    made, chain = [], ""
    for line in lines:
        own = {key: value for key, value in line.items() if key != "chain"}
        text = json.dumps(own, sort_keys=True, ensure_ascii=False)
        chain = hashlib.sha256(f"{chain}\n{text}".encode()).hexdigest()
        made.append({**own, "chain": chain})
    return made

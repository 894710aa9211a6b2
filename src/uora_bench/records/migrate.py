"""Records of schema 1, brought up to date: names changed, and with them every cell_id, which is a hash of names.

`RENAMED` and `FORWARD` are all the rules there are. A record that is not named by its content stops everything before
the first byte is written. Then, record by record, the new files are written and flushed to the disk before the old ones
are removed, the old record last: after a kill the same call goes on.
"""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uora_bench.errors import UserError
from uora_bench.records.record import (
    SCHEMA,
    content_id,
    parse_record,
    read_record,
    read_record_data,
    record_path,
    record_paths,
    record_text,
)
from uora_bench.util import atomic

# A setting's name in schema 1 -> its name now, as the command line says it; a record's cell and provenance hold the
# same settings nested, and what lies below a name (backbone.targets.q) goes with it.
RENAMED = {
    "trainer.schedule": "trainer.lr_scheduler",
    "trainer.length_window": "trainer.length_bucket",
    "trainer.passes": "trainer.cpu_ops",
    "method.kernel": "method.forward",
    "method.targets": "method.target_modules",
    "backbone.targets": "backbone.target_modules",
    "initialise_from": "init_from",
    # no settings: what a record says of the run
    "kernel": "forward",
    "passes": "cpu_ops",
    "bytes.to_ship": "bytes.adapter_size",
}
# the values of method.forward, and the names of the paths in provenance.forward
FORWARD = {"plain": "factored", "composed": "merged_weight", "apart": "delta_weight"}


@dataclass(frozen=True)
class Migrated:
    """What `migrate_records` did: records rewritten, files beside them renamed, records that needed nothing."""

    records: int
    files: int
    current: int

    def __str__(self) -> str:
        return (
            f"{self.records} record(s) brought to schema {SCHEMA}, {self.files} file(s) beside them renamed; "
            f"{self.current} record(s) needed nothing"
        )


@dataclass(frozen=True)
class _Move:
    """One record: its old file, and what is to take its place. ``written``: an earlier, killed call wrote all of it."""

    old: Path
    new: Path
    data: dict[str, Any]
    written: bool


def new_name(key: str) -> str:
    """A key of schema 1 by its name now; itself where that did not change."""
    for old, new in RENAMED.items():
        if key == old or key.startswith(f"{old}."):
            return new + key.removeprefix(old)
    return key


def new_word(word: str) -> str:
    """A word of a command line (``key=value``) of schema 1 in today's names."""
    key, equals, value = word.partition("=")
    return f"{new_name(key)}{equals}{FORWARD.get(value, value) if key == 'method.kernel' else value}"


def migrate_records(results: Path) -> Migrated:
    """Bring every record below ``results``/records up to date, with the files that are named after it.

    Raises:
        UserError: before anything is changed, for a record that cannot be read, is not named by its content, or whose
            new name another record has.
    """
    old, ids, current = _survey(results / "records")
    moves = [_move(path, data, ids) for path, data in old]
    files = sum(_carry_out(move) for move in moves)
    return Migrated(len(moves), files, current)


def _survey(root: Path) -> tuple[list[tuple[Path, dict[str, Any]]], dict[str, str], int]:
    """The records of schema 1, the renamed ids, and the number of records of the current schema.

    The ids are ``{old id: new id}``, those of an earlier, killed call included.
    """
    old: list[tuple[Path, dict[str, Any]]] = []
    ids: dict[str, str] = {}
    current = 0
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        for path in record_paths(folder):
            data = read_record_data(path)
            if "preset" in data:  # of theory, which has a schema of its own
                continue
            if data.get("schema") == 1:
                old.append((path, data))
                ids[path.stem] = _new_id(path, data)
            else:
                current += 1
                if "migrated_from" in data.get("provenance", {}):
                    ids[data["provenance"]["migrated_from"]] = path.stem
    return old, ids, current


def _new_id(path: Path, data: dict[str, Any]) -> str:
    with _malformed(path):
        known, cell, named = data["provenance"].get("data"), data["cell"], data["cell_id"] == path.stem
        if known is None and data["status"] == "failed" and named:
            return path.stem  # written by a launcher, which does not know the data: nothing says what the id is of
        if named and content_id(cell, known or {}) == path.stem:
            return content_id(_renamed(cell), known or {})
    raise UserError(
        f"the name of the record '{path}' does not match its content: it was changed or renamed by hand; move "
        "it out of the folder, and run the same command again"
    )


def _move(path: Path, data: dict[str, Any], ids: Mapping[str, str]) -> _Move:
    new = record_path(path.parent, ids[path.stem])
    with _malformed(path):
        made = _today(data, path.stem, ids)
    parse_record(made, path)
    written = new != path and new.is_file()
    if written and read_record(new).provenance.migrated_from != path.stem:
        raise UserError(f"'{path}' and '{new}' are records of one cell; move one of them out of the folder")
    return _Move(path, new, made, written)


@contextmanager
def _malformed(path: Path) -> Iterator[None]:
    try:
        yield
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"the record '{path}' is not valid; move it out of the folder") from None


def _today(data: dict[str, Any], old: str, ids: Mapping[str, str]) -> dict[str, Any]:
    """A record of schema 1 as it would be written today."""
    cell, known = _renamed(data["cell"]), _renamed(data["provenance"])
    for part in (cell, known):
        if "init_from" in part:
            part["init_from"] = ids.get(part["init_from"], part["init_from"])
    if "forward" in known:
        known["forward"] = {_path_names(names): count for names, count in known["forward"].items()}
    if "command" in known:
        known["command"] = [new_word(word) for word in known["command"]]
    if "outputs" in known:
        known["outputs"] = {role: name.replace(old, ids[old]) for role, name in known["outputs"].items()}
    if ids[old] != old:
        known["migrated_from"] = old
    made = {**data, "schema": SCHEMA, "cell_id": ids[old], "cell": cell, "provenance": known}
    made["sources"] = {new_name(key): value for key, value in data["sources"].items()}
    made["epochs"] = [_epoch(entry) for entry in data.get("epochs", ())]
    return {**made, **_renamed({"bytes": data.get("bytes")})}


def _renamed(data: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """``data`` with its keys, at any depth, by their names now."""
    made = {}
    for key, value in data.items():
        path = f"{prefix}{key}"
        name = new_name(path).rpartition(".")[2] if path in RENAMED else key
        made[name] = _renamed(value, f"{path}.") if isinstance(value, Mapping) else value
    return made


def _path_names(names: str) -> str:
    return "+".join(sorted(FORWARD.get(name, name) for name in names.split("+")))


def _epoch(entry: dict[str, Any]) -> dict[str, Any]:
    """``entry`` with dev's two halves beside the scores, not among them."""
    dev = entry["scores"].get("dev", {})
    if "halves" not in dev:
        return entry
    rest = {name: value for name, value in dev.items() if name != "halves"}
    return {**entry, "scores": {**entry["scores"], "dev": rest}, "halves": dev["halves"]}


def _carry_out(move: _Move) -> int:
    """Write the new files and remove the old ones; returns how many lay beside the record."""
    if move.new == move.old:
        atomic.write_text(move.new, record_text(move.data))
        return 0
    beside = [path for path in sorted(move.old.parent.glob(f"{move.old.stem}.*")) if path != move.old]
    if not move.written:
        _write(move, beside)
    for path in (*beside, move.old):
        path.unlink()
    return len(beside)


def _write(move: _Move, beside: Iterable[Path]) -> None:
    """Write what lies beside the record, then the record, all under the new name."""
    hashes: dict[str, str] = {}  # grades name the hash of the answers' file, which holds the id
    # answers (….mt_bench.jsonl) before their grades (….mt_bench_scores.json): "." sorts before "_"
    for path in beside:
        raw = path.read_bytes()
        made = _with_new_id(path, raw, {move.old.stem: move.new.stem, **hashes})
        hashes[hashlib.sha256(raw).hexdigest()] = hashlib.sha256(made).hexdigest()
        new = path.with_name(path.name.replace(move.old.stem, move.new.stem))
        atomic.write_file(new, lambda temporary, made=made: temporary.write_bytes(made))  # type: ignore[misc]
    atomic.write_text(move.new, record_text(move.data))


def _with_new_id(path: Path, raw: bytes, names: Mapping[str, str]) -> bytes:
    if path.suffix in (".txt", ".parquet"):  # what a model wrote or predicted, which names no cell
        return raw
    packed = path.suffix == ".gz"
    text = gzip.decompress(raw) if packed else raw
    for old, new in names.items():
        text = text.replace(old.encode(), new.encode())
    return gzip.compress(text, mtime=0) if packed else text

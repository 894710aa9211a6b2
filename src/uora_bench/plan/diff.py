"""A grid against what is there: which cells are done, stale, failed, running, or to do.

Records are read as plain JSON (a thousand of them in a moment); a cell is found again by `cell.key_of` what its record
says it was. Nothing is hashed or loaded but the local data files.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uora_bench.cell import Cell, key_of
from uora_bench.compose import leaves
from uora_bench.errors import UserError
from uora_bench.launch import journal
from uora_bench.plan.grid import Planned
from uora_bench.plan.model import Item, State
from uora_bench.record import SCHEMA

# what a record calls a setting, by the key that sets it
_RENAMED = (("method.options.", "method."), ("task.options.", "task."))


@dataclass(frozen=True)
class Found:
    """What a plan wants to know of a record file."""

    key: str
    cell_id: str
    status: str
    reason: str
    cell: dict[str, Any]
    started_from: str | None  # cell_id of the run whose adapter it began with
    micro_batch_size: int | None
    weights: str | None
    data_files: dict[str, str]
    command: tuple[str, ...]
    recipe: str
    raw: dict[str, Any]


@dataclass
class Records:
    """The records of one experiment; ``unreadable`` names the files that are none."""

    found: list[Found]
    unreadable: list[str]

    def __post_init__(self) -> None:
        self.by_key: dict[str, list[Found]] = {}
        self.by_row: dict[tuple[Any, ...], list[Found]] = {}
        for entry in self.found:
            self.by_key.setdefault(entry.key, []).append(entry)
            self.by_row.setdefault(_row(entry.cell), []).append(entry)


def load(folder: Path) -> Records:
    """Every record in ``folder``."""
    found, unreadable = [], []
    for path in sorted(folder.glob("*.json")) if folder.is_dir() else []:
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            if data["schema"] != SCHEMA:
                raise ValueError
            known = data["provenance"]
            found.append(
                Found(
                    key_of(data["cell"]),
                    data["cell_id"],
                    data["status"],
                    data.get("reason") or "",
                    data["cell"],
                    known.get("initialise_from") if data["cell"].get("initialise_from") else None,
                    data["cell"].get("micro_batch_size"),
                    data["cell"].get("weights"),
                    known.get("data_files") or {},
                    tuple(known.get("command", ())),
                    data["recipe"]["name"],
                    data,
                )
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            unreadable.append(path.name)
    return Records(found, unreadable)


class Comparison:
    """States of planned cells. ``queued``: keys that a cluster holds, with what it says of them."""

    def __init__(self, records: Records, place: Path, run_folder: Path, queued: Mapping[str, str]) -> None:
        self.records, self.place, self.runs, self.queued = records, place, run_folder, queued
        self._hashes: dict[tuple[Any, ...], dict[str, str]] = {}
        names = {p.name for p in place.iterdir()} if place.is_dir() else set()
        self._journals = {n.split(".", 1)[0] for n in names}
        self._done: dict[str, str] = {}  # key of an item -> cell_id of its finished record

    def item(self, planned: Planned, label: str, row: str, seed: int, processes: int) -> Item:
        """``planned`` with its state. Items that others start from have to come before those."""
        state, reason, cell_id = self._state(planned)
        if state == "done" and cell_id is not None:
            self._done[planned.key] = cell_id
        return Item(
            planned.key, label, planned.words, state, reason, cell_id, planned.after, processes, row=row, seed=seed
        )

    def _state(self, planned: Planned) -> tuple[State, str, str | None]:
        if planned.cell is None:
            return "skip", planned.reason, None
        claim = journal.claimed(self.place, planned.key) if planned.key in self._journals else None
        candidates = self._candidates(planned, planned.cell)
        if claim is not None:  # the record that this very item made, where several could be meant
            candidates.sort(key=lambda f: f.cell_id != claim.cell_id)
        changed = ""
        for found in candidates:
            if found.status == "done":
                changed = self._changed_data(planned, found)
                if not changed:
                    return "done", "", found.cell_id
        if claim is not None and _held(self.runs / f"{claim.cell_id}.lock"):
            return "running", f"process {claim.pid} on {claim.host}", claim.cell_id
        if planned.key in self.queued:
            return "queued", self.queued[planned.key], None
        if changed:
            return "stale", changed, None
        failed = next((f for f in candidates if f.status == "failed"), None)
        if failed is not None:
            return "failed", failed.reason, failed.cell_id
        tried = journal.attempts(self.place, planned.key) if planned.key in self._journals else []
        if tried and tried[-1].kind not in ("done", "interrupted"):
            return "failed", tried[-1].reason, None
        why = self._outdated(planned, planned.cell)
        if why:
            return "stale", why, None
        if claim is not None and (self.runs / claim.cell_id / "checkpoints" / "last.pt").is_file():
            return "todo", "goes on from its checkpoint", None
        return "todo", "", None

    def _candidates(self, planned: Planned, cell: Cell) -> list[Found]:
        """The records that are of this cell, as far as can be told without its data."""
        begins = self._begins(planned)
        found = []
        for entry in self.records.by_key.get(key_of(planned.canonical), ()) if self.records.found else ():
            same_start = entry.started_from == begins if begins is not None else entry.started_from is None
            if same_start and entry.micro_batch_size in (None, cell.trainer.micro_batch_size):
                found.append(entry)
        # the last written first: several are there when the data changed
        return sorted(found, key=lambda f: str(f.raw["provenance"].get("finished")), reverse=True)

    def _begins(self, planned: Planned) -> str | None:
        """The cell_id it starts from: "" when that is not known yet, None for a cell that starts afresh."""
        if planned.after is not None:
            return self._done.get(planned.after, "")
        given = planned.settings.initialise_from if planned.settings is not None else None
        return Path(given).name if given is not None else None

    def _changed_data(self, planned: Planned, found: Found) -> str:
        if not found.data_files or planned.cell is None or planned.settings is None:
            return ""
        source = planned.cell.task.source
        where = (planned.settings.data_root, source.benchmark, source.dataset)
        names = tuple(sorted(found.data_files))
        if (*where, names) not in self._hashes:
            self._hashes[*where, names] = _hashes(planned.settings.data_root, where[1:], names)
        now = self._hashes[*where, names]
        other = [n for n, digest in now.items() if digest != found.data_files[n]]
        return f"data changed: {', '.join(other)}" if other else ""

    def _outdated(self, planned: Planned, cell: Cell) -> str:
        """What has changed since a record of this row was made, other than what somebody set: "" if there is none."""
        alike = self.records.by_row.get(_row(planned.canonical), ())
        if not alike:
            return ""
        mine, key, recipe = _flat(planned.canonical), key_of(planned.canonical), cell.recipe.name
        best: list[str] | None = None
        for entry in alike:
            if entry.status != "done" or entry.key == key or (entry.started_from is None) != (not planned.after):
                continue
            theirs = _flat(entry.cell)
            differ = [k for k in mine.keys() | theirs.keys() if mine.get(k) != theirs.get(k)]
            chosen = {w.split("=", 1)[0] for w in (*planned.words, *entry.command)}
            if (entry.recipe != recipe and "recipe" in chosen) or any(k in chosen for k in differ):
                continue  # another cell, not an older state of this one
            if best is None or len(differ) < len(best):
                best = sorted(f"{k} {_short(theirs.get(k))} → {_short(mine.get(k))}" for k in differ)
        if best is None:
            return ""
        return "made with other settings: " + ", ".join(best[:3]) + (" …" if len(best) > 3 else "")


def _row(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    return cell["method"]["name"], cell["task"]["name"], cell["backbone"]["name"], cell["seed"]


def _flat(cell: Mapping[str, Any]) -> dict[str, Any]:
    flat = {}
    for key, value in leaves({k: v for k, v in cell.items() if isinstance(v, Mapping)}).items():
        for theirs, ours in _RENAMED:
            if key.startswith(theirs):
                key = ours + key.removeprefix(theirs)
        flat[key] = value
    return flat


def _short(value: Any) -> str:
    text = "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 24 else text[:23] + "…"


def _held(lock: Path) -> bool:
    """Whether a process holds ``lock`` (it frees it when it dies)."""
    from filelock import FileLock, Timeout

    if not lock.is_file():
        return False
    probe = FileLock(lock, timeout=0)
    try:
        with probe:
            return False
    except Timeout:
        return True
    except OSError:  # a folder we may not write to: nothing can be told
        return False


def _hashes(root: str | None, dataset: Iterable[str], names: tuple[str, ...]) -> dict[str, str]:
    """The files' hashes as `data.Source.hashes` gives them, of those that are there."""
    import hashlib

    found: dict[str, str] = {}
    if root is None:
        return found
    for name in names:
        path = Path(root).joinpath(*dataset, name)
        if path.is_file():
            with open(path, "rb") as handle:
                found[name] = hashlib.file_digest(handle, "sha256").hexdigest()[:16]
    return found


def check_readable(records: Records, folder: Path) -> None:
    """Raise `UserError` for record files that cannot be read: the cells behind them would refuse to run."""
    if records.unreadable:
        raise UserError(
            f"{len(records.unreadable)} record(s) in '{folder}' cannot be read, the first: {records.unreadable[0]}; "
            "remove them and plan again"
        )

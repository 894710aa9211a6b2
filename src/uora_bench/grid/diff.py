"""A grid against what is there: which cells are done, stale, failed, running, or to do.

A cell is found again by `ids.key_of` what its record says it was. Nothing is hashed or loaded but local data files.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from uora_bench.config.cell import Cell
from uora_bench.config.compose import leaves
from uora_bench.config.ids import key_of
from uora_bench.config.run_folders import start_name
from uora_bench.errors import UserError
from uora_bench.grid.data_files import DataFiles
from uora_bench.grid.expand import Planned
from uora_bench.grid.model import Item, State
from uora_bench.records import attempts
from uora_bench.records.record import CellRecord
from uora_bench.util import weights

# what a record calls a setting, by the key that sets it
_SETTING = (("method.options.", "method."), ("task.options.", "task."))


@dataclass(frozen=True)
class Found:
    """A record in the eyes of a plan. ``key``: of the cell that it is of (`ids.key_of`)."""

    record: CellRecord
    key: str

    @property
    def started_from(self) -> str | None:
        """cell_id of the run whose adapter it began with."""
        return self.record.provenance.init_from if self.record.cell.get("init_from") else None

    @functools.cached_property
    def flat(self) -> dict[str, Any]:
        """Every setting by the key that sets it."""
        return settings_of(self.record.cell)


class Records:
    """The records of one experiment."""

    def __init__(self, records: Iterable[CellRecord]) -> None:
        self.found = [Found(record, key_of(record.cell)) for record in records]
        self.by_key: dict[str, list[Found]] = {}
        self.by_row: dict[tuple[Any, ...], list[Found]] = {}
        for entry in self.found:
            self.by_key.setdefault(entry.key, []).append(entry)
            self.by_row.setdefault(_row(entry.record.cell), []).append(entry)


class Matcher:
    """Which records are of which planned cell.

    ``done``: key of a cell -> cell_id of its finished record, as far as it is known; the cells that others start from
    have to be entered before those.
    """

    def __init__(self, records: Records) -> None:
        self.records = records
        self.done: dict[str, str] = {}
        self._paths: dict[str, tuple[str | None, str | None]] = {}

    def candidates(self, planned: Planned, cell: Cell) -> list[Found]:
        """The records that are of this cell, as far as can be told without its data; the last written first."""
        begins = self._begins(planned)
        found = []
        for entry in self.records.by_key.get(key_of(planned.canonical), ()) if self.records.found else ():
            same_start = entry.started_from == begins if begins is not None else entry.started_from is None
            if (
                same_start
                and (entry.record.cell.get("weights"), entry.record.cell.get("files")) == self._hashes(cell)
                and entry.record.cell.get("micro_batch_size") in (None, cell.trainer.micro_batch_size)
            ):
                found.append(entry)
        # the last written first: several are there when the data changed
        return sorted(found, key=lambda f: f.record.provenance.finished or "", reverse=True)

    def record(self, planned: Planned, cell: Cell) -> CellRecord | None:
        """The record of this cell: the last finished one, else the last failed one, else None."""
        found = [entry.record for entry in self.candidates(planned, cell)]
        return next((one for one in found if one.status == "done"), found[0] if found else None)

    def _hashes(self, cell: Cell) -> tuple[str | None, str | None]:
        """The hashes of weights and other files in ``backbone.path``, as a record has them.

        None where there is no path.
        """
        path = cell.backbone.path
        if path is None:
            return None, None
        if path not in self._paths:
            try:
                there = weights.sha256_of(Path(path))
                self._paths[path] = (there, weights.sha256_of_rest(Path(path))) if there else ("none there", None)
            except OSError as error:
                raise UserError(f"backbone.path='{path}': cannot read its weights: {error.strerror}") from None
        return self._paths[path]

    def _begins(self, planned: Planned) -> str | None:
        """The cell_id it starts from: "" when that is not known yet, None for a cell that starts afresh."""
        if planned.after is not None:
            return self.done.get(planned.after, "")
        settings = planned.settings
        if settings is None or settings.init_from is None:
            return None
        return start_name(settings.init_from, Path(settings.runs_dir), settings.experiment_name)


def _lacks(planned: Planned, record: CellRecord) -> str:
    """What is asked for and the finished record has not, though it is that of the cell; "" where it has all."""
    asked = planned.settings is not None and planned.settings.retention_measure
    return "without retention (force=true runs again and measures it)" if asked and record.retention is None else ""


class Comparison:
    """States of planned cells.

    ``attempts_folder``: of the experiment; ``queued``: keys that a cluster holds, with what it says of them.
    """

    def __init__(self, records: Records, attempts_folder: Path, run_folder: Path, queued: Mapping[str, str]) -> None:
        self.matcher, self.runs, self.queued = Matcher(records), run_folder, queued
        self._data = DataFiles()
        self._attempts_folder = attempts_folder
        names = {p.name for p in attempts_folder.iterdir()} if attempts_folder.is_dir() else set()
        self._started = {n.split(".", 1)[0] for n in names}  # keys of items with a lease or attempts

    def item(self, planned: Planned, label: str, row: str, seed: int, processes: int) -> Item:
        """``planned`` with its state. Items that others start from have to come before those."""
        state, reason, cell_id = self._state(planned)
        if state == "done" and cell_id is not None:
            self.matcher.done[planned.key] = cell_id
        return Item(
            planned.key, label, planned.overrides, state, reason, cell_id, planned.after, processes, row=row, seed=seed
        )

    def _state(self, planned: Planned) -> tuple[State, str, str | None]:
        if planned.cell is None:
            return "skip", planned.reason, None
        lease = attempts.read_lease(self._attempts_folder, planned.key) if planned.key in self._started else None
        candidates = self.matcher.candidates(planned, planned.cell)
        if lease is not None:  # the record that this very item made, where several could be meant
            candidates.sort(key=lambda f: f.record.cell_id != lease.cell_id)
        changed = ""
        for found in candidates:
            if found.record.status == "done":
                changed = self._changed_data(planned, found)
                if not changed or self._looked_since(planned):
                    return "done", _lacks(planned, found.record), found.record.cell_id
        if lease is not None and attempts.is_locked(self.runs.parent, self.runs.name, lease.cell_id):
            return "running", f"process {lease.pid} on {lease.host}", lease.cell_id
        if planned.key in self.queued:
            return "queued", self.queued[planned.key], None
        if changed:
            return "stale", changed, None
        failed = next((f.record for f in candidates if f.record.status == "failed"), None)
        if failed is not None:
            return "failed", failed.reason or "", failed.cell_id
        tried = self._attempts(planned)
        if tried and tried[-1].kind not in ("done", "interrupted"):
            return "failed", tried[-1].reason, None
        why = self._outdated(planned, planned.cell)
        if why:
            return "stale", why, None
        if lease is not None and attempts.has_checkpoint(self.runs / lease.cell_id / attempts.CHECKPOINTS):
            return "todo", "resumes from its checkpoint", None
        return "todo", "", None

    def _attempts(self, planned: Planned) -> list[attempts.Attempt]:
        return attempts.read_attempts(self._attempts_folder, planned.key) if planned.key in self._started else []

    def _changed_data(self, planned: Planned, found: Found) -> str:
        if planned.cell is None or planned.settings is None:
            return ""
        other = self._data.changed(planned.cell, planned.settings.data_root, found.record)
        return f"data changed: {', '.join(other)}" if other else ""

    def _looked_since(self, planned: Planned) -> bool:
        """Whether the cell has read its data in their present state and found its record valid.

        A file may have been written anew with the same rows.
        """
        tried = self._attempts(planned)
        if not tried or tried[-1].kind != "done" or planned.cell is None or planned.settings is None:
            return False
        source = planned.cell.task.source
        folder = source.folder(planned.settings.data_root or ".") or Path()
        own = None if source.files is None else Path(source.files.path)
        files = [own] if own is not None and own.is_file() else folder.glob("*")
        begun = datetime.fromisoformat(tried[-1].started).timestamp()
        return all(p.stat().st_mtime < begun for p in files if p.is_file())

    def _outdated(self, planned: Planned, cell: Cell) -> str:
        """What has changed since a record of this row was made, other than what somebody set: "" if there is none."""
        alike = self.matcher.records.by_row.get(_row(planned.canonical), ())
        if not alike:
            return ""
        mine, key, recipe = settings_of(planned.canonical), key_of(planned.canonical), cell.recipe.name
        ours = _chosen(planned.overrides)
        best: tuple[list[str], dict[str, Any]] | None = None
        for entry in alike:
            if entry.record.status != "done" or entry.key == key or (entry.started_from is None) != (not planned.after):
                continue
            theirs = entry.flat
            differ = [k for k in mine.keys() | theirs.keys() if mine.get(k) != theirs.get(k)]
            chosen = ours | _chosen(entry.record.provenance.command)
            another = entry.record.recipe["name"] != recipe and "recipe" in chosen
            if another or any(_by_hand(k, chosen) for k in differ):
                continue  # another cell, not an older state of this one
            if best is None or len(differ) < len(best[0]):
                best = differ, theirs
        if best is None:
            return ""
        keys, theirs = best
        said = sorted(f"{k} {_short(theirs.get(k))} → {_short(mine.get(k))}" for k in keys)
        return "made with other settings: " + ", ".join(said[:3]) + (" …" if len(said) > 3 else "")


def _chosen(words: Iterable[str]) -> set[str]:
    """The keys that ``words`` set, as a record calls them."""
    keys = {w.split("=", 1)[0] for w in words}
    peft = {k.removeprefix("peft.") for k in keys if k.startswith("peft.")}
    return keys | {"method.type" if k == "type" else f"method.fields.{k}" for k in peft}


def _by_hand(key: str, chosen: set[str]) -> bool:
    """Whether a difference in ``key`` was asked for by one of ``chosen``."""
    if key.startswith("backbone.target_modules.") and chosen & {"method.target_modules", "method.only"}:
        return True
    return key in chosen or any(key.startswith(f"{c}.") for c in chosen if "." in c)  # a whole mapping was set


def _row(cell: Mapping[str, Any]) -> tuple[Any, ...]:
    return cell["method"]["name"], cell["task"]["name"], cell["backbone"]["name"], cell["seed"]


def settings_of(cell: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting of a recorded ``cell`` by the key that sets it, as ``method.rank``."""
    flat = {}
    for key, value in leaves({k: v for k, v in cell.items() if isinstance(v, Mapping)}).items():
        for theirs, ours in _SETTING:
            if key.startswith(theirs):
                key = ours + key.removeprefix(theirs)
        flat[key] = value
    return flat


def _short(value: Any) -> str:
    text = "null" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 24 else text[:23] + "…"

"""What a grid keeps beside its records: per item a lease (which cell_id it became, who runs it) and the attempts made.

``<runs_dir>/<experiment>/.grid/<key>.lease.json`` is written by the cell, ``<key>.attempts.json`` by the launcher. They
are for finding things again; what is done is said by the records alone.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uora_bench.errors import UserError
from uora_bench.util import atomic
from uora_bench.util.launched import ITEM as ITEM  # environment: the key of the item that a cell is run for
from uora_bench.util.schema import build, plain

CHECKPOINTS = "checkpoints"  # in the run folder
LAST, PREVIOUS = "last.pt", "previous.pt"  # the states to go on from
PROCESSES = "UORA_PROCESSES"  # environment: how many processes a launcher means to have started for it


@dataclass(frozen=True)
class Lease:
    """Which cell an item became and which process had it last."""

    cell_id: str
    host: str
    pid: int
    started: str


@dataclass(frozen=True)
class Attempt:
    """One start of an item.

    ``kind``: done, interrupted, refused (the user's mistake), error, crash, out_of_memory, time_limit.
    """

    started: str
    seconds: float
    kind: str
    reason: str = ""
    micro_batch_size: int | None = None
    eval_batch_size: int | None = None
    launcher: str = "local"
    shared: bool = False


def has_checkpoint(folder: Path) -> bool:
    """Whether there is a state to go on from, good or not, among the checkpoints in ``folder``."""
    return any((folder / name).is_file() for name in (LAST, PREVIOUS))


def attempts_folder(runs: Path, experiment: str) -> Path:
    """Where the leases and attempts of an experiment are."""
    return runs / experiment / ".grid"  # hidden: `runs/<experiment>/*/` is for the cells


def write_lease(folder: Path, key: str, cell_id: str, started: str) -> None:
    """Say that this process runs item ``key`` as ``cell_id``; ``folder``: `attempts_folder`."""
    mine = Lease(cell_id, socket.gethostname(), os.getpid(), started)
    atomic.write_text(folder / f"{key}.lease.json", json.dumps(plain(mine)) + "\n")


def read_lease(folder: Path, key: str) -> Lease | None:
    """The last lease of item ``key``; None when there is none that can be read."""
    data = _read_json(folder / f"{key}.lease.json")
    try:
        return build(Lease, data) if isinstance(data, dict) else None
    except UserError:
        return None


def read_attempts(folder: Path, key: str) -> list[Attempt]:
    """The attempts made at item ``key``, the first first."""
    data = _read_json(folder / f"{key}.attempts.json")
    try:
        return [build(Attempt, entry) for entry in data] if isinstance(data, list) else []
    except UserError:
        return []


def add_attempt(folder: Path, key: str, attempt: Attempt) -> None:
    """Add ``attempt`` to those of item ``key``."""
    known = [*read_attempts(folder, key), attempt]
    atomic.write_text(folder / f"{key}.attempts.json", json.dumps(plain(known), ensure_ascii=False) + "\n")


def is_locked(runs: Path, experiment: str, cell_id: str) -> bool:
    """Whether a process holds the lock of a cell (the system frees it when that process dies)."""
    from filelock import FileLock, Timeout

    lock = runs / experiment / f"{cell_id}.lock"
    if not lock.is_file():
        return False
    try:
        with FileLock(lock, timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # a folder we may not write to: nothing can be told
        return False


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None

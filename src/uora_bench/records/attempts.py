"""What a grid keeps beside its records: per item a claim (which cell_id it became, who runs it) and the attempts made.

``<runs_dir>/<experiment>/.grid/<key>.claim.json`` is written by the cell, ``<key>.attempts.json`` by the launcher. They
are for finding things again; what is done is said by the records alone.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uora_bench.config.schema import build, plain
from uora_bench.errors import UserError
from uora_bench.util import atomic

ITEM = "UORA_ITEM"  # environment: the key of the item that a cell is run for
LAUNCH = "UORA_LAUNCH"  # environment: JSON of what the record's provenance says about the launch


@dataclass(frozen=True)
class Claim:
    """Which cell an item became and which process had it last."""

    cell_id: str
    host: str
    pid: int
    started: str


@dataclass(frozen=True)
class Attempt:
    """One start of an item. ``kind``: done, interrupted, refused (the user's mistake), error, crash, out_of_memory,
    time_limit."""

    started: str
    seconds: float
    kind: str
    reason: str = ""
    micro_batch_size: int | None = None
    eval_batch_size: int | None = None
    launcher: str = "local"
    shared: bool = False


def folder(runs: Path, experiment: str) -> Path:
    return runs / experiment / ".grid"  # hidden: `runs/<experiment>/*/` is for the cells


def claim(place: Path, key: str, cell_id: str, started: str) -> None:
    """Say that this process runs ``key`` as ``cell_id``."""
    mine = Claim(cell_id, socket.gethostname(), os.getpid(), started)
    atomic.write_text(place / f"{key}.claim.json", json.dumps(plain(mine)) + "\n")


def claimed(place: Path, key: str) -> Claim | None:
    """The last claim of ``key``; None when there is none that can be read."""
    data = _read(place / f"{key}.claim.json")
    try:
        return build(Claim, data) if isinstance(data, dict) else None
    except UserError:
        return None


def attempts(place: Path, key: str) -> list[Attempt]:
    """The attempts made at ``key``, the first first."""
    data = _read(place / f"{key}.attempts.json")
    try:
        return [build(Attempt, entry) for entry in data] if isinstance(data, list) else []
    except UserError:
        return []


def add(place: Path, key: str, attempt: Attempt) -> None:
    """Add ``attempt`` to those of ``key``."""
    known = [*attempts(place, key), attempt]
    atomic.write_text(place / f"{key}.attempts.json", json.dumps(plain(known), ensure_ascii=False) + "\n")


def held(runs: Path, experiment: str, cell_id: str) -> bool:
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


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None

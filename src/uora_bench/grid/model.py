"""What a plan is made of: `Item`, one cell of a grid with its state, and `Plan`, which is written as plan.json.

The launchers know a grid only by these. An item's ``overrides`` are a whole command line of ``uora-bench``, so
that anyone can run one cell of a plan by hand.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from uora_bench.errors import UserError
from uora_bench.grid.power import Power
from uora_bench.records.provenance import DeclaredMargin
from uora_bench.util.json_file import read_json, write_json
from uora_bench.util.schema import plain

SCHEMA = 2
PLAN = "plan.json"
State = Literal["done", "stale", "failed", "running", "queued", "todo", "skip"]
OPEN = ("todo", "stale", "failed")  # what a launcher runs


@dataclass(frozen=True)
class Item:
    """One cell of a grid.

    ``state``: done; stale (a record of it is there, made with other settings, data or versions); failed; running (here
    or elsewhere); queued (in Slurm); todo; skip (the pair cannot be). ``seconds`` and ``memory_bytes`` are estimates
    from records of like cells (``basis`` says which), None without one. ``memory_traced``: the memory is from a trace
    of a training step instead (`memory.predict`).
    """

    key: str  # 16 hex digits: names the cell before its data is read
    label: str
    overrides: tuple[str, ...]
    state: State = "todo"
    reason: str = ""  # of stale, failed, skip; who runs it; "from step 200" where a checkpoint waits
    cell_id: str | None = None  # known once the cell has run
    after: str | None = None  # key of the item whose adapter it starts from
    processes: int = 1
    seconds: float | None = None
    memory_bytes: int | None = None
    memory_traced: bool = False
    basis: str = ""
    row: str = ""  # everything but the seed, for people
    seed: int = 0


@dataclass(frozen=True)
class Plan:
    """A grid, compared with the records there are; ``items`` in the order they are to be launched in.

    ``margin``: what the preset declares to be no difference that matters; ``power``: what the grid can see of others.
    """

    schema: int
    experiment: str
    title: str
    results_dir: str
    runs_dir: str
    items: tuple[Item, ...]
    margin: DeclaredMargin | None = None
    power: tuple[Power, ...] = ()

    @property
    def digest(self) -> str:
        """16 hex digits of what was declared before any result: the cells and the margin. Records keep it."""
        declared = [self.experiment, plain(self.margin), sorted(item.key for item in self.items)]
        return hashlib.sha256(json.dumps(declared, sort_keys=True).encode()).hexdigest()[:16]

    def to_run(self) -> list[Item]:
        """What a launcher starts, in launch order."""
        return [item for item in self.items if item.state in OPEN]

    def in_state(self, *states: State) -> list[Item]:
        """The items in one of ``states``, in launch order."""
        return [item for item in self.items if item.state in states]

    def item(self, key: str) -> Item:
        """The item of ``key``; raises `UserError` when the plan has none."""
        for item in self.items:
            if item.key == key:
                return item
        raise UserError(f"the plan of '{self.experiment}' has no item {key}; plan again")

    @property
    def folder(self) -> Path:
        """Where the grid's own files are: the plan, logs, attempts (``<runs_dir>/<experiment>``)."""
        return Path(self.runs_dir) / self.experiment

    @property
    def records(self) -> Path:
        """The folder of the experiment's records."""
        return Path(self.results_dir) / "records" / self.experiment

    def write(self, path: Path | None = None) -> Path:
        """Write plan.json (to the grid's folder unless told otherwise), whole or not at all."""
        return write_json(path or self.folder / PLAN, self)


def read_plan(path: Path) -> Plan:
    """The plan in ``path``; raises `UserError` for a file that is no plan of this version."""
    return read_json(path, Plan, SCHEMA, "plan", "plan again")


def in_launch_order(items: Iterable[Item]) -> list[Item]:
    """The launch order: one seed of every row before the second.

    A broken row then shows early, and an interrupted grid is a smaller complete one. Within a seed: first those that
    others start from, then the long ones, unknown lengths before known.
    """
    items = list(items)
    seeds = sorted({item.seed for item in items})
    needed = {item.after for item in items if item.after is not None}

    def place(item: Item) -> tuple[int, bool, bool, float]:
        known = item.seconds is not None
        return seeds.index(item.seed), item.key not in needed, known, -(item.seconds or 0.0)

    return sorted(items, key=place)


def with_state(item: Item, state: State, reason: str = "", cell_id: str | None = None) -> Item:
    """``item`` in another state; its cell_id stays where none is given."""
    return replace(item, state=state, reason=reason, cell_id=cell_id or item.cell_id)

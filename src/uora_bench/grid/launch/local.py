"""The queue over one machine's slots: starts a plan's open items, watches them, says how it goes, and leaves cleanly.

Ctrl-C (or SIGTERM) asks every cell to save its checkpoint and leave, a second one ends them; the same command then goes
on. Cells that other processes run (another call of the same grid, another node on a shared file system) are waited for
and taken over if those die.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from uora_bench.errors import Interrupted, UserError
from uora_bench.grid.launch import forks, offline_runs, options, progress
from uora_bench.grid.launch.attempt import Outcome, Policy, Running, finished
from uora_bench.grid.launch.slots import Allocation, Slots, find
from uora_bench.grid.model import Item, Plan
from uora_bench.grid.race import RaceSpec
from uora_bench.records import attempts
from uora_bench.util.words import count

if TYPE_CHECKING:
    from rich.console import Console

EVERY = 0.2  # seconds between two looks at the children
AGAIN = 3.0  # seconds before a cell that another process holds is tried again


@dataclass(frozen=True)
class LocalOptions:
    """configs/launcher/local.yaml, where each is explained."""

    gpus: Any
    slots_per_gpu: int
    cpu_slots: int | None
    threads: int
    fork: bool
    processes: int | None
    minutes: float | None
    retries: int
    grace_seconds: float
    smaller_batches: bool
    rerun_failed: bool
    race: RaceSpec | None

    def __post_init__(self) -> None:
        for name in ("slots_per_gpu", "cpu_slots", "threads", "processes"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise UserError(f"launcher.{name}={value} must be at least 1")
        _ = self.policy  # checks its own

    @property
    def policy(self) -> Policy:
        """When a cell is ended and started again."""
        return Policy(self.minutes, self.retries, self.grace_seconds, self.smaller_batches)


def read_options(given: dict[str, Any]) -> LocalOptions:
    """The local launcher's options; raises `UserError` for one that it does not have."""
    return options.read_launcher_options(LocalOptions, "local", given)


def run(plan: Plan, chosen: LocalOptions, console: Console) -> int:
    """Run what is open in ``plan``. Returns 0 when every cell that can be is done, 1 when some failed.

    Raises:
        UserError: before anything starts, when a cell needs more slots than there are.
        Interrupted: after a signal, when all children have left.
    """
    slots = find(chosen.gpus, chosen.slots_per_gpu, chosen.cpu_slots, chosen.threads)
    queue = [i for i in plan.to_run() if chosen.rerun_failed or i.state != "failed"]
    queue += plan.in_state("running")  # waited for; what Slurm holds is Slurm's
    most = max((item.processes for item in queue), default=1)
    if most > len(slots.devices):
        what = "GPUs" if slots.kind == "gpu" else "slots on cores (launcher.cpu_slots)"
        raise UserError(
            f"a cell wants {most} processes and there are {len(slots.devices)} {what}; lower launcher.processes"
        )
    left = [item for item in plan.items if item.state == "failed" and item not in queue]
    board = progress.Board(plan, slots.total, console)
    grid = _Queue(plan, chosen, slots, queue, board, _fork_server(plan, chosen, slots, queue))
    try:
        with _signals(grid):
            grid.run()
    finally:
        if grid.server is not None:
            grid.server.close()
    failed = [*grid.failed, *((item, Outcome("failed", reason=item.reason)) for item in left)]
    _closing(plan, grid, failed, console)
    if grid.stopped is not None:
        raise Interrupted(grid.stopped)
    return 1 if failed else 0


def _fork_server(plan: Plan, chosen: LocalOptions, slots: Slots, queue: Sequence[Item]) -> forks.ForkServer | None:
    """Where the cells of ``queue`` come from.

    None where each is to be a fresh process: on a GPU, of which a copy may not inherit anything, and where there are
    not two to share the imports.
    """
    single = [item for item in queue if item.processes == 1]
    if not chosen.fork or slots.kind != "cpu" or len(single) < 2 or sys.platform != "linux":
        return None
    try:
        return forks.ForkServer(slots.environment, plan.folder / "logs" / "fork_server.log", forks.MODULES)
    except OSError:  # a full disk, no more processes: each cell says so of itself
        return None


@dataclass
class _Queue:
    plan: Plan
    options: LocalOptions
    slots: Slots
    waiting: list[Item]
    board: progress.Board
    server: forks.ForkServer | None
    running: list[tuple[Running, Allocation]] = field(default_factory=list)
    elsewhere: dict[str, float] = field(default_factory=dict)  # key -> when to look again
    failed: list[tuple[Item, Outcome]] = field(default_factory=list)
    done: int = 0
    stopped: int | None = None  # the signal that asked us to stop
    asked: int = 0  # how many signals have come
    _told: int = 0

    def run(self) -> None:
        with self.board:
            while self.running or (self.waiting and self.stopped is None):
                if self.stopped is None:
                    self._fill()
                if self.asked > self._told:
                    self._tell()
                for entry in list(self.running):
                    outcome = entry[0].poll()
                    if outcome is not None:
                        self._ended(entry, outcome)
                self.board.show([r for r, _ in self.running], self.waiting, self.elsewhere)
                if self.running or self.waiting:
                    time.sleep(EVERY)

    def stop(self, signum: int) -> None:
        """Note a signal: the loop tells the children to leave, at a second one to leave at once.

        (A handler runs wherever the loop is, which may be in the middle of starting or reaping a child.)
        """
        self.stopped = signum
        self.asked += 1

    def _tell(self) -> None:
        first = self._told == 0
        self._told = self.asked
        self.board.say(
            "stopping: the cells save their checkpoints and exit (again: at once)" if first else "ending the cells"
        )
        for running, _ in self.running:
            running.stop()

    def _fill(self) -> None:
        """Put items that can start on free slots, in their order."""
        if self.server is not None and self.server.loading:
            return
        now = time.monotonic()
        for item in list(self.waiting):
            if self.stopped is not None:
                return
            if self.elsewhere.get(item.key, 0.0) > now:
                continue
            if item.after is not None:
                if self._on_its_way(item.after):
                    continue
                if finished(self.plan, item.after) is None:
                    self.waiting.remove(item)
                    self._fail(
                        item, Outcome("failed", "blocked", f"the cell it starts from ({item.after}) is not done")
                    )
                    continue
            if self._held(item):
                self._settle(item, Outcome("busy", reason="another process is running it"))
                continue
            place = self.slots.take(item.processes)
            if place is None:
                return
            running = Running(
                self.plan,
                item,
                self.options.policy,
                place.environment,
                "local",
                place.shared,
                self.board.say,
                self.server,
            )
            self.waiting.remove(item)
            outcome = running.start()
            if outcome is None:
                self.board.started(item, place.name, item.key in self.elsewhere)
                self.running.append((running, place))
            else:
                self.slots.give(place)
                self._settle(item, outcome)

    def _on_its_way(self, key: str) -> bool:
        """Whether this call runs ``key``, or will."""
        return any(item.key == key for item in (*self.waiting, *(running.item for running, _ in self.running)))

    def _held(self, item: Item) -> bool:
        """Whether another process has the cell: known by its lock, without starting a child to find out."""
        runs, name = Path(self.plan.runs_dir), self.plan.experiment
        lease = attempts.read_lease(attempts.attempts_folder(runs, name), item.key)
        return lease is not None and attempts.is_locked(runs, name, lease.cell_id)

    def _ended(self, entry: tuple[Running, Allocation], outcome: Outcome) -> None:
        running, place = entry
        self.running.remove(entry)
        self.slots.give(place)
        self._settle(running.item, outcome)

    def _settle(self, item: Item, outcome: Outcome) -> None:
        if outcome.status in ("busy", "waiting"):
            if item.key not in self.elsewhere:
                self.board.say(f"{item.label}: {outcome.reason}; waiting for it")
            self.elsewhere[item.key] = time.monotonic() + AGAIN
            if item not in self.waiting:
                self.waiting.append(item)
            return
        self.elsewhere.pop(item.key, None)
        if outcome.status == "failed":
            self._fail(item, outcome)
        elif outcome.status == "done":
            self.done += 1
            self.board.ended(item, outcome)

    def _fail(self, item: Item, outcome: Outcome) -> None:
        self.failed.append((item, outcome))
        self.board.ended(item, outcome)


def _closing(plan: Plan, grid: _Queue, failed: list[tuple[Item, Outcome]], console: Console) -> None:
    """What the call did, what failed and where its words are, and the W&B runs that wait to be sent."""

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    done = sum(item.state == "done" for item in plan.items) + grid.done
    skipped = len(plan.in_state("skip"))
    total = len(plan.items) - skipped
    parts = [f"{done} of {count(total, 'cell')} done"]
    if failed:
        parts.append(f"{len(failed)} failed")
    if grid.stopped is not None:
        parts.append(f"{total - done - len(failed)} left")
    say(f"{plan.experiment}: {', '.join(parts)}; records: {plan.records}")
    for item, outcome in failed:
        say(f"  failed: {item.label}: {outcome.reason} ({plan.folder / 'logs' / (item.key + '.log')})")
    for line in offline_runs.lines(plan):
        say(line)


@contextmanager
def _signals(grid: _Queue) -> Iterator[None]:
    """SIGINT and SIGTERM stop ``grid`` while the block runs."""

    def receive(signum: int, frame: FrameType | None) -> None:
        grid.stop(signum)

    before = {s: signal.signal(s, receive) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)

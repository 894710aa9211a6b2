"""One item of a plan in child processes, until it is done or has failed for good.

This module owns how a child is started, watched and ended, what its end means, and whether there is another try. The
local launcher polls many `Running` at once; a Slurm job waits for one with `run_item`.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from uora_bench.config.run_folders import start_name
from uora_bench.errors import UserError
from uora_bench.grid.launch import failure
from uora_bench.grid.launch.forks import ForkServer, Process
from uora_bench.grid.model import Item, Plan
from uora_bench.records import attempts
from uora_bench.records.attempts import Attempt
from uora_bench.records.record import find_record
from uora_bench.util import launched
from uora_bench.util.schema import plain

BUSY = 75  # exit code of a cell that another process is running
_STOPPED = tuple(128 + s for s in (signal.SIGTERM, signal.SIGINT))
_CHILD = str(Path(__file__).with_name("child.py"))


@dataclass(frozen=True)
class Policy:
    """When a child is ended and what follows its end."""

    minutes: float | None = None  # longest time of one start; None: no limit
    retries: int = 1  # further starts after a crash, a hang, or a signal from elsewhere
    grace_seconds: float = 60.0  # between SIGTERM (checkpoint) and SIGKILL
    smaller_batches: bool = True  # out of memory: half the micro-batch, same global batch

    def __post_init__(self) -> None:
        if self.minutes is not None and self.minutes <= 0:
            raise UserError(f"launcher.minutes={self.minutes:g} must be above zero (null: no limit)")
        if self.retries < 0 or self.grace_seconds < 0:
            raise UserError("launcher.retries and launcher.grace_seconds must not be negative")


@dataclass(frozen=True)
class Outcome:
    """How an item ended.

    ``interrupted``: by our own stop; its checkpoint is kept. ``busy``: another process runs it. ``waiting``: the cell
    whose adapter it starts from is not done.
    """

    status: Literal["done", "failed", "interrupted", "busy", "waiting"]
    kind: str = ""
    reason: str = ""
    seconds: float = 0.0
    cell_id: str | None = None


@dataclass
class Running:
    """One item on its way. ``start`` it, ``poll`` until it gives an `Outcome`; ``stop`` asks it to leave."""

    plan: Plan
    item: Item
    policy: Policy
    environment: Mapping[str, str] = field(default_factory=dict)  # added to our own
    launcher: str = "local"
    shared: bool = False  # other cells share its device, so its timings are not its own
    say: Callable[[str], None] = print
    forks: ForkServer | None = None  # where cells come from; None: each is a fresh process

    def __post_init__(self) -> None:
        self.attempts_folder = attempts.attempts_folder(Path(self.plan.runs_dir), self.plan.experiment)
        self.log = self.plan.folder / "logs" / f"{self.item.key}.log"
        self.child: Process | None = None
        self.crashes = 0
        self.stopping = self.timed_out = False
        self._ended: float | None = None  # when SIGTERM was sent
        earlier = [a for a in self._attempts() if a.micro_batch_size is not None]
        # what did not fit in an earlier call will not fit in this one
        chosen = any(w.startswith("trainer.micro_batch_size=") for w in self.item.overrides)  # by the user, who knows
        last = earlier[-1] if earlier and not chosen else None
        self.micro, self.evaluation = (last.micro_batch_size, last.eval_batch_size) if last else (None, None)
        self.begun = time.monotonic()

    def _attempts(self) -> list[Attempt]:
        return attempts.read_attempts(self.attempts_folder, self.item.key)

    # --- a child --------------------------------------------------------------------------------------------------

    def start(self) -> Outcome | None:
        """Start a child; an `Outcome` at once when it cannot be."""
        extra: list[str] = []
        given = [w.split("=", 1)[1] for w in self.item.overrides if w.startswith("init_from=")]
        runs, experiment = Path(self.plan.runs_dir), self.plan.experiment
        self.started_from = start_name(given[-1], runs, experiment) if given else None
        if self.item.after is not None:
            self.started_from = finished(self.plan, self.item.after)
            if self.started_from is None:
                return Outcome("waiting", reason=f"starts from {self.item.after}, which is not done")
            extra.append(f"init_from={self.started_from}")
        if self.micro is not None and self.evaluation is not None:
            extra += [f"trainer.micro_batch_size={self.micro}", *failure.evaluation_words(self.item, self.evaluation)]
        changed = {word.partition("=")[0] for word in extra}
        words = [*(word for word in self.item.overrides if word.partition("=")[0] not in changed), *extra]
        environment = {
            **os.environ,
            **self.environment,
            attempts.ITEM: self.item.key,
            launched.WORDS: launched.words_digest(words),
            attempts.PROCESSES: str(self.item.processes),
            launched.LAUNCH: json.dumps(self.launch_facts()),
            "PYTHONUNBUFFERED": "1",
        }
        command = [*self._command(), *words]
        self.lease = attempts.read_lease(self.attempts_folder, self.item.key)
        self.before = failure.stamp(self.plan, self.lease.cell_id if self.lease is not None else None)
        try:
            self._spawn(command, environment, " ".join(words))
        except OSError as error:  # a full disk, no more processes: this cell's failure, not the grid's
            return Outcome("failed", "crash", f"could not be started: {error}", time.monotonic() - self.begun)
        self.started, self.clock, self._ended, self.timed_out = _now(), time.monotonic(), None, False
        return None

    def launch_facts(self) -> dict[str, Any]:
        """What the record will say of its launch (`records.provenance.Launch`)."""
        launch = {"launcher": self.launcher, "shared": self.shared}
        declared = {"plan": self.plan.digest, "margin": plain(self.plan.margin)}
        retried = [a for a in self._attempts() if a.kind not in ("done", "interrupted")]
        return {**launch, **declared, "earlier_failures": [f"{a.kind}: {a.reason}" for a in retried[-5:]]}

    def _spawn(self, command: list[str], environment: Mapping[str, str], words: str) -> None:
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with open(self.log, "ab") as log:
            log.write(f"--- {_now()} {words}\n".encode())
            log.flush()
            self.offset = log.tell()
            forks = self.forks if self.item.processes == 1 else None
            self.child = forks.start(command, environment, self.log) if forks is not None else None
            if self.child is None:
                # a session of its own: Ctrl-C at the terminal reaches the launcher alone, which then ends it cleanly
                self.child = subprocess.Popen(
                    [sys.executable, _CHILD, str(os.getpid()), *command],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    env=environment,
                    start_new_session=True,
                )

    def _command(self) -> list[str]:
        if self.item.processes == 1:
            return [sys.executable, "-m", "uora_bench"]
        several = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(self.item.processes)]
        return [sys.executable, *several, "-m", "uora_bench"]

    def stop(self) -> None:
        """Ask the child to save its checkpoint and leave; asked twice, it is ended at once."""
        again, self.stopping = self.stopping, True
        if self.child is None or self.child.poll() is not None:
            return
        if again:
            self._kill()
        elif self._ended is None:
            self._terminate()

    def _terminate(self) -> None:
        assert self.child is not None
        self._ended = time.monotonic()
        self.child.terminate()

    def _kill(self) -> None:
        assert self.child is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.child.pid, signal.SIGKILL)
        self.child.wait()

    # --- its end --------------------------------------------------------------------------------------------------

    def poll(self) -> Outcome | None:
        """None while the item is on its way (a new child may have been started); else how it ended."""
        assert self.child is not None
        code = self.child.poll()
        if code is None:
            now = time.monotonic()
            limit = self.policy.minutes
            if self._ended is None and limit is not None and now - self.clock > 60 * limit:
                self.timed_out = True
                self._terminate()
            elif self._ended is not None and now - self._ended > self.policy.grace_seconds:
                self._kill()
            return None
        if self.item.processes > 1:
            self._kill()  # workers that outlived their launcher
        return self._judge(code)

    def _judge(self, code: int) -> Outcome | None:
        lease = attempts.read_lease(self.attempts_folder, self.item.key)
        cell_id = lease.cell_id if lease is not None else None
        if code == 0 and lease is not None and self._finished_it(lease):
            return self._end("done", "done", "", cell_id)
        if code == BUSY:
            return Outcome("busy", reason=failure.last_words(self.log, self.offset).last, cell_id=cell_id)
        fresh = failure.fresh_record(self.plan, cell_id, self.started, self.before)
        several = self.item.processes > 1
        if self.stopping and (code in _STOPPED or code < 0 or (several and fresh is None)):
            return self._end("interrupted", "interrupted", "", cell_id)
        kind, reason = failure.classify(code, failure.last_words(self.log, self.offset), fresh, several)
        if self.timed_out:
            kind, reason = "time_limit", f"not finished after {self.policy.minutes:g} minutes (launcher.minutes)"
        self._note(kind, reason)
        try:
            if fresh is None or self.timed_out:
                failure.write_record(self.plan, self.item, cell_id, kind, reason, self.started_from)
        except OSError as error:
            self.say(f"{self.item.label}: the failed record could not be written: {error}")
        again = self._again(kind)
        if again is None or self.stopping:
            return Outcome("failed", kind, reason, time.monotonic() - self.begun, cell_id)
        self.say(f"{self.item.label}: {reason}; {again}")
        return self.start()

    def _finished_it(self, lease: attempts.Lease) -> bool:
        """Whether this child found or made the finished record that ``lease`` names.

        A child that exits with 0 before it has looked leaves an older lease; one that must make its record again leaves
        an older record.
        """
        if lease == self.lease or finished(self.plan, self.item.key, lease.cell_id) is None:
            return False
        same = self.lease is not None and self.lease.cell_id == lease.cell_id
        old = same and failure.stamp(self.plan, lease.cell_id) == self.before
        return not (old and "force=true" in self.item.overrides)

    def _again(self, kind: str) -> str | None:
        """How the next try will differ, or None when there is to be none."""
        if kind == "out_of_memory" and self.policy.smaller_batches:
            smaller = failure.smaller(self.item, self.micro, self.evaluation)
            if smaller is None:
                return None
            self.micro, self.evaluation = smaller
            return f"again with micro-batches of {self.micro} (the global batch stays)"
        if kind in ("crash", "time_limit") and self.crashes < self.policy.retries:
            self.crashes += 1
            return f"again from its checkpoint (retry {self.crashes} of {self.policy.retries})"
        return None

    def _end(self, status: Literal["done", "interrupted"], kind: str, reason: str, cell_id: str | None) -> Outcome:
        self._note(kind, reason)
        return Outcome(status, kind, reason, time.monotonic() - self.begun, cell_id)

    def _note(self, kind: str, reason: str) -> None:
        seconds = time.monotonic() - self.clock
        entry = Attempt(self.started, seconds, kind, reason, self.micro, self.evaluation, self.launcher, self.shared)
        try:
            attempts.add_attempt(self.attempts_folder, self.item.key, entry)
        except OSError as error:  # a full disk: what is done is in the records, which are not ours
            self.say(f"{self.item.label}: its attempts could not be saved: {error}")


def run_item(running: Running, stop: Callable[[], bool] = lambda: False, every: float = 0.5) -> Outcome:
    """Run one item to its end; ``stop`` is asked every ``every`` seconds whether it shall leave."""
    outcome = running.start()
    asked = False
    while outcome is None:
        time.sleep(every)
        if not asked and stop():
            asked = True
            running.stop()
        outcome = running.poll()
    return outcome


def finished(plan: Plan, key: str, cell_id: str | None = None) -> str | None:
    """The cell_id of item ``key`` if its record says done."""
    if cell_id is None and plan.item(key).state == "done":
        cell_id = plan.item(key).cell_id
    if cell_id is None:
        lease = attempts.read_lease(attempts.attempts_folder(Path(plan.runs_dir), plan.experiment), key)
        cell_id = lease.cell_id if lease is not None else None
    if cell_id is None:
        return None
    try:
        found = find_record(plan.records, cell_id)
    except UserError:
        return None
    return cell_id if found is not None and found.status == "done" else None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

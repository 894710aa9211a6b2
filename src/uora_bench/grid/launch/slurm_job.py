"""What one job of an array does on its node: runs one item of the snapshot's plan, and leaves when Slurm says so.

SIGUSR1 or SIGUSR2 (the time limit is near, or a preemption), and a SIGTERM that does not end the job, make the cell
save its checkpoint; the job is then requeued and goes on from it. A SIGTERM with which Slurm ends the job (scancel,
requeue) makes it save and leave, and what comes next is Slurm's affair.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from uora_bench.errors import CellError, UserError
from uora_bench.grid import model
from uora_bench.grid.launch import failure
from uora_bench.grid.launch.attempt import Outcome, Policy, Running, finished, run_item
from uora_bench.records import attempts
from uora_bench.util import streams

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

_REQUEUE = (signal.SIGUSR1, signal.SIGUSR2)
_LOOK = 2.0  # seconds between two tries at a cell that another process still holds


@dataclass
class SlurmJob:
    """The picklable function of one job.

    ``patience``: seconds to wait for a process that still holds the cell, such as one left over from a node that was
    lost.
    """

    snapshot: Path
    key: str
    policy: Policy
    environment: Mapping[str, str]
    patience: float = 90.0

    def __call__(self) -> str:
        """Run the cell to its record; returns its cell_id.

        Raises:
            CellError: the cell failed (its record says why), or could not be started; Slurm then says FAILED.
        """
        streams.guard()  # a log on a full disk must not cost a finished cell
        plan = model.read_plan(self.snapshot / model.PLAN)
        item = plan.item(self.key)
        told = _Told()
        requeue = told.install()
        running = Running(plan, item, self.policy, self.environment, "slurm")
        outcome = self._run(running, told)
        if told.signum is not None and outcome.status == "interrupted":
            if told.signum in _REQUEUE or _still_running():
                self._requeue(requeue, running)  # does not return
            sys.exit(128 + told.signum)
        if outcome.status == "waiting":
            note_failure(plan, item, None, "blocked", outcome.reason)
        if outcome.status != "done":
            raise CellError(f"{item.label}: {outcome.reason or outcome.status}")
        print(f"done: {item.label} [{outcome.cell_id}]", flush=True)
        return str(outcome.cell_id)

    def checkpoint(self) -> DelayedSubmission:
        """What runs after a requeue: the same; the state is in the cell's own checkpoint. submitit calls this."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self)

    def _run(self, running: Running, told: _Told) -> Outcome:
        end = time.monotonic() + self.patience
        outcome = run_item(running, told.asked)
        while outcome.status == "busy" and time.monotonic() < end and not told.asked():
            time.sleep(_LOOK)
            outcome = run_item(running, told.asked)
        return Outcome("interrupted") if outcome.status == "busy" and told.asked() else outcome

    def _requeue(self, requeue: Callable[[int, Any], Any], running: Running) -> None:
        """Have submitit count, save and requeue; a cell that has used up its requeues has failed."""
        from submitit.core.utils import UncompletedJobError

        try:
            requeue(signal.SIGUSR2, None)
        except UncompletedJobError as error:
            lease = attempts.read_lease(running.attempts_folder, self.key)
            reason = "not finished after the last requeue at the time limit (launcher.minutes, launcher.requeues)"
            note_failure(running.plan, running.item, lease.cell_id if lease else None, "time_limit", reason)
            raise CellError(f"{running.item.label}: {reason}") from error


class _Told:
    """The signal that asked this job to leave, if one has."""

    def __init__(self) -> None:
        self.signum: int | None = None

    def install(self) -> Callable[[int, Any], Any]:
        """Note signals from now on; returns submitit's handler, which requeues."""
        from submitit.core.job_environment import JobEnvironment

        before = signal.getsignal(getattr(signal, f"SIG{JobEnvironment.USR_SIG}"))
        if not callable(before):
            raise UserError("a Slurm job is started by submitit: python -m submitit.core._submit <folder>")
        for signum in (*_REQUEUE, signal.SIGTERM):
            signal.signal(signum, self._receive)
        # Slurm signals every process of the job, and USR1 would end the cell before it could save. A blocked signal
        # stays blocked in children, so the cell hears only the SIGTERM we send it.
        signal.pthread_sigmask(signal.SIG_BLOCK, _REQUEUE)
        return before

    def asked(self) -> bool:
        """Whether the job shall leave."""
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _REQUEUE)  # what waits is received here
        signal.pthread_sigmask(signal.SIG_BLOCK, _REQUEUE)
        return self.signum is not None

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        # the time limit's USR2 may be followed by the SIGTERM of the requeue it led to: the first one counts
        if self.signum is None:
            self.signum = signum
            print(f"received {signal.Signals(signum).name}: the cell saves its checkpoint", flush=True)


def _still_running() -> bool:
    """Whether Slurm means this job to go on (False: it is being ended, or nothing can be learnt)."""
    from uora_bench.grid import slurm_queue

    try:
        return slurm_queue.state_of(os.environ["SLURM_JOB_ID"]) == "RUNNING"
    except (KeyError, UserError) as error:
        print(f"not requeued, because the job's state is unknown: {error}", flush=True)
        return False


def note_failure(plan: model.Plan, item: model.Item, cell_id: str | None, kind: str, reason: str) -> None:
    """Leave a failed record (where the cell_id is known) and a line among the item's attempts."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    folder = attempts.attempts_folder(Path(plan.runs_dir), plan.experiment)
    attempts.add_attempt(folder, item.key, attempts.Attempt(now, 0.0, kind, reason, launcher="slurm"))
    failure.write_record(plan, item, cell_id, kind, reason, finished(plan, item.after) if item.after else None)

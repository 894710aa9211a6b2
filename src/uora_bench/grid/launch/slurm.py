"""launcher=slurm: submit a plan's open items as job arrays, and say later what became of them.

What was submitted is in `slurm_queue`'s jobs.jsonl, what the jobs run in a `snapshot`; this module owns the way there
(sbatch through submitit) and the reports ``status=true`` and ``collect=true``. A job itself is `slurm_job.SlurmJob`.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.config import plugins
from uora_bench.errors import UserError
from uora_bench.grid import slurm_queue
from uora_bench.grid.launch import offline_runs, snapshot
from uora_bench.grid.launch import options as launcher_options
from uora_bench.grid.launch.attempt import BUSY, Policy
from uora_bench.grid.launch.slurm_job import SlurmJob, note_failure
from uora_bench.grid.model import Item, Plan
from uora_bench.grid.slurm_queue import Ended, Submitted, queued

if TYPE_CHECKING:
    from rich.console import Console

    from uora_bench.grid.request import GridRequest

LOG = "log"  # below the slurm folder: scripts, pickles and output of the jobs
_SPARE = 30.0  # seconds a job waits beyond the grace for a process that still holds its cell
# how a job can end without its cell having said anything: what that is called in the failed record
_FAILURES = {
    "TIMEOUT": "time_limit",
    "DEADLINE": "time_limit",
    "OUT_OF_MEMORY": "out_of_memory",
    "NODE_FAIL": "crash",
    "BOOT_FAIL": "crash",
    "FAILED": "crash",
}


@dataclass(frozen=True)
class SlurmOptions:
    """configs/launcher/slurm.yaml, where each is explained."""

    partition: str | None
    account: str | None
    qos: str | None
    constraint: str | None
    gpus: int
    cpus: int
    mem_gb: float | None
    minutes: int
    parallel: int | None
    array_size: int
    processes: int | None
    setup: tuple[str, ...]
    offline: bool
    signal_seconds: int
    requeues: int
    retries: int
    grace_seconds: float
    smaller_batches: bool
    rerun_failed: bool
    extra: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, least in (("gpus", 0), ("cpus", 1), ("minutes", 1), ("array_size", 1), ("requeues", 0)):
            if getattr(self, name) < least:
                raise UserError(f"launcher.{name}={getattr(self, name)} must be at least {least}")
        for name in ("parallel", "processes"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise UserError(f"launcher.{name}={getattr(self, name)} must be at least 1 (or null)")
        if self.mem_gb is not None and self.mem_gb <= 0:
            raise UserError(f"launcher.mem_gb={self.mem_gb:g} must be above zero (null: the cluster's default)")
        if not self.grace_seconds < self.signal_seconds:
            raise UserError(
                f"launcher.grace_seconds={self.grace_seconds:g} must be below launcher.signal_seconds="
                f"{self.signal_seconds}: a cell has to be gone before Slurm ends the job"
            )
        if not self.signal_seconds < 60 * self.minutes:
            raise UserError(
                f"launcher.signal_seconds={self.signal_seconds} leaves no time to run in launcher.minutes="
                f"{self.minutes}; lower it, or raise the limit"
            )

    @property
    def policy(self) -> Policy:
        """When a cell is ended and started again within its job."""
        return Policy(None, self.retries, self.grace_seconds, self.smaller_batches)  # the time limit is Slurm's


def read_options(given: Mapping[str, Any]) -> SlurmOptions:
    """The Slurm launcher's options; raises `UserError` for one that it does not have."""
    given = dict(given)
    for key in ("partition", "account", "qos", "constraint"):
        if isinstance(given.get(key), (int, float)) and not isinstance(given[key], bool):
            given[key] = str(given[key])  # an account that looks like a number
    return launcher_options.read_launcher_options(SlurmOptions, "slurm", given)


def command(request: GridRequest, console: Console) -> int:
    """Plan ``request`` and submit it; returns the exit code 0."""
    options = read_options(request.options)
    runs, name = _place(request)
    with _only_one(slurm_queue.folder(runs, name)):
        plan, notes = _plan(request, options, runs, name)
        path = plan.write()
        _show(plan, [*notes, f"plan: {path}"], console)
        jobs = submit(plan, options)
    for line in _submitted_lines(plan, jobs):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    return 0


def submit(plan: Plan, options: SlurmOptions) -> list[tuple[Item, str]]:
    """Submit the open items of ``plan`` in its order; returns each with its job's id.

    Items that start from another cell's adapter are in arrays that wait for it.

    Raises:
        UserError: without submitit, without Slurm, or when sbatch refuses.
    """
    items = [i for i in plan.to_run() if options.rerun_failed or i.state != "failed"]
    if not items:
        return []
    if Path(plan.runs_dir).is_dir() and not os.access(plan.runs_dir, os.W_OK):
        raise UserError(f"cannot write to '{plan.runs_dir}'; set runs.dir= to a folder that the nodes see too")
    place = slurm_queue.folder(Path(plan.runs_dir), plan.experiment).absolute()
    executor = _executor(place / LOG, options)
    copy = snapshot.take(plan)
    earlier = {key: job.job for key, job in slurm_queue.submitted(place).items()}
    held = {i.key for i in plan.in_state("queued", "running")}
    known = {key: job for key, job in earlier.items() if key in held}
    done: list[tuple[Item, str]] = []
    for wave in _waves(items):
        needed = sorted({known[i.after] for i in wave if i.after is not None and i.after in known})
        for start in range(0, len(wave), options.array_size):
            part = wave[start : start + options.array_size]
            ids = _submit_array(executor, part, copy, plan.experiment, needed, options)
            now = datetime.now(UTC).isoformat(timespec="seconds")
            pairs = list(zip(part, ids, strict=True))
            slurm_queue.add(place, [Submitted(item.key, job, str(copy), now) for item, job in pairs])
            known |= {item.key: job for item, job in pairs}
            done += pairs
    return done


def _waves(items: Sequence[Item]) -> Iterator[list[Item]]:
    """``items`` in groups: each item in a later group than the one it starts from, if that is among them."""
    left = list(items)
    while left:
        keys = {item.key for item in left}
        wave = [item for item in left if item.after not in keys]
        if not wave:
            raise UserError("the cells of this plan start from one another in a circle")
        yield wave
        left = [item for item in left if item.after in keys]


def _executor(folder: Path, options: SlurmOptions) -> Any:
    try:
        from submitit import SlurmExecutor
    except ImportError:
        raise UserError("launcher=slurm needs submitit: pip install 'uora_bench[slurm]'") from None
    slurm_queue.ask("sbatch", "--version")
    return SlurmExecutor(folder=folder, max_num_timeout=options.requeues)


def _submit_array(
    executor: Any, items: Sequence[Item], copy: Path, name: str, needed: Sequence[str], options: SlurmOptions
) -> list[str]:
    from submitit.core.utils import FailedSubmissionError, UncompletedJobError

    processes = max(item.processes for item in items)
    cpus = options.cpus * processes
    additional = {"requeue": True, "chdir": str(copy), **options.extra}
    parameters = {
        "job_name": f"uora-{name}",
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "constraint": options.constraint,
        "time": options.minutes,
        "nodes": 1,
        "ntasks_per_node": 1,
        "cpus_per_task": cpus,
        "gpus_per_node": options.gpus * processes or None,
        "mem": f"{round(options.mem_gb * 1024)}MB" if options.mem_gb is not None else None,
        "array_parallelism": options.parallel or len(items),
        "signal_delay_s": options.signal_seconds,
        "dependency": "afterany:" + ":".join(needed) if needed else None,
        "wckey": None,
        "setup": [*options.setup, *_of_snapshot(copy)],
        "srun_args": [f"--cpus-per-task={cpus}"],  # srun does not take it from sbatch
        "additional_parameters": additional,
    }
    executor.parameters.clear()
    executor.update_parameters(**parameters)
    environment = _environment(options)
    patience = options.grace_seconds + _SPARE
    functions = [SlurmJob(copy, item.key, options.policy, environment, patience) for item in items]
    try:
        with _outside_of_jobs():
            return [job.job_id for job in executor.submit_array(functions)]
    except (UncompletedJobError, FailedSubmissionError) as error:
        words = [line for line in str(error).splitlines() if "sbatch: error" in line] or str(error).splitlines()[-1:]
        raise UserError(f"Slurm refused the jobs: {' '.join(words)[:300]}; see the keys of launcher=slurm") from None


@contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Hide the variables of a job we may be in (an interactive one): sbatch would hand them on to the new jobs."""
    inside = "SLURM_JOB_ID" in os.environ
    hidden = {k: v for k, v in os.environ.items() if inside and k.startswith("SLURM_") and k != "SLURM_CONF"}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def _of_snapshot(copy: Path) -> list[str]:
    """Shell lines: the package and the plug-ins are those of the snapshot."""
    return [
        f"export PYTHONPATH={shlex.quote(str(copy / 'src'))}${{PYTHONPATH:+:$PYTHONPATH}}",
        f"export {plugins.VARIABLE}={shlex.quote(snapshot.plugin_folders(copy))}",
    ]


def _environment(options: SlurmOptions) -> dict[str, str]:
    found = {"HF_HUB_OFFLINE": "1"} if options.offline else {}
    if not options.gpus:  # a node may have some that nobody hides
        found["CUDA_VISIBLE_DEVICES"] = ""
    if "OMP_NUM_THREADS" not in os.environ:  # else sbatch hands the user's own on
        found["OMP_NUM_THREADS"] = str(options.cpus)
    return found


# --- what is there ----------------------------------------------------------------------------------------------------


def _place(request: GridRequest) -> tuple[Path, str]:
    from uora_bench.grid import expand

    settings = next(p.settings for p in expand.expand_request(request).items if p.settings is not None)
    return Path(settings.runs_dir), settings.experiment_name


def _plan(request: GridRequest, options: SlurmOptions | None, runs: Path, name: str) -> tuple[Plan, list[str]]:
    from uora_bench.grid import build, show

    plan, cells = build.build(request, options.processes if options else None, queued(runs, name))
    duplicates = show.duplicates(cells.duplicates)
    return plan, [duplicates] if cells.duplicates else []


def _show(plan: Plan, notes: list[str], console: Console) -> None:
    from uora_bench.grid import show

    show.show(plan, notes, console)


@contextmanager
def _only_one(place: Path) -> Iterator[None]:
    """Hold the right to submit: two calls at once would both submit what neither sees in the queue yet."""
    from filelock import FileLock, Timeout

    try:
        place.mkdir(parents=True, exist_ok=True)
        lock = FileLock(place / "submit.lock", timeout=0)
        lock.acquire()
    except Timeout:
        raise UserError("another process is submitting this experiment; wait for it") from None
    except OSError as error:
        raise UserError(f"cannot write to '{place}': {error.strerror}; set runs.dir=") from None
    try:
        yield
    finally:
        lock.release()


def _submitted_lines(plan: Plan, jobs: Sequence[tuple[Item, str]]) -> list[str]:
    if not jobs:
        return ["nothing to submit"]
    arrays = list(dict.fromkeys(job.split("_")[0] for _, job in jobs))
    many = "s" if len(jobs) > 1 else ""
    return [
        f"submitted {len(jobs)} cell{many} to Slurm (job {', '.join(arrays)}); to end them: scancel {' '.join(arrays)}",
        "how they stand: the same command with status=true; what became of them: collect=true; "
        f"logs: {plan.folder / 'logs'}",
    ]


def report(request: GridRequest, collect: bool, console: Console) -> int:
    """Say how ``request`` stands.

    Returns the exit code: 0; with ``collect``, which keeps what became of its jobs, 1 when cells failed or are missing
    and 75 while Slurm holds some.
    """
    options = read_options(request.options) if request.launcher == "slurm" else None
    runs, name = _place(request)
    plan, _ = _plan(request, options, runs, name)
    place = slurm_queue.folder(runs, name)
    jobs = slurm_queue.submitted(place)
    ended, notes = _ended(plan, jobs)
    notes += [_tell(item, jobs[item.key], ended.get(jobs[item.key].job), place) for item in _lost(plan, jobs)]
    if collect:
        for item in _lost(plan, jobs):
            _note(plan, item, jobs[item.key], ended.get(jobs[item.key].job))
        plan, _ = _plan(request, options, runs, name)
        notes += offline_runs.lines(plan)
    _show(plan, notes, console)
    if not collect:
        return 0
    if plan.in_state("queued", "running"):
        return BUSY
    return 1 if plan.to_run() else 0


def _lost(plan: Plan, jobs: Mapping[str, Submitted]) -> list[Item]:
    """Items that were submitted, have no finished record, and are no longer with Slurm."""
    return [item for item in plan.to_run() if item.key in jobs]


def _ended(plan: Plan, jobs: Mapping[str, Submitted]) -> tuple[dict[str, Ended], list[str]]:
    """How the jobs of lost items ended, and a line where accounting cannot say (a cluster may have none)."""
    lost = [jobs[item.key].job for item in _lost(plan, jobs)]
    try:
        return (slurm_queue.ended(lost) if lost else {}), []
    except UserError as error:
        return {}, [f"how jobs ended is not known: {error}"]


def _tell(item: Item, job: Submitted, end: Ended | None, place: Path) -> str:
    """One line about an item whose job is over and left no finished record."""
    state = end.state if end is not None else "unknown to Slurm's accounting"
    why = f": {item.reason}" if item.state == "failed" else ""
    kept = "; submit it again to resume" if state in ("CANCELLED", "PREEMPTED") else ""
    log = place / LOG / f"{job.job}_0_log.err"
    return f"  {item.label}: job {job.job} {state}{why}{kept} ({log})"


def _note(plan: Plan, item: Item, job: Submitted, end: Ended | None) -> None:
    """Leave a failed record for a job that Slurm ended before the cell could say anything."""
    if item.state == "failed" or end is None or end.state not in _FAILURES:
        return
    from uora_bench.records import attempts

    lease = attempts.read_lease(attempts.attempts_folder(Path(plan.runs_dir), plan.experiment), item.key)
    reason = f"Slurm ended job {job.job} after {end.elapsed}: {end.state} (exit code {end.exit_code})"
    note_failure(plan, item, lease.cell_id if lease is not None else None, _FAILURES[end.state], reason)

"""The life of one cell: record exists? stop → data → backbone → inject → count → train → merge check → save → record.

This module owns the order and what happens when a step fails; each step's work is elsewhere.
"""

from __future__ import annotations

import os
import shutil
import time
import traceback
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.config.cell import HELD_OUT, Cell
from uora_bench.config.compose import COMMAND_LINE, Composed
from uora_bench.config.ids import fingerprint_of
from uora_bench.config.preflight import check_places, preflight
from uora_bench.errors import Busy, CellError, Interrupted, UserError, failure_kind, place_of
from uora_bench.execution import artifacts, fitting
from uora_bench.execution.job import Job
from uora_bench.metrics import lacking
from uora_bench.records import attempts, provenance
from uora_bench.records.record import CellRecord, content_id, find_record, record_path
from uora_bench.util import launched, words
from uora_bench.util.atomic import FULL
from uora_bench.util.hashes import file_sha256
from uora_bench.util.launched import is_main
from uora_bench.util.log import LOG
from uora_bench.util.secrets import scrub
from uora_bench.util.signals import StopRequest
from uora_bench.util.timing import Stopwatch

if TYPE_CHECKING:
    from uora_bench.methods.base import Method

_FORCED = ".forced"


@dataclass(frozen=True)
class Ended:
    """How a call ended. ``code``: 0 done (or already done), 1 failed; ``records``: the folder of the record."""

    code: int
    cell_id: str
    records: Path

    def record(self) -> CellRecord | None:
        """The cell's record; None where none could be written."""
        return find_record(self.records, self.cell_id)


def run_cell(composed: Composed, overrides: list[str], stop: StopRequest, started: float | None = None) -> Ended:
    """Run the cell of ``composed``, which ``overrides`` asked for, to its record.

    ``started``: `time.perf_counter` when the process began, where that was before this call.

    Raises:
        UserError: the user's mistake; nothing was changed.
        Interrupted: a signal arrived; the checkpoint is kept.
    """
    started = time.perf_counter() if started is None else started
    cell, settings = composed.cell, composed.settings
    preflight(cell)
    check_places(settings, cell.task)
    if (shorter := _steps_over_epochs(composed)) is not None:
        LOG.warning(shorter)
    from uora_bench.data import picture_check, sources
    from uora_bench.methods import create_method
    from uora_bench.models import backbones
    from uora_bench.tasks import create_task
    from uora_bench.training import precision

    watch = Stopwatch()
    method, task = create_method(cell.method, cell.seed), create_task(cell.task)
    watch.add("import", time.perf_counter() - started)
    precision.resolve(cell.trainer.precision)  # an impossible one is known before any download
    backbones.locate(cell.backbone)  # and so is one that is not there
    start_adapter = artifacts.warm_start_file(settings, cell.method)
    if start_adapter is not None:
        cell = replace(cell, init_from=file_sha256(start_adapter))
    if cell.method.acts_in_forward:
        cell = replace(cell, micro_batch_size=cell.trainer.micro_batch_size)
    if cell.backbone.path is not None:  # a name and a revision say nothing of weights somebody put in a folder
        files = backbones.files_sha256(cell.backbone)
        cell = replace(cell, weights=backbones.weights_sha256(cell.backbone), files=files)
    if cell.task.metric.script is not None:
        cell = replace(cell, metric=file_sha256(cell.task.metric.script))
    with watch.measure("data"):
        source = sources.Source(Path(settings.data_root) if settings.data_root else None)
        loaded = task.splits(source)
        rows = _held_out(task.sample(loaded, cell.seed), cell)
        fingerprints = {role: sources.fingerprint(r) for role, r in rows.items()}
    for role, content in fingerprints.items():
        LOG.debug(f"rows for {role}: {len(rows[role])}, fingerprint {content}")
    cell_id = cell.cell_id(fingerprint_of(fingerprints))
    job = Job(cell, settings, composed, cell_id, fingerprints, rows, task, overrides, started, {}, watch)
    _check_expected(job)
    job.check_secrets()
    if _already_done(job):
        return Ended(0, cell_id, job.record_folder)
    with watch.measure("import"):
        _ = task.scorer  # one that cannot be loaded is known before training
    for value, reason in lacking(cell.task.metric.name).items():
        LOG.warning(f"note: {value} will be missing: {reason}")
    with watch.measure("record"):
        job.facts |= provenance.collect()
        job.facts["data_files"] = source.hashes(cell.task.source, cell.task.to_load.values())
        job.facts["data_rows"] = source.row_hashes(cell.task.source, cell.task.to_load.values())
        job.facts["rows_from"] = source.origin(cell.task.source, cell.task.to_load.values())
    made = [folder for folder in (job.folder, job.record_folder) if not folder.exists()]
    job.facts["started"] = datetime.now(UTC).isoformat(timespec="seconds")
    if start_adapter is not None:
        job.facts["init_from"] = start_adapter.parent.name
    for folder in (job.folder, job.record_folder):  # found out now, not after hours of training
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to '{folder}': {error.strerror}; set runs.dir= and results.dir=") from None
        if not os.access(folder, os.W_OK):
            raise UserError(f"cannot write to '{folder}'; set runs.dir= and results.dir= to folders you may write to")
    try:
        with watch.measure("data"):
            task.check_files(loaded, Path(settings.runs_dir) / picture_check.FOLDER)
        with ExitStack() as held:
            if is_main():
                _lock(job, held)
            return Ended(_run_locked(job, method, start_adapter, stop), cell_id, job.record_folder)
    except UserError:  # a mistake that only the data or the weights could tell: nothing was begun
        for folder in made:
            with suppress(OSError):  # there is something in it
                folder.rmdir()
        raise


def _held_out(rows: dict[str, Any], cell: Cell) -> dict[str, Any]:
    """``rows`` with the held-out part split off the training set, where the cell asks for one."""
    from uora_bench.data import sources

    if not cell.holdout:
        return rows
    rest, held = sources.hold_out(rows["train"], cell.holdout, cell.seed)
    train = rows["train"] if cell.method.holdout_stays else rest
    if not len(train):
        raise UserError(f"holdout={cell.holdout:g} leaves no row to train on; take a smaller share (trainer.holdout)")
    return {**rows, "train": train, HELD_OUT: held}


def _steps_over_epochs(composed: Composed) -> str | None:
    """What to say where a recipe's number of steps makes an asked number of epochs have no effect."""
    steps, sources = composed.cell.trainer.max_steps, composed.sources
    theirs = sources.get("trainer.max_steps", "")
    if steps is None or theirs == COMMAND_LINE or sources.get("trainer.epochs") != COMMAND_LINE:
        return None
    source = f"{theirs}: {composed.legend[theirs]}" if theirs in composed.legend else theirs
    return (
        f"note: trainer.max_steps={steps} ({source}) ends training, and trainer.epochs has no effect; set "
        "trainer.max_steps=null"
    )


class OtherCell(UserError):
    """The call makes another cell than ``expect_cell_id`` says."""


def _check_expected(job: Job) -> None:
    """Raise `OtherCell` where the call is to make another cell than it does."""
    expected = job.settings.expect_cell_id
    if expected in (None, job.cell_id):
        return
    raise OtherCell(
        f"this is cell {job.cell_id}, not {expected} (expect_cell_id): its settings, data or weights are not those of "
        f"the record; here: {inputs(job.fingerprints, job.cell.weights)}"
    )


def inputs(data: Mapping[str, str], weights: str | None) -> str:
    """What a cell was made from, for people: hashes of its rows by role, and of ``weights`` of the user's own."""
    facts = [f"{role} rows {digest}" for role, digest in data.items()]
    return ", ".join([*facts, *([f"weights sha256 {weights[:12]}…"] if weights else [])])


def _already_done(job: Job) -> bool:
    """Whether a finished record makes this call unnecessary; says so."""
    if job.settings.force:
        return False
    done = find_record(job.record_folder, job.cell_id)
    if done is None or done.status != "done":
        return False
    if content_id(done.cell, done.provenance.data) != job.cell_id:
        raise UserError(
            f"the record '{record_path(job.record_folder, job.cell_id)}' does not match its name: it was "
            "changed by hand; move it out of the folder and run the same command again"
        )
    (job.folder / _FORCED).unlink(missing_ok=True)
    if is_main():
        path = record_path(job.record_folder, job.cell_id)
        print(f"already done: {summary(done)}\n  {path} (force=true reruns)")
        if job.settings.retention_measure and done.retention is None:
            LOG.warning("note: this record has no retention; force=true runs the cell again and measures it")
        if launched.item_key(job.overrides) is not None:
            _write_lease(job)
    return True


def _write_lease(job: Job) -> None:
    """Say which cell an item of a grid became, so that the grid finds it by its key."""
    item = launched.item_key(job.overrides)
    if job.cell.init_from is None or item is not None:
        key = item or job.cell.key
        folder = attempts.attempts_folder(Path(job.settings.runs_dir), job.settings.experiment_name)
        attempts.write_lease(folder, key, job.cell_id, datetime.now(UTC).isoformat(timespec="seconds"))


def _lock(job: Job, held: ExitStack) -> None:
    """Hold the cell against other processes; the system frees the locks when this one dies."""
    from filelock import FileLock, Timeout

    # one beside the run folder (force=true empties the folder itself), one beside the record: either may be shared
    for path in (job.folder.with_suffix(".lock"), job.record_folder / f".{job.cell_id}.lock"):
        try:
            held.enter_context(FileLock(path, timeout=0.5))  # a plan that looks holds it for a moment
        except Timeout:
            raise Busy(
                f"cell {job.cell_id} is being run by another process (lock '{path}'); wait for it, or stop it first"
            ) from None
    _write_lease(job)
    for rest in job.folder.rglob(".*.tmp"):  # of a process killed while it wrote
        rest.unlink(missing_ok=True)


def _run_locked(job: Job, method: Method, start_adapter: Path | None, stop: StopRequest) -> int:
    if _already_done(job):  # between our look and our lock
        return 0
    if job.settings.force and is_main() and not (job.folder / _FORCED).exists():
        # the mark makes a killed force=true run resume, not start over, when the same command is given again
        shutil.rmtree(job.folder, ignore_errors=True)
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / _FORCED).touch()
    try:
        finished = fitting.fit(job, method, start_adapter, stop)
    except (UserError, Interrupted):
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, the cell failed and the record says why
        if stop.signum is not None and failure_kind(error) == "crash":  # another process, told to stop too, left first
            raise Interrupted(stop.signum) from None
        return _fail(job, error)
    (job.folder / _FORCED).unlink(missing_ok=True)
    if finished is not None:
        path = record_path(job.record_folder, job.cell_id)
        print(f"{summary(finished)}\n  {_spent(finished)}\n  record {path}")
    return 0


def _fail(job: Job, error: Exception | SystemExit) -> int:
    expected = isinstance(error, CellError) or _is_full(error) or failure_kind(error) == "out_of_memory"
    reason = str(error) if isinstance(error, CellError) else f"{type(error).__name__}: {error}"
    reason += "" if expected else f" ({place_of(error)})"
    for folder in (job.settings.runs_dir, job.settings.results_dir, job.settings.data_root or ""):
        reason = reason.replace(str(Path(folder).absolute()), "…").replace(folder, "…") if folder else reason
    if _is_full(error):
        what = "the disk is full, or takes no larger file (ulimit -f)"
        reason = f"{what}; make room below runs.dir and results.dir, and run the command again ({reason})"
    reason = " ".join(scrub(reason).split())[:500]
    rank = os.environ.get("RANK", "0")
    LOG.error(f"the cell failed: {reason}" if is_main() else f"process {rank} failed: {reason}")
    trace = scrub(traceback.format_exc())
    if os.environ.get("UORA_DEBUG"):
        LOG.error(trace)
    try:  # the record first: the run folder, where the trace goes, may be on the disk that is full
        if is_main():
            failure = {"kind": failure_kind(error), "smaller_batch": not job.cell.method.acts_in_forward}
            job.record("failed", reason=reason, provenance={"failure": failure}).write(job.record_folder)
            (job.folder / _FORCED).unlink(missing_ok=True)
    except (OSError, ValueError, UserError) as second:  # a full disk, most likely: the message above is then all
        LOG.error(f"the failed record could not be written: {scrub(str(second))}")
    try:
        (job.folder / ("failure.txt" if is_main() else f"failure.{rank}.txt")).write_text(trace, encoding="utf-8")
    except OSError as second:
        LOG.error(f"the trace could not be written: {second}\n{trace}")
    return 1


def _is_full(error: BaseException | None) -> bool:
    """Whether ``error`` came of a disk without room."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return True
        error = error.__cause__ or error.__context__
    return False


def summary(record: CellRecord) -> str:
    """One line: the score under every rule, equal scores once, and which splits served as dev and test."""
    metric = record.metric
    chosen: dict[str, list[tuple[str, int | None]]] = {}  # scores -> rule and epoch of those that have them
    for rule, result in record.scores.items():
        shown = [
            f"{split} {metric.primary} {values[metric.primary] * metric.scale:.2f}"
            for split, values in result.scores.items()
            if metric.primary in values
        ]
        if shown:
            chosen.setdefault(", ".join(shown), []).append((rule, result.epoch))
    parts = []
    for scores, found in chosen.items():
        epochs = {epoch for _, epoch in found if epoch is not None}
        if len(epochs) > 1:
            rules = ", ".join(rule if epoch is None else f"{rule} at epoch {epoch}" for rule, epoch in found)
        else:
            rules = ", ".join([*(rule for rule, _ in found), *(f"epoch {epoch}" for epoch in epochs)])
        parts.append(f"{scores} (rule{'s' if len(found) > 1 else ''} {rules})")
    scored = [(role, record.splits[role]) for role in ("dev", "test") if role in record.splits]
    served = ", ".join(f"{role} = {split.name} ({words.count(split.rows, 'row')})" for role, split in scored)
    return f"{record.label} [{record.cell_id}]: {'; '.join(parts)}; {served}"


def _spent(record: CellRecord) -> str:
    """Where the time of a finished cell went, one line."""
    assert record.seconds is not None
    parts = record.seconds.parts
    named = ", ".join(f"{name} {value:.1f}" for name, value in parts.items())
    again = f" (of the last of {record.restarts + 1} starts; train, eval, save of all)" if record.restarts else ""
    return f"seconds: {named}; together {sum(parts.values()):.1f}{again}"

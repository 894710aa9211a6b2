"""The life of one cell: record exists? stop → data → backbone → inject → count → train → merge check → save → record.

This module owns the order and what happens when a step fails; each step's work is elsewhere.
"""

from __future__ import annotations

import os
import shutil
import sys
import time
import traceback
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench import artifacts, provenance, registry
from uora_bench import record as records
from uora_bench.cell import HELD_OUT, Cell, Settings
from uora_bench.compose import Composed
from uora_bench.errors import Busy, CellError, Interrupted, UserError, failure_kind
from uora_bench.launch import journal
from uora_bench.record import CellRecord, Counts, Timing
from uora_bench.schema import plain
from uora_bench.signals import StopRequest

if TYPE_CHECKING:
    from uora_bench.methods.base import Method
    from uora_bench.tasks.base import Task

_FORCED = ".forced"


@dataclass
class _Job:
    """A cell on its way: what the steps hand to each other."""

    cell: Cell
    settings: Settings
    composed: Composed
    cell_id: str
    fingerprints: dict[str, str]
    rows: dict[str, Any]
    task: Task
    words: list[str]
    started: float
    facts: dict[str, Any]  # provenance, as it was when the run started
    stays: bool  # held-out rows are in the training set too

    @property
    def folder(self) -> Path:
        return Path(self.settings.runs_dir) / self.settings.experiment_name / self.cell_id

    @property
    def record_folder(self) -> Path:
        return records_folder(self.settings)

    def record(self, status: Any, **values: Any) -> CellRecord:
        return CellRecord(
            schema=records.SCHEMA,
            status=status,
            cell_id=self.cell_id,
            experiment=self.settings.experiment_name,
            label=self.cell.label,
            cell=self.cell.canonical(),
            recipe=plain(self.cell.recipe),
            sources=self.composed.sources,
            metric=self.cell.task.metric,
            splits={role: {"name": self._split_name(role), "rows": len(rows)} for role, rows in self.rows.items()},
            provenance={
                **self.facts,
                "data": self.fingerprints,
                "command": [w for w in self.words if not w.startswith(provenance.PATHS)],
                "trainer": plain(self.cell.trainer),
                "source": plain(self.cell.task.source),
                "finished": datetime.now(UTC).isoformat(timespec="seconds"),
                **values.pop("provenance", {}),
            },
            **values,
        )

    def _split_name(self, role: str) -> str:
        train = self.task.split_name("train")
        share = f"a random {self.cell.holdout:g} of {train} (drawn with the seed)"
        if role == HELD_OUT:
            return share
        if role == "train" and HELD_OUT in self.rows and not self.stays:
            return f"{train} without {share}"
        return self.task.split_name(role)


def _is_main() -> bool:
    """Whether this process writes: the only one, or the first of several (as torchrun and accelerate number them)."""
    return int(os.environ.get("WORLD_SIZE", "1")) <= 1 or os.environ.get("RANK", "0") == "0"


def records_folder(settings: Settings) -> Path:
    return Path(settings.results_dir) / "records" / settings.experiment_name


def run_cell(cell: Cell, settings: Settings, composed: Composed, words: list[str], stop: StopRequest) -> int:
    """Run ``cell`` to its record. Returns the exit code: 0 done (or already done), 1 failed.

    Raises:
        UserError: the user's mistake; nothing was changed.
        Interrupted: a signal arrived; the checkpoint is kept.
    """
    started = time.perf_counter()
    from uora_bench import backbones, data, precision, quantisation, sharding

    method = registry.method_class(cell.method.name)(cell.method.options, cell.seed)  # checks the options' values
    task: Task = registry.task_class(cell.task.family)(cell.task)
    backbones.check_kinds(cell.backbone, method.target_kinds)
    quantisation.check_method(cell.backbone, method)
    sharding.check(cell, method)
    precision.resolve(cell.trainer.precision)  # an impossible one is known before any download
    check_holdout(cell, method)
    check_packing(method, task)
    start_adapter = artifacts.warm_start_file(settings)
    if start_adapter is not None:
        cell = replace(cell, initialise_from=artifacts.sha256(start_adapter))
    if method.acts_in_forward:
        cell = replace(cell, micro_batch_size=cell.trainer.micro_batch_size)
    if cell.backbone.path is not None:  # a name and a revision say nothing of weights somebody put in a folder
        cell = replace(cell, weights=backbones.weights_sha256(cell.backbone))
    source = data.Source(Path(settings.data_root) if settings.data_root else None)
    rows = _held_out(task.sample(task.splits(source), cell.seed), cell, method)
    fingerprints = {role: data.fingerprint(r) for role, r in rows.items()}
    cell_id = cell.cell_id("/".join(f"{k}:{v}" for k, v in sorted(fingerprints.items())))
    job = _Job(cell, settings, composed, cell_id, fingerprints, rows, task, words, started, {}, method.holdout_stays)
    if _already_done(job):
        return 0
    quantisation.check(cell.backbone)
    job.facts |= provenance.collect()
    job.facts["data_files"] = source.hashes(cell.task.source, task.to_load().values())
    job.facts["started"] = datetime.now(UTC).isoformat(timespec="seconds")
    if start_adapter is not None:
        job.facts["initialise_from"] = start_adapter.parent.name
    for folder in (job.folder, job.record_folder):  # found out now, not after hours of training
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"cannot write to '{folder}': {error.strerror}; set runs.dir= and results.dir=") from None
        if not os.access(folder, os.W_OK):
            raise UserError(f"cannot write to '{folder}'; set runs.dir= and results.dir= to folders you may write to")
    with ExitStack() as held:
        if _is_main():
            _lock(job, held)
        return _run_locked(job, method, start_adapter, stop)


def check_holdout(cell: Cell, method: Method) -> None:
    """Raise `UserError` for a method that needs held-out rows in a cell that holds none out; needs no data."""
    if method.needs_holdout and not cell.holdout:
        raise UserError(
            f"method={cell.method.name} trains a part of itself on rows of its own, and none is held out: set "
            "method.holdout (or trainer.holdout) above 0, or a mode without that step"
        )


def check_packing(method: Method, task: Task) -> None:
    """Raise `UserError` for virtual tokens before packed inputs; needs no data."""
    if method.extra_tokens and getattr(task.config, "packing", False):
        raise UserError(
            "task.packing=true puts several examples into one sequence, and this method puts its virtual tokens before "
            "the first alone; set task.packing=false"
        )


def _held_out(rows: dict[str, Any], cell: Cell, method: Method) -> dict[str, Any]:
    """``rows`` with the held-out part split off the training set, where the cell asks for one."""
    from uora_bench import data

    if not cell.holdout:
        return rows
    rest, held = data.hold_out(rows["train"], cell.holdout, cell.seed)
    train = rows["train"] if method.holdout_stays else rest
    if not len(train):
        raise UserError(f"holdout={cell.holdout:g} leaves no row to train on; take a smaller share (trainer.holdout)")
    return {**rows, "train": train, HELD_OUT: held}


def _already_done(job: _Job) -> bool:
    """Whether a finished record makes this call unnecessary; says so."""
    if job.settings.force:
        return False
    done = records.find(job.record_folder, job.cell_id)
    if done is None or done.status != "done":
        return False
    (job.folder / _FORCED).unlink(missing_ok=True)
    if _is_main():
        path = records.record_path(job.record_folder, job.cell_id)
        print(f"already done: {summary(done)}\n  {path} (force=true reruns)")
        if journal.ITEM in os.environ:
            _claim(job)
    return True


def _claim(job: _Job) -> None:
    """Say which cell an item of a grid became, so that the grid finds it by its key."""
    if job.cell.initialise_from is None or journal.ITEM in os.environ:
        key = os.environ.get(journal.ITEM, job.cell.key)
        place = journal.folder(Path(job.settings.runs_dir), job.settings.experiment_name)
        journal.claim(place, key, job.cell_id, datetime.now(UTC).isoformat(timespec="seconds"))


def _lock(job: _Job, held: ExitStack) -> None:
    """Hold the cell against other processes; the system frees the locks when this one dies."""
    from filelock import FileLock, Timeout

    # one beside the run folder (force=true empties the folder itself), one beside the record: either may be shared
    for path in (job.folder.with_suffix(".lock"), job.record_folder / f".{job.cell_id}.lock"):
        try:
            held.enter_context(FileLock(path, timeout=0))
        except Timeout:
            raise Busy(
                f"cell {job.cell_id} is being run by another process (lock '{path}'); wait for it, or stop it first"
            ) from None
    _claim(job)
    for rest in job.folder.rglob(".*.tmp"):  # of a process killed while it wrote
        rest.unlink(missing_ok=True)


def _run_locked(job: _Job, method: Method, start_adapter: Path | None, stop: StopRequest) -> int:
    if _already_done(job):  # between our look and our lock
        return 0
    if job.settings.force and _is_main() and not (job.folder / _FORCED).exists():
        # the mark makes a killed force=true run resume, not start over, when the same command is given again
        shutil.rmtree(job.folder, ignore_errors=True)
        job.folder.mkdir(parents=True, exist_ok=True)
        (job.folder / _FORCED).touch()
    try:
        finished = _train(job, method, start_adapter, stop)
    except (UserError, Interrupted):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the cell failed and the record says why
        return _fail(job, error, method)
    (job.folder / _FORCED).unlink(missing_ok=True)
    if finished is not None:
        print(f"{summary(finished)}\n  record {records.record_path(job.record_folder, job.cell_id)}")
    return 0


def _fail(job: _Job, error: Exception, method: Method) -> int:
    reason = f"{type(error).__name__}: {error}" if not isinstance(error, CellError) else str(error)
    for folder in (job.settings.runs_dir, job.settings.results_dir, job.settings.data_root or ""):
        reason = reason.replace(str(Path(folder).absolute()), "…").replace(folder, "…") if folder else reason
    reason = " ".join(reason.split())[:500]
    rank = os.environ.get("RANK", "0")
    print(f"the cell failed: {reason}" if _is_main() else f"process {rank} failed: {reason}", file=sys.stderr)
    trace = traceback.format_exc()
    try:
        name = "failure.txt" if _is_main() else f"failure.{rank}.txt"
        (job.folder / name).write_text(trace, encoding="utf-8")
        if _is_main():
            (job.folder / _FORCED).unlink(missing_ok=True)
            failure = {"kind": failure_kind(error), "smaller_batch": not method.acts_in_forward}
            job.record("failed", reason=reason, provenance={"failure": failure}).write(job.record_folder)
    except (OSError, ValueError, UserError) as second:  # a full disk, most likely: the message above is then all
        print(f"the failed record could not be written: {second}", file=sys.stderr)
    return 1


def _train(job: _Job, method: Method, start_adapter: Path | None, stop: StopRequest) -> CellRecord | None:
    """Everything between the data and the record; None on processes other than the main one."""
    import torch
    from accelerate import Accelerator
    from accelerate.utils import DistributedDataParallelKwargs

    from uora_bench import backbones, checkpoint, measure, precision, processes, sharding, trackers, trainer

    cell, task = job.cell, job.task
    resolved = precision.resolve(cell.trainer.precision)
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision=precision.ACCELERATE_NAMES[resolved],
        # the frozen pairs are equal everywhere and stay so; sending them each step would only cost
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
    )
    processes.check(accelerator.num_processes)
    sharding.check_processes(cell, accelerator.num_processes)
    loaded = backbones.load(cell.backbone, task.head, cell.seed)
    model: Any = loaded.model
    backbone = list(model.parameters())
    if cell.trainer.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    head, counts = inject(cell, model, method)
    if start_adapter is not None:
        artifacts.warm_start(method, start_adapter)
    if cell.trainer.sharding == "full":
        sharding.shard(model, backbone, method, accelerator)
    else:
        model.to(accelerator.device)
    wanted = {r: rows for r, rows in job.rows.items() if r != HELD_OUT or method.auxiliary() is not None}
    learnt = ("train", HELD_OUT)
    encoded = {role: task.encode(rows, loaded.processor, role in learnt) for role, rows in wanted.items()}
    limit = backbones.max_tokens(model)
    if limit is not None and method.extra_tokens:
        limit -= method.extra_tokens
        if limit < 1:
            raise UserError(
                f"{method.extra_tokens} virtual tokens leave backbone={cell.backbone.name} no room for text"
            )
    for split in encoded.values():
        if limit is None or not split.new_tokens:
            continue
        room = limit - int(split.lengths.max())
        if room < split.new_tokens:
            raise UserError(
                f"a prompt of {int(split.lengths.max())} tokens and a text of up to {split.new_tokens} do not fit into "
                f"the {limit} of backbone={cell.backbone.name}: set task.max_new_tokens={max(1, room)}"
            )
    longest = max(int(e.lengths.max()) for e in encoded.values() if len(e))
    if cell.trainer.padding == "max_length":
        longest = max(longest, getattr(task.config, "max_length", 0))
    if limit is not None and longest > limit:
        raise UserError(
            f"an input has {longest} tokens, backbone={cell.backbone.name} takes {limit}: set task.max_length={limit}"
        )
    folder = job.folder
    tracker = trackers.Tracker()
    if accelerator.is_main_process:
        artifacts.save_configuration(folder, job.composed.values, job.cell_id)
        facts = {**job.cell.canonical(), "cell_id": job.cell_id, "recipe": cell.recipe.name, "precision": resolved}
        tracker = trackers.start(
            job.settings.tracker,
            job.cell_id,
            cell.label,
            job.settings.experiment_name,
            facts,
            folder,
            resumed=(folder / "checkpoints" / checkpoint.LAST).is_file(),
        )
        print(
            f"{cell.label} [{job.cell_id}]: recipe {cell.recipe.name} ({cell.recipe.status}), {resolved}, adapter "
            f"{counts.adapter:,} + head {counts.head:,} of {counts.total:,} parameters",
            file=sys.stderr,
        )
    setup = time.perf_counter() - job.started
    failed = True
    try:
        history = trainer.fit(
            cell, model, head, method, task, encoded, tracker, folder / "checkpoints", accelerator, stop
        )
        sharded = sharding.is_sharded(model)  # nothing can be merged into a shard
        merge_error = None if sharded else artifacts.merge_check(model, method, task, encoded["dev"], accelerator)
        failed = False
        if not accelerator.is_main_process:
            return None
        sizes = artifacts.save_weights(folder, method, head, warm=start_adapter is not None)
        last = history.epochs[-1]["epoch"]
        outputs = artifacts.publish_outputs(folder, job.record_folder, job.cell_id, list(job.rows), last)
        chosen = records.select(history.epochs, cell.task.metric)
        total = setup + history.seconds.get("train", 0.0) + history.seconds.get("eval", 0.0)
        train_seconds = history.seconds.get("train", 0.0)
        peak, kind = measure.peak_memory()
        done = job.record(
            "done",
            scores=chosen,
            epochs=tuple(records.EpochScores(**e) for e in history.epochs),
            counts=counts,
            bytes=sizes,
            seconds=Timing(setup, train_seconds, history.seconds.get("eval", 0.0), total),
            examples_per_second=history.examples / train_seconds if train_seconds else None,
            tokens_per_second=history.tokens / train_seconds if train_seconds else None,
            peak_memory_bytes=max(peak, history.peak_bytes),
            peak_memory_kind=kind,
            precision=resolved,
            processes=accelerator.num_processes,
            micro_batch_size=cell.trainer.micro_batch_size,
            restarts=history.restarts,
            merge_error=merge_error,
            method=method.report(),
            provenance={
                "backbone": loaded.origin,
                "kernel": method.kernels(),
                **({"outputs": outputs} if outputs else {}),
                **({"merge_check": "not run: sharded"} if sharded else {}),
            },
        )
        done.write(job.record_folder)
        tracker.summary({f"{rule}/{cell.task.metric.primary}": _primary(done, rule) for rule in done.scores})
        # the record is there, so the state to resume from is no longer needed; the best weights stay
        (folder / "checkpoints" / checkpoint.LAST).unlink(missing_ok=True)
        return done
    finally:
        tracker.finish(failed=failed)
        if accelerator.num_processes > 1:
            accelerator.end_training()


def inject(cell: Cell, model: Any, method: Method) -> tuple[dict[str, Any], Counts]:
    """Put ``method`` on ``model``, open the head, and check the closed-form count against the model.

    Raises:
        CellError: when the count of trained parameters differs from the method's closed form.
    """
    import torch

    from uora_bench import backbones
    from uora_bench.methods.base import backbone_parameters, size_of
    from uora_bench.seeds import derive

    targets = backbones.targets(model, cell.backbone, method.target_kinds)
    sizes = {name: size_of(p) for name, p in backbone_parameters(model).items()}
    expected = method.count([t.shape for t in targets], sizes)
    method.inject(model, targets, torch.Generator().manual_seed(derive(cell.seed, "adapter")))
    head = backbones.head_parameters(model)
    for parameter in head.values():
        parameter.requires_grad_(True)
    adapter = sum(p.numel() for p in method.parameters())
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    heads = sum(p.numel() for p in head.values())
    if adapter != (adapter if expected is None else expected) or trained != adapter + heads:
        raise CellError(
            f"{cell.method.name} trains {adapter} adapter parameters (the model: {trained - heads}), its closed form "
            f"says {expected}"
        )
    if not adapter + heads:
        raise UserError(
            f"method={cell.method.name} trains nothing on backbone={cell.backbone.name}, which has no task head; for "
            "the scores of the un-adapted model take method=lora trainer.lr_adapter=0 trainer.max_steps=1"
        )
    return head, Counts(adapter=adapter, head=heads, total=sum(size_of(p) for p in model.parameters()))


def summary(record: CellRecord) -> str:
    """One line with the score under every rule; which split served as what is part of it."""
    metric = record.metric
    parts = []
    for rule, result in record.scores.items():
        for split, values in result.scores.items():
            if metric.primary in values:
                where = f", epoch {result.epoch}" if result.epoch is not None else ""
                parts.append(
                    f"{split} {metric.primary} {values[metric.primary] * metric.scale:.2f} (rule {rule}{where})"
                )
    name = record.splits.get("dev", {}).get("name")
    return f"{record.label} [{record.cell_id}]: {'; '.join(parts)}; dev = {name}"


def _primary(record: CellRecord, rule: str) -> float:
    return float(record.scores[rule].scores["dev"][record.metric.primary])

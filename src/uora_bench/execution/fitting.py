"""From rows to a record: model, adapter, tokens, training, the files a cell leaves."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.config.cell import DEV_LOSS, HELD_OUT, Cell
from uora_bench.data import tokens
from uora_bench.errors import UserError
from uora_bench.execution import artifacts
from uora_bench.execution.configuration import write_configuration
from uora_bench.execution.energy import Meter
from uora_bench.records.attempts import CHECKPOINTS
from uora_bench.records.record import CellRecord, Counts, Retention, Timing, set_aside
from uora_bench.records.selection import select_scores
from uora_bench.training.checkpoint import Checkpoints
from uora_bench.training.kept import KeptPredictions
from uora_bench.training.retention import Probe
from uora_bench.util.log import LOG

if TYPE_CHECKING:
    from uora_bench.execution.job import Job
    from uora_bench.execution.trackers import Tracker
    from uora_bench.methods.base import Method
    from uora_bench.tasks.base import Encoded, Task
    from uora_bench.util.signals import StopRequest


def fit(job: Job, method: Method, start_adapter: Path | None, stop: StopRequest) -> CellRecord | None:
    """Everything between the data and the record; None on processes other than the main one."""
    cell, task, watch = job.cell, job.task, job.watch
    with watch.measure("import"):
        import torch
        import transformers
        from accelerate import Accelerator
        from accelerate.utils import DistributedDataParallelKwargs

        from uora_bench.models import backbones
        from uora_bench.training import cpu_ops, distributed, peak_memory, precision, sharding, trainer, work

        getattr(transformers, task.head.auto_class)  # a lazy module: imports most of the library
    from uora_bench.training.inject import inject

    resolved = precision.resolve(cell.trainer.precision)
    with watch.measure("model"):
        accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),
            mixed_precision=precision.ACCELERATE_NAMES[resolved],
            # the frozen pairs are equal everywhere and stay so; sending them each step would only cost
            kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False)],
        )
        distributed.check(accelerator.num_processes)
        sharding.check_processes(cell, accelerator.num_processes)
        loaded = backbones.load_backbone(cell.backbone, task.head, cell.seed)
        model: Any = loaded.model
        backbone = list(model.parameters())
        if cell.trainer.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        probe = _probe(job, loaded, accelerator)
        head, counts = inject(cell, model, method)
        if start_adapter is not None:
            artifacts.warm_start(method, start_adapter)
        if cell.trainer.sharding == "full":
            sharding.shard(model, backbone, method, accelerator)
        else:
            model.to(accelerator.device)
        on_cpu = accelerator.device.type == "cpu" and cell.trainer.cpu_ops == "auto"
        if isinstance(probe, Probe):
            probe.start(model, method)
        passes = cpu_ops.install(model) if on_cpu else {}
        if isinstance(probe, Probe) and passes:
            probe.start(model, method, rounding=True)
    with watch.measure("tokens"):
        task.tokens = tokens.TokenCache(Path(job.settings.runs_dir) / tokens.FOLDER)
        wanted = {r: rows for r, rows in job.rows.items() if r != HELD_OUT or method.auxiliary() is not None}
        learnt = ("train", HELD_OUT)
        encoded = {role: task.encode(rows, loaded.processor, role in learnt) for role, rows in wanted.items()}
        if cell.trainer.patience is not None:
            encoded[DEV_LOSS] = task.encode(wanted["dev"], loaded.processor, training=True)
        empty = [role for role, split in encoded.items() if not len(split)]
        if empty:
            raise UserError(f"task.too_long=drop leaves no row of {empty[0]}; raise task.max_length")
        _check_lengths(cell, task, encoded, backbones.max_tokens(model))
    with watch.measure("record"):
        tracker = _begin(job, accelerator.is_main_process, resolved, counts)
    peaks = {"setup": peak_memory.peak_memory()[0]}
    setup = time.perf_counter() - job.started
    folder = job.folder
    checkpoints = Checkpoints(folder / CHECKPOINTS, job.cell_id)
    failed, meter = True, Meter()
    try:
        history = trainer.fit(cell, model, head, method, task, encoded, tracker, checkpoints, accelerator, stop)
        energy = meter.stop(history.restarts)
        sharded = sharding.is_sharded(model)
        merge_error, merge_problem = None, "not run: sharded" if sharded else None  # nothing merges into a shard
        if accelerator.is_main_process:
            with watch.measure("save"):  # before the merging is tried, which may go wrong
                sizes = artifacts.save_weights(folder, method, head, warm=start_adapter is not None)
                write_configuration(folder, job.values, job.cell_id, summed=True)
        if not sharded:
            with watch.measure("merge check"):
                merge_error, merge_problem = artifacts.merge_check(model, method, task, encoded["dev"], accelerator)
        failed = False
        if not accelerator.is_main_process:
            return None
        with watch.measure("save"):
            aside = set_aside(job.record_folder, job.cell_id) if job.settings.force else None
            if aside is not None:
                LOG.warning(f"note: the earlier record and its files were moved to '{aside}'")
            last = history.epochs[-1].epoch
            kept = KeptPredictions(folder, job.cell_id)
            outputs = artifacts.publish_outputs(kept, job.record_folder, list(job.rows), last)
            predictions = artifacts.publish_predictions(kept, job, encoded, history.epochs)
        retention = probe if not isinstance(probe, Probe) else _measure(job, probe, model, method, accelerator)
        with watch.measure("FLOPs"):
            computed = work.measure(cell, task, encoded, history, accelerator.num_processes, resolved)
        seconds = _timing(setup, watch.totals, history.seconds)
        _, kind = peak_memory.peak_memory()
        peaks |= history.peaks
        done = job.record(
            "done",
            scores=select_scores(history.epochs, task.metric),
            epochs=tuple(history.epochs),
            counts=counts,
            bytes=sizes,
            seconds=seconds,
            examples_per_second=history.examples / seconds.train if seconds.train else None,
            tokens_per_second=history.tokens / seconds.train if seconds.train else None,
            peak_memory_bytes=max(peaks.values()),
            peak_memory_kind=kind,
            peak_memory_by_phase=peaks,
            precision=resolved,
            processes=accelerator.num_processes,
            micro_batch_size=cell.trainer.micro_batch_size,
            restarts=history.restarts,
            merge_error=merge_error,
            method=method.report(),
            work=computed,
            energy=energy,
            retention=retention,
            provenance={
                "backbone": loaded.origin,
                "forward": method.forward_paths(),
                "predictions": predictions,
                "too_long": {role: encoded[role].too_long for role in wanted if encoded[role].too_long},
                "stopped_early": history.stopped,
                **({"cpu_ops": passes} if passes else {}),
                **({"outputs": outputs} if outputs else {}),
                **({"merge_check": merge_problem} if merge_problem else {}),
            },
        )
        done.write(job.record_folder)
        tracker.summary(_summary(done))
        # the record is there, so the state to resume from is no longer needed; the best weights stay
        checkpoints.remove_states()
        kept.remove()
        if merge_problem and not sharded:
            LOG.warning(
                f"note: the check that merging changes no logits {merge_problem}; the scores are of the unmerged model"
            )
        if retention is not None and retention.adapted is None:
            LOG.warning(f"note: retention: {retention.problem}")
        elif retention is not None and retention.off_difference:
            off = f"turned off, the adapter leaves a difference of {retention.off_difference:.1e}"
            LOG.warning(f"note: retention: {off}")
        if predictions.left_out and job.settings.predictions_keep:
            LOG.warning(f"note: predictions are not kept: {predictions.left_out}")
        return done
    finally:
        meter.stop()
        with watch.measure("record"):
            tracker.finish(failed=failed)
        if accelerator.num_processes > 1:
            accelerator.end_training()


def _probe(job: Job, loaded: Any, accelerator: Any) -> Probe | Retention | None:
    """What retention will be measured with; why it cannot be; None where it was not asked for or elsewhere is."""
    if not job.settings.retention_measure or not accelerator.is_main_process:
        return None
    if job.cell.trainer.sharding == "full":
        return Retention(problem="not measured: sharded")
    if job.cell.method.extra_tokens:
        return Retention(problem="not measured: virtual tokens stand before every input")
    return Probe(loaded.model, loaded.processor, accelerator.device, job.settings.retention_text)


def _measure(job: Job, probe: Probe, model: Any, method: Method, accelerator: Any) -> Retention:
    """`Probe.finish`, which may cost no finished training."""
    try:
        with job.watch.measure("retention"):
            return probe.finish(accelerator.unwrap_model(model, keep_fp32_wrapper=False), method)
    except Exception as error:  # noqa: BLE001 - whatever it is, the training stands
        return Retention(problem=f"failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}")


def _begin(job: Job, main: bool, resolved: str, counts: Counts) -> Tracker:
    """Save the configuration, start the tracker and say what is about to be trained; nothing of it but on ``main``."""
    from uora_bench.execution import trackers

    if not main:
        return trackers.Tracker()
    cell, folder = job.cell, job.folder
    write_configuration(folder, job.values, job.cell_id)
    config = {
        **cell.canonical(),
        "cell_id": job.cell_id,
        "recipe": cell.recipe.name,
        "precision": resolved,
        "adapter_parameters": counts.adapter,
        "head_parameters": counts.head,
        "commit": job.facts["git"]["commit"],
    }
    facts = trackers.RunFacts(
        cell_id=job.cell_id,
        label=cell.label,
        experiment=job.settings.experiment_name,
        method=cell.method.name,
        task=cell.task.name,
        backbone=cell.backbone.name,
        config=config,
    )
    resumed = Checkpoints(folder / CHECKPOINTS, job.cell_id).some
    tracker = trackers.start(job.settings.tracker, facts, folder, resumed)
    LOG.info(
        f"{cell.label} [{job.cell_id}]: recipe {cell.recipe.name} ({cell.recipe.status}), {resolved}, adapter "
        f"{counts.adapter:,} + head {counts.head:,} of {counts.total:,} parameters"
    )
    if cell.backbone.fresh:
        LOG.info(f"head: {cell.backbone.described_head}")
    return tracker


def _timing(setup: float, own: Mapping[str, float], training: Mapping[str, float]) -> Timing:
    """``own``: the parts of this start; ``training``: train, eval and save (checkpoints), summed over restarts."""
    train, evaluation = training.get("train", 0.0), training.get("eval", 0.0)
    names = dict.fromkeys([*own, *training])
    parts = {name: round(own.get(name, 0.0) + training.get(name, 0.0), 3) for name in names}
    return Timing(setup, train, evaluation, setup + train + evaluation, parts)


def _check_lengths(cell: Cell, task: Task, encoded: dict[str, Encoded], limit: int | None) -> None:
    """Raise `UserError` for inputs, or inputs and what is to be written, longer than the ``limit`` of the backbone."""
    if limit is not None and cell.method.extra_tokens:
        limit -= cell.method.extra_tokens
        if limit < 1:
            raise UserError(
                f"{cell.method.extra_tokens} virtual tokens leave backbone={cell.backbone.name} no room for text"
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


def _summary(record: CellRecord) -> dict[str, Any]:
    """What a tracker shows of a finished cell: ``<split>/<rule>/<metric>`` of every split and rule, costs, sizes."""
    primary = record.metric.primary
    scores = {
        f"{split}/{rule}/{primary}": values[primary]
        for rule, chosen in record.scores.items()
        for split, values in chosen.scores.items()
        if primary in values
    }
    assert record.counts is not None
    assert record.bytes is not None
    assert record.seconds is not None
    return {
        **scores,
        "adapter_parameters": record.counts.adapter,
        "adapter_bytes": record.bytes.adapter_size,
        "peak_memory_bytes": record.peak_memory_bytes,
        "seconds/train": record.seconds.train,
        "seconds/eval": record.seconds.eval,
    }

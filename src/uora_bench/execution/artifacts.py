"""The files a cell leaves beside its record, or starts from: adapter and head; and the check that merging is exact."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.config.cell import Settings, build_method
from uora_bench.config.options import MethodOptions
from uora_bench.config.run_folders import start_folder
from uora_bench.data import sources
from uora_bench.errors import UserError
from uora_bench.execution.configuration import ADAPTER, HEAD, read_configuration
from uora_bench.records.predictions import EpochPredictions, predictions_path, write_predictions
from uora_bench.records.provenance import PredictionsFile
from uora_bench.records.record import EpochScores, Sizes
from uora_bench.records.selection import kept_epochs
from uora_bench.training.kept import KeptPredictions
from uora_bench.util import atomic

if TYPE_CHECKING:
    from uora_bench.execution.job import Job
    from uora_bench.methods.base import Method
    from uora_bench.tasks.base import Encoded, Task

# Relative to the largest logit. float32 gives about 1e-6; half precision rounds W + ΔW once more.
_MERGE_TOLERANCE = {"float32": 1e-3, "float64": 1e-3, "float16": 2e-2, "bfloat16": 5e-2}


def merge_check(model: Any, method: Method, task: Task, dev: Any, accelerator: Any) -> tuple[float | None, str | None]:
    """Merge the adapter and compare the logits of one dev batch: (largest difference, problem).

    The difference is relative to the largest logit; the problem is what is wrong, or why there is no comparison. The
    scores stand either way: an error here never costs a finished training.
    """
    if not method.mergeable:
        return None, None
    plain_model = accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    was_training = plain_model.training
    try:
        found = _merge_error(plain_model, method, task, dev, accelerator.device)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is the merging that failed, not the training
        return None, f"failed: {type(error).__name__}: {' '.join(str(error).split())[:200]}"
    finally:
        plain_model.train(was_training)
    from uora_bench.methods.base import backbone_parameters

    stored = min((p.dtype for p in backbone_parameters(plain_model).values()), key=lambda dtype: dtype.itemsize)
    if found <= _MERGE_TOLERANCE[str(stored).removeprefix("torch.")]:
        return found, None
    if not math.isfinite(found):
        return None, "failed: merged, the logits are not finite"
    return found, f"failed: merged, the logits differ by {found:.2e} of the largest"


def _merge_error(model: Any, method: Method, task: Task, dev: Any, device: Any) -> float:
    import torch

    model.eval()
    batch = task.collate(dev, range(min(8, len(dev))), "dynamic")
    inputs = {k: v.to(device) for k, v in batch.items() if k not in ("labels", "weight")}
    with torch.inference_mode():
        before = model(**inputs).logits.double()
        try:
            method.merge()
            after = model(**inputs).logits.double()
        finally:
            method.unmerge()
    return float((before - after).abs().max() / before.abs().max().clamp_min(1e-12))


def save_weights(folder: Path, method: Method, head: Mapping[str, Any], warm: bool) -> Sizes:
    """Write adapter and head into the run folder. ``warm``: the adapter began with another's weights."""
    from safetensors.torch import save_file

    def tensors(named: Mapping[str, Any]) -> dict[str, Any]:
        return {k: v.detach().cpu().contiguous() for k, v in named.items()}

    adapter = tensors(method.adapter_state())
    # after a warm start the seed no longer gives back what it drew
    known = set() if warm else method.seed_tensors()
    atomic.write_file(folder / ADAPTER, lambda path: save_file(adapter, path))
    atomic.write_file(folder / HEAD, lambda path: save_file(tensors(head), path))
    shipped = sum(t.numel() * t.element_size() for k, t in adapter.items() if k not in known)
    return Sizes(shipped, (folder / ADAPTER).stat().st_size, (folder / HEAD).stat().st_size)


def publish_outputs(kept: KeptPredictions, records: Path, roles: Sequence[str], epoch: int) -> dict[str, str]:
    """Copy what the model of ``epoch`` wrote (texts to be scored) from the run folder to beside the record.

    Returns ``{role: file name}`` of what there was.
    """
    named, cell_id = {}, kept.cell_id
    for role in roles:
        source = kept.texts(role, epoch)
        if source.is_file():
            named[role] = f"{cell_id}.{role}.txt"
            atomic.write_text(records / named[role], source.read_text(encoding="utf-8"))
    return named


def publish_predictions(
    kept: KeptPredictions, job: Job, encoded: Mapping[str, Encoded], epochs: Sequence[EpochScores]
) -> PredictionsFile:
    """Write the predictions of the epochs that the selection rules choose beside the record.

    Returns what the record says of the file. What cannot be kept costs no finished training: it is left out, with the
    reason.
    """
    settings, task = job.settings, job.task
    if not settings.predictions_keep:
        return PredictionsFile(left_out="predictions.keep=false")
    parts = []
    try:
        for epoch, role in kept_epochs(epochs, task.metric):
            rows, split = job.rows[role], encoded[role]
            ids = sources.row_ids(rows)
            if split.rows is None and len(split) != len(rows):
                raise UserError(f"the family of task={job.cell.task.name} does not say which row each item is of")
            items = ids if split.rows is None else ids[split.rows]
            columns = task.to_keep(kept.load(role, epoch), split.references)
            parts.append(EpochPredictions(role, epoch, items, **columns))
        path = predictions_path(job.record_folder, job.cell_id)
        return write_predictions(path, parts, round(settings.predictions_max_mb * 1e6))
    except UserError as error:
        return PredictionsFile(left_out=str(error))


def warm_start_file(settings: Settings, method: MethodOptions) -> Path | None:
    """The adapter file that ``init_from`` means; None where it is not given.

    Raises:
        UserError: when there is none, it is damaged, or its weights would mean another update in a cell of ``method``.
    """
    given = settings.init_from
    if given is None:
        return None
    folder = start_folder(given, Path(settings.runs_dir), settings.experiment_name)
    if not (folder / ADAPTER).is_file():
        raise UserError(f"init_from='{given}': no {ADAPTER} in '{folder}', so it is no run folder of a finished cell")
    try:
        configuration = read_configuration(folder)
        configuration.check_file(ADAPTER)
        check_same_update(build_method(configuration.values["method"]), method)
    except UserError as error:
        raise UserError(f"init_from: {error}") from None
    return folder / ADAPTER


def check_same_update(source: MethodOptions, method: MethodOptions) -> None:
    """Raise `UserError` where weights trained with ``source`` would be another update under ``method``."""
    if (source.name, source.version) != (method.name, method.version):
        raise UserError(
            f"the adapter is of method={source.name} (version {source.version}), this cell's is {method.name} (version "
            f"{method.version}): it must come from the same method"
        )
    then, now = source.defines_update, method.defines_update
    for key in sorted(then.keys() | now.keys()):
        if then.get(key) != now.get(key):
            raise UserError(
                f"the adapter was trained with {key}={then.get(key)}, this cell has {key}={now.get(key)}, so the same "
                f"weights would be another update; set {key}={then.get(key)}"
            )


def warm_start(method: Method, path: Path) -> None:
    """Put the adapter in ``path`` into ``method``; raises `UserError` when its tensors do not fit."""
    from safetensors.torch import load_file

    try:
        method.load_adapter_state(load_file(path))
    except UserError as error:
        raise UserError(f"init_from: {error}; it must come from the same method, rank and targets") from None

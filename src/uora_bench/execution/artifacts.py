"""The files a cell leaves beside its record, or starts from: adapter and head; and the check that merging is exact."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.config.cell import Settings
from uora_bench.errors import CellError, UserError
from uora_bench.records.record import Sizes
from uora_bench.training.evaluation import outputs_file
from uora_bench.util import atomic

if TYPE_CHECKING:
    from uora_bench.methods.base import Method
    from uora_bench.tasks.base import Task

ADAPTER, HEAD, CONFIGURATION = "adapter.safetensors", "head.safetensors", "cell.json"
# Relative to the largest logit. float32 gives about 1e-6; half precision rounds W + ΔW once more.
_MERGE_TOLERANCE = {"float32": 1e-3, "float64": 1e-3, "float16": 2e-2, "bfloat16": 5e-2}


def merge_check(model: Any, method: Method, task: Task, dev: Any, accelerator: Any) -> float | None:
    """Largest difference of the logits on one dev batch, merged against adapter, relative to the largest logit."""
    import torch

    from uora_bench.methods.base import backbone_parameters

    if not method.mergeable:
        return None
    plain_model = accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    was_training = plain_model.training
    plain_model.eval()
    batch = task.collate(dev, range(min(8, len(dev))), "dynamic")
    inputs = {k: v.to(accelerator.device) for k, v in batch.items() if k not in ("labels", "weight")}
    with torch.inference_mode():
        before = plain_model(**inputs).logits.double()
        method.merge()
        after = plain_model(**inputs).logits.double()
        method.unmerge()
    plain_model.train(was_training)
    error = float((before - after).abs().max() / before.abs().max().clamp_min(1e-12))
    stored = min((p.dtype for p in backbone_parameters(plain_model).values()), key=lambda dtype: dtype.itemsize)
    if not error <= _MERGE_TOLERANCE[str(stored).removeprefix("torch.")]:
        raise CellError(f"the merged model differs from the adapter model: logits by {error:.2e} of the largest")
    return error


def save_weights(folder: Path, method: Method, head: Mapping[str, Any], warm: bool) -> Sizes:
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


def publish_outputs(folder: Path, records: Path, cell_id: str, roles: Sequence[str], epoch: int) -> dict[str, str]:
    """Copy what the model of ``epoch`` wrote (texts to be scored) from the run folder to beside the record; returns
    ``{role: file name}`` of what there was."""
    named = {}
    for role in roles:
        source = outputs_file(folder, role, epoch)
        if source.is_file():
            named[role] = f"{cell_id}.{role}.txt"
            atomic.write_text(records / named[role], source.read_text(encoding="utf-8"))
    return named


def save_configuration(folder: Path, values: Mapping[str, Any], cell_id: str) -> None:
    """Keep the resolved configuration in the run folder: with it and the weights, `uora_bench.export` needs no more."""
    text = json.dumps({"cell_id": cell_id, "values": values}, indent=1, allow_nan=False, ensure_ascii=False)
    atomic.write_text(folder / CONFIGURATION, text + "\n")


def warm_start_file(settings: Settings) -> Path | None:
    given = settings.init_from
    if given is None:
        return None
    for folder in (Path(given), Path(settings.runs_dir) / settings.experiment_name / given):
        if (folder / ADAPTER).is_file():
            return folder / ADAPTER
    raise UserError(
        f"init_from='{given}' is neither the run folder nor the cell_id (of experiment "
        f"{settings.experiment_name}) of a finished cell: no {ADAPTER} there"
    )


def warm_start(method: Method, path: Path) -> None:
    from safetensors.torch import load_file

    try:
        method.load_adapter_state(load_file(path))
    except UserError as error:
        raise UserError(f"init_from: {error}; it must come from the same method, rank and targets") from None


def sha256(path: Path) -> str:
    """The hash of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()

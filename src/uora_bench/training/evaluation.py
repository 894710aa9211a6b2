"""Scores of a model on a split: predictions gathered from all processes, counted, put in order, and scored."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from uora_bench.data import batching
from uora_bench.errors import CellError
from uora_bench.tasks.base import Encoded, Task

FILL = -1  # after the end of a shorter prediction

if TYPE_CHECKING:
    import numpy as np

    from uora_bench.training.distributed import StopConsensus


def predict(
    model: Any,
    task: Task,
    encoded: Encoded,
    accelerator: Any,
    batch_size: int,
    padding: str,
    consensus: StopConsensus | None,
    watch: Callable[[list[np.ndarray]], Iterable[np.ndarray]] = iter,
    most_tokens: int | None = None,
) -> np.ndarray:
    """One prediction per example of ``encoded``, in its order, on every process.

    (n,), or (n, width) where a task predicts several numbers each; rows of different width are filled with `FILL`.
    ``watch`` wraps the batches, to show the progress. ``most_tokens`` of a batch: those of its rows and those to be
    written (`batching.evaluation_batches`).

    Raises:
        CellError: if the number of predictions is not the number of examples.
        Interrupted: between two batches, in every process between the same two, when ``consensus`` says so.
    """
    import numpy as np
    import torch
    from accelerate.utils import gather_object

    from uora_bench.training import sharding
    from uora_bench.training.distributed import StopChecks

    lengths, processes = encoded.lengths + encoded.new_tokens, accelerator.num_processes
    batches = batching.evaluation_batches(lengths, batch_size, accelerator.process_index, processes, most_tokens)
    encoded = task.set_epoch(encoded, batches, None)
    was_training = model.training
    model.eval()
    unwrapped = accelerator.unwrap_model(model)
    sharded = sharding.is_sharded(unwrapped)
    # all processes make the same number of rounds, some with nothing of their own in the last one
    rounds = batching.evaluation_rounds(lengths, batch_size, processes, most_tokens)
    turns = batches + [np.zeros(0, dtype=np.int64)] * (rounds - len(batches))
    looks = StopChecks(
        consensus, late=0 if encoded.new_tokens else 1
    )  # generating a text takes longer than any waiting
    outputs = []
    try:
        # gathered weights made in inference mode could not be trained through later
        with torch.no_grad() if sharded else torch.inference_mode():
            for indices in watch(turns):
                looks.round()
                if not len(indices) and not sharded:
                    continue
                # a forward pass of sharded weights needs every process: without rows of its own, on any row
                rows = indices if len(indices) else [0]
                batch = {k: v.to(accelerator.device) for k, v in task.collate(encoded, rows, padding).items()}
                predicted = task.predict(unwrapped, batch)
                if len(indices):
                    outputs.append(predicted)
            looks.close()
    finally:
        model.train(was_training)
    # one transfer at the end instead of one per batch
    values = _joined([o.cpu().numpy() if o.dtype.itemsize >= 4 else o.float().cpu().numpy() for o in _stack(outputs)])
    own = np.concatenate(batches) if batches else np.zeros(0, dtype=np.int64)
    pairs = [(own, values)]
    if accelerator.num_processes > 1:
        pairs = gather_object(pairs)
    indices = np.concatenate([p[0] for p in pairs])
    predictions = _joined([p[1] for p in pairs if len(p[0])])
    if len(predictions) != len(encoded) or len(np.unique(indices)) != len(encoded):
        raise CellError(f"{len(predictions)} predictions for {len(encoded)} examples")
    ordered = np.empty_like(predictions)
    ordered[indices] = predictions
    return ordered


def _stack(outputs: list[Any]) -> list[Any]:
    """``outputs`` joined on their device where their rows are alike, so that one transfer is enough."""
    import torch

    alike = len({(o.shape[1:], o.dtype) for o in outputs}) == 1
    return [torch.cat(outputs)] if alike else outputs


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    """The rows of ``parts``; those of a narrower part end in `FILL`."""
    import numpy as np

    if not parts:
        return np.zeros(0, dtype=np.float32)
    width = max((p.shape[1] for p in parts if p.ndim > 1), default=0)
    padded = [
        p if p.ndim == 1 or p.shape[1] == width else np.pad(p, ((0, 0), (0, width - p.shape[1])), constant_values=FILL)
        for p in parts
    ]
    return np.concatenate(padded)


def split_scores(task: Task, predictions: np.ndarray, encoded: Encoded) -> dict[str, Any]:
    """Every metric of ``task`` on a split."""
    return dict(task.score(predictions, encoded.references))


def half_scores(task: Task, predictions: np.ndarray, encoded: Encoded) -> tuple[float, float] | None:
    """The primary metric of ``task`` on each half of `half_of`, for ``heldout_dev``; None under two examples."""
    if len(encoded) < 2:
        return None
    side = half_of(len(encoded))
    first, second = (task.primary(predictions[side == h], encoded.references[side == h]) for h in (0, 1))
    return first, second


@functools.cache
def half_of(count: int) -> np.ndarray:
    """A fixed split of ``count`` examples into halves 0 and 1, the same in every run: by hash of the row number."""
    import numpy as np

    keys = [hashlib.sha256(f"heldout:{i}".encode()).digest() for i in range(count)]
    order = np.argsort(np.array([int.from_bytes(k[:8], "big") for k in keys], dtype=np.uint64), kind="stable")
    side = np.zeros(count, dtype=np.int64)
    side[order[: count // 2]] = 1
    return side

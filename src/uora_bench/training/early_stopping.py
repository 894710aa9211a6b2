"""Early stopping: training ends when the loss on the dev set has not fallen for some looks in a row.

The loss is the training loss, without dropout, of the dev rows as rows to learn from. What has been seen so far is in
the `History`, and so in every checkpoint: a run that is killed and goes on stops at the same step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uora_bench.data import batching
from uora_bench.tasks.base import Encoded, Task

if TYPE_CHECKING:
    import torch

    from uora_bench.config.cell import TrainerConfig
    from uora_bench.training.history import History


def is_due(config: TrainerConfig, history: History, position: int, per_epoch: int) -> bool:
    """Whether the dev loss is looked at after this step: number ``position`` of ``per_epoch`` in its epoch."""
    if config.patience_every is None:
        return position == per_epoch
    return history.steps % config.patience_every == 0


def note_loss(config: TrainerConfig, history: History, loss: float) -> None:
    """Keep the ``loss`` of the dev set; set ``history.stopped`` after `patience` evaluations without a new minimum."""
    if history.lowest_dev_loss is None or loss < history.lowest_dev_loss:
        history.lowest_dev_loss, history.looks_waited = loss, 0
        return
    history.looks_waited += 1
    if history.looks_waited == config.patience:
        history.stopped = history.steps


def dev_sums(
    model: torch.nn.Module, task: Task, rows: Encoded, accelerator: Any, config: TrainerConfig
) -> torch.Tensor:
    """(2,): sum of the losses and of the weights of this process's share of ``rows``."""
    import torch

    from uora_bench.training import sharding

    rank, processes, size = accelerator.process_index, accelerator.num_processes, config.eval_batch_size
    most = config.eval_batch_tokens
    batches = batching.evaluation_batches(rows.lengths, size, rank, processes, most)
    rows = task.set_epoch(rows, batches, None)
    unwrapped = accelerator.unwrap_model(model)
    every = sharding.is_sharded(unwrapped)
    rounds = batching.evaluation_rounds(rows.lengths, size, processes, most) if every else len(batches)
    was_training = model.training
    sums = torch.zeros(2, dtype=torch.float64, device=accelerator.device)
    model.eval()
    try:
        with torch.no_grad():
            for turn in range(rounds):
                # a forward pass of sharded weights needs every process: without rows of its own, on any row
                own = batches[turn] if turn < len(batches) else [0]
                batch = {k: v.to(accelerator.device) for k, v in task.collate(rows, own, config.padding).items()}
                loss, weight = task.loss(unwrapped, batch)
                if turn < len(batches):
                    sums += torch.stack((loss.double(), weight.double()))
    finally:
        model.train(was_training)
    return sums

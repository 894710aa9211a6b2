"""The auxiliary steps of a method that asks for them: when they are due, which rows they see, and their optimizer.

The trainer owns the backward pass; this module knows nothing of losses, and no more of methods than `Auxiliary`.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from uora_bench.data import batching
from uora_bench.errors import UserError
from uora_bench.util.seeds import derive, own_stream

if TYPE_CHECKING:
    import numpy as np

    from uora_bench.methods.base import Auxiliary
    from uora_bench.tasks.base import Encoded


class AuxiliarySteps:
    """The auxiliary steps of a method: a second stream of batches and a second optimizer.

    ``done`` counts the steps taken; a resume needs nothing else to find its place in the stream.
    """

    def __init__(self, spec: Auxiliary, rows: Encoded | None, window: int, seed: int, accelerator: Any) -> None:
        import torch

        if rows is None or not len(rows):
            raise UserError(
                "this method's auxiliary step needs rows held out of the training set: set method.holdout (or "
                "trainer.holdout) above 0, or a mode without that step"
            )
        self.spec, self.rows, self.seed = spec, rows, derive(seed, "auxiliary")
        self.window = window if spec.shuffle else 0
        self.optimizer = accelerator.prepare(torch.optim.Adam(spec.param_groups, betas=spec.betas))
        self.per_pass = batching.steps_per_epoch(len(rows), spec.batch_size, self.window)
        self.done = 0
        self._process, self._device = accelerator.process_index, accelerator.device
        # DDP waits for the gradient of every parameter that had one when it was set up
        alone = accelerator.num_processes == 1
        self._restable = [p for group in spec.param_groups for p in group["params"]] if alone else []
        self._pass: tuple[int, list[np.ndarray]] = (-1, [])

    def due(self, step: int, position: int) -> bool:
        """Whether one follows optimizer step ``step`` of the run, ``position`` of its epoch (both from 1)."""
        if self.spec.phase == "run":
            return step % self.spec.every == 0
        return (position - 1) % self.spec.every == 0

    def rest(self, resting: bool) -> None:
        """Spare the steps that leave this optimizer's parameters alone the work of their gradients, where it can."""
        for parameter in self._restable:
            parameter.requires_grad_(not resting)

    def next_batch(self) -> np.ndarray:
        """The row numbers of the next auxiliary batch; starts over when the rows are exhausted."""
        number, at = divmod(self.done, self.per_pass)
        if self._pass[0] != number:
            self._pass = (number, self._batches(number))
        self.done += 1
        return self._pass[1][at]

    def _batches(self, number: int) -> list[np.ndarray]:
        return pass_batches(self.spec, self.rows.lengths, self.window, self.seed, number)

    def own_stream(self) -> AbstractContextManager[None]:
        """The random numbers of the step just begun (`next_batch`), of this process.

        Dropout in these passes does not change the random numbers of the training passes after them.
        """
        return own_stream(derive(self.seed, "dropout", self._process, self.done), self._device)

    def state(self) -> dict[str, Any]:
        """For the checkpoint."""
        return {"optimizer": self.optimizer.state_dict(), "done": self.done}

    def load_state(self, state: dict[str, Any]) -> None:
        """Put a `state` back."""
        self.optimizer.load_state_dict(state["optimizer"])
        self.done = state["done"]


def pass_batches(spec: Auxiliary, lengths: np.ndarray, window: int, seed: int, number: int) -> list[np.ndarray]:
    """The batches of pass ``number`` over held-out rows of these ``lengths``; ``seed``: of auxiliary steps."""
    import numpy as np

    size = spec.batch_size
    if spec.shuffle:
        return batching.epoch_batches(lengths, size, window, seed, number)
    return [np.arange(i, min(i + size, len(lengths))) for i in range(0, len(lengths), size)]

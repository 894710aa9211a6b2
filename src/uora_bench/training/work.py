"""What a finished training computed: tokens with and without padding, and FLOPs, from the plan of its batches.

Nothing is counted while it trains: which rows form which micro-batch is a function of the seed, so the numbers are the
same after any number of restarts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from uora_bench.config.cell import HELD_OUT, Cell
from uora_bench.data import batching
from uora_bench.records.record import Work
from uora_bench.training.auxiliary import pass_batches
from uora_bench.util.seeds import derive

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

    from uora_bench.methods.base import Auxiliary, Method
    from uora_bench.tasks.base import Encoded, Task
    from uora_bench.training.flops import Flops, PassFlops
    from uora_bench.training.history import History

Shapes = Counter[tuple[int, int]]  # (rows, width) of a forward pass -> how many


def measure(
    cell: Cell, task: Task, splits: Mapping[str, Encoded], history: History, processes: int, precision: str
) -> Work:
    """The work of all ``processes`` up to the end of ``history``.

    Where the model cannot be looked at without content, why there are no FLOPs.
    """
    train = splits["train"]
    shapes = _shapes(cell, task, train, _batches(cell, train.lengths, history.steps), processes)
    padded = sum(rows * (width or 1) * count for (rows, width), count in shapes.items())
    work = Work(history.tokens, padded)
    try:
        return replace(work, **_flops(cell, task, splits, history, processes, precision, shapes))
    except Exception as error:  # noqa: BLE001 - the training is done, and a record without this number says so
        said = " ".join(f"{type(error).__name__}: {error}".split()).replace("; drop dry_run=true", "")
        return replace(work, problem=f"the model cannot be followed without its weights ({said[:250]})")


def _batches(cell: Cell, lengths: np.ndarray, steps: int) -> Iterator[np.ndarray]:
    """The global batches of the first ``steps`` optimizer steps."""
    epoch = 0
    while steps > 0:
        own = batching.epoch_batches(lengths, cell.trainer.batch_size, cell.trainer.length_bucket, cell.seed, epoch)
        yield from own[:steps]
        steps, epoch = steps - len(own), epoch + 1


def _auxiliary_batches(cell: Cell, spec: Auxiliary, lengths: np.ndarray, steps: int) -> Iterator[np.ndarray]:
    seed, window, number = derive(cell.seed, "auxiliary"), cell.trainer.length_bucket if spec.shuffle else 0, 0
    while steps > 0:
        own = pass_batches(spec, lengths, window, seed, number)
        yield from own[:steps]
        steps, number = steps - len(own), number + 1


def _shapes(cell: Cell, task: Task, rows: Encoded, batches: Iterable[np.ndarray], processes: int) -> Shapes:
    """The micro-batches of all processes; one that only fills a round is computed too."""
    found: Shapes = Counter()
    for batch in batches:
        for rank in range(processes):
            for indices, _ in batching.micro_batches(batch, rank, processes, cell.trainer.micro_batch_size):
                found[len(indices), task.width(rows.lengths[indices], cell.trainer.padding)] += 1
    return found


def _flops(
    cell: Cell,
    task: Task,
    splits: Mapping[str, Encoded],
    history: History,
    processes: int,
    precision: str,
    shapes: Shapes,
) -> dict[str, Any]:
    from uora_bench.errors import UserError

    train = splits["train"]
    has_width = task.width(train.lengths[:1], cell.trainer.padding) > 0
    if not has_width and cell.task.kind != "vision":
        raise UserError(f"task={cell.task.name} does not say how wide its batches are (Task.width)")
    looked = _Look(cell, task, train, has_width, precision)
    method = looked.adapted()
    spec = method.auxiliary()
    learnt = [] if spec is None or processes > 1 else [p for group in spec.param_groups for p in group["params"]]
    for parameter in learnt:  # they rest in the usual steps
        parameter.requires_grad_(False)
    passes = looked.passes()
    total = _sum(passes, shapes)
    auxiliary = None
    if spec is not None:
        for parameter in learnt:
            parameter.requires_grad_(True)
        steps = int(history.epochs[-1].method.get("auxiliary_steps", 0))
        held = splits[HELD_OUT]
        batches = _auxiliary_batches(cell, spec, held.lengths, steps)
        auxiliary = sum(_sum(looked.passes(), _shapes(cell, task, held, batches, processes)))
    mean = -(-history.tokens // history.examples) if has_width else 0
    merged = None
    if method.mergeable and cell.backbone.quantisation == "none":
        # PEFT's own layers are not told apart from the rest: the model without them has to be looked at
        plain = _Look(cell, task, train, has_width, precision).passes() if cell.method.name == "peft" else passes
        merged = plain.merged(1, mean)
    return {
        "forward": total.forward, "backward": total.backward, "auxiliary": auxiliary,
        "inference": passes.inference(1, mean), "inference_merged": merged, "inference_tokens": mean or None,
    }  # fmt: skip


def _sum(passes: PassFlops, shapes: Shapes) -> Flops:
    from uora_bench.training.flops import Flops

    total = Flops(0, 0)
    for (rows, width), count in shapes.items():
        total = total.plus(passes.at(rows, width), count)
    return total


class _Look:
    """A model with the cell's shapes and no content, and batches for it as the task makes them."""

    def __init__(self, cell: Cell, task: Task, train: Encoded, has_width: bool, precision: str) -> None:
        import torch
        from torch._subclasses.fake_tensor import FakeTensorMode

        from uora_bench.models import backbones
        from uora_bench.training.precision import resolve

        self.cell, self.task, self.has_width = cell, task, has_width
        self.cast = None if precision == "float32" else getattr(torch, resolve(precision))
        plain = replace(cell.backbone, quantisation="none")  # decoding is no product of matrices
        with torch.random.fork_rng(devices=[]):
            self.model: Any = backbones.skeleton(plain, task.head).to(getattr(torch, cell.backbone.dtype))
        rows = task.set_epoch(train, [[0]], None)
        self.template = task.collate(rows, [0], "dynamic")
        self.mode = FakeTensorMode()
        self.ready = False

    def adapted(self) -> Method:
        """Put the cell's method on the model; returns it."""
        from uora_bench.methods import create_method
        from uora_bench.training.inject import inject

        method = create_method(self.cell.method, self.cell.seed)
        inject(self.cell, self.model, method)
        return method

    def passes(self) -> PassFlops:
        """`flops.pass_flops` of the model as it is now."""
        import torch

        from uora_bench.training import flops, memory

        with torch.random.fork_rng(devices=[]), self.mode:
            if not self.ready:
                memory.give_storage(self.model)
                self.model.train()
                self.ready = True
            with torch.autocast("cpu", self.cast, enabled=self.cast is not None):
                return flops.pass_flops(
                    self.model,
                    lambda model, batch: self.task.loss(model, batch)[0],
                    self._batch,
                    self.has_width,
                    self.cast,
                )

    def _batch(self, rows: int, width: int) -> dict[str, Any]:
        import torch

        made = {}
        for name, tensor in self.template.items():
            shape = list(tensor.shape)
            if shape:
                shape[0] = rows
            if self.has_width and len(shape) > 1:
                shape[1] = width
            made[name] = torch.ones(shape, dtype=tensor.dtype) if shape else tensor
        return made

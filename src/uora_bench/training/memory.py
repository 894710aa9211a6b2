"""The memory a cell's training step takes, before it runs.

Two optimizer steps of the cell are traced with tensors that have shapes and no content (torch's fake tensors), at the
longest input the task allows, and every allocation and release is added up. Nothing is loaded, and the answer takes
seconds. It is what torch's allocator hands out at once: kernels' own workspace and fragmentation come on top, and on a
CPU the libraries' code.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uora_bench.config.cell import Cell
from uora_bench.config.preflight import preflight
from uora_bench.errors import UserError

if TYPE_CHECKING:
    import torch

_STEPS = 2  # the optimizer makes its state in the first


@dataclass(frozen=True)
class Prediction:
    """Bytes.

    ``model``: weights and adapter; ``optimizer``: its state; ``step``: what a step needs beside these at its peak
    (activations, gradients); ``peak``: all three. ``rows`` × ``tokens``: the input (tokens is 0 for pictures).
    """

    model: int
    optimizer: int
    step: int
    rows: int
    tokens: int

    @property
    def peak(self) -> int:
        """The largest number of bytes in use during a step."""
        return self.model + self.optimizer + self.step


def predict(cell: Cell, rows: int | None = None, tokens: int | None = None) -> Prediction:
    """The memory of a training step of ``cell`` with ``rows`` inputs of ``tokens`` in a forward pass, in one process.

    Default: the micro-batch, and the task's ``max_length``.

    Raises:
        UserError: for quantised or sharded weights, and for a method that cannot be traced so.
    """
    import torch
    from torch._subclasses.fake_tensor import FakeTensorMode

    from uora_bench.methods import create_method
    from uora_bench.models import backbones
    from uora_bench.tasks import create_task
    from uora_bench.training import cpu_ops, optimisation, precision
    from uora_bench.training.inject import inject

    if cell.backbone.quantisation != "none" or cell.trainer.sharding != "none":
        raise UserError(
            "memory is predicted for whole, unquantised weights; set trainer.sharding=none and no quantisation"
        )
    preflight(cell)
    method, task = create_method(cell.method, cell.seed), create_task(cell.task)
    model: Any = backbones.skeleton(cell.backbone, task.planned_head()[0]).to(getattr(torch, cell.backbone.dtype))
    inject(cell, model, method)
    if cell.trainer.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    rows = rows or cell.trainer.micro_batch_size or cell.trainer.batch_size
    tokens = tokens or int(getattr(task.config, "max_length", 0))
    limit = backbones.max_tokens(model)
    if limit is not None and tokens:
        tokens = min(tokens, limit - cell.method.extra_tokens)
    cast: torch.dtype = getattr(torch, precision.resolve(cell.trainer.precision))
    with FakeTensorMode() as mode:
        give_storage(model)
        if not torch.cuda.is_available() and cell.trainer.cpu_ops == "auto":
            cpu_ops.install(model)
        trained = [p for p in model.parameters() if p.requires_grad]
        optimizer = optimisation.adamw([{"params": trained, "lr": 0.0}], cell.trainer)
        model.train()
        ledger = _ledger()
        for tensor in (*model.parameters(), *model.buffers()):
            ledger.add(tensor)
        weights = ledger.live
        with ledger, mode:
            for _ in range(_STEPS):
                with torch.autocast("cpu", cast, enabled=cast is not torch.float32):
                    loss, weight = task.loss(model, _batch(cell, model, task, rows, tokens))
                (loss / weight).backward()
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        state = sum(t.numel() * t.element_size() for s in optimizer.state.values() for t in s.values())
    return Prediction(weights, state, ledger.peak - weights - state, rows, tokens)


def give_storage(model: torch.nn.Module) -> None:
    """Put fake tensors on the CPU in the place of a model's tensors on the meta device."""
    import torch

    made: dict[int, Any] = {}  # a tensor may be in several places

    def fake(tensor: Any) -> Any:
        if id(tensor) not in made:
            fresh = torch.empty(tensor.shape, dtype=tensor.dtype)
            is_parameter = isinstance(tensor, torch.nn.Parameter)
            made[id(tensor)] = torch.nn.Parameter(fresh, tensor.requires_grad) if is_parameter else fresh
        return made[id(tensor)]

    for module in model.modules():
        for held in (module._parameters, module._buffers):
            for name, tensor in held.items():
                if tensor is not None:
                    held[name] = fake(tensor)


def _batch(cell: Cell, model: Any, task: Any, rows: int, tokens: int) -> dict[str, Any]:
    """A micro-batch of the widest inputs, as the task's `collate` makes them."""
    import torch

    weight = torch.ones(rows)
    if cell.task.kind == "vision":
        side = model.config.image_size
        pixels = torch.ones(rows, model.config.num_channels, side, side)
        return {"pixel_values": pixels, "labels": torch.zeros(rows, dtype=torch.int64), "weight": weight}
    ids = torch.ones(rows, tokens, dtype=torch.int64)
    batch = {"input_ids": ids, "attention_mask": torch.ones_like(ids), "weight": weight}
    if cell.task.kind == "causal_lm":
        return {**batch, "labels": torch.zeros_like(ids)}
    kind = torch.float32 if getattr(task, "is_regression", False) else torch.int64
    return {**batch, "labels": torch.zeros(rows, dtype=kind)}


def _ledger() -> Any:
    """What keeps the account; made here, since its base class comes with torch."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode
    from torch.utils._pytree import tree_leaves

    class Ledger(TorchDispatchMode):
        """Bytes of all storages alive (``live``) and the most at once (``peak``), among those made inside it."""

        def __init__(self) -> None:
            super().__init__()
            self.live = self.peak = 0
            self._known: dict[int, weakref.ref[Any]] = {}

        def add(self, tensor: torch.Tensor) -> None:
            storage = tensor.untyped_storage()
            key, size = storage._cdata, storage.nbytes()
            if key in self._known:
                return
            self.live += size
            self.peak = max(self.peak, self.live)

            def gone(_: Any) -> None:
                self.live -= size
                self._known.pop(key, None)

            self._known[key] = weakref.ref(storage, gone)

        def __torch_dispatch__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
            result = func(*args, **(kwargs or {}))
            for leaf in tree_leaves(result):
                if isinstance(leaf, torch.Tensor):
                    self.add(leaf)
            return result

    return Ledger()

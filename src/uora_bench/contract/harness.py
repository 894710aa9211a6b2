"""What the checks of the contract share: a method on a tiny model, and a short run of the real trainer.

Nothing here knows a method by name. What differs between methods is asked of the method: its options, its layers,
`Method.mergeable`, `Method.auxiliary`, `Method.starts_elsewhere`, `Method.starts_alike`.
"""

from __future__ import annotations

import dataclasses
import signal
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs
from torch import Tensor, nn

from uora_bench.config.cell import HELD_OUT, Cell
from uora_bench.config.compose import compose
from uora_bench.contract.check import ensure
from uora_bench.contract.models import gpt2, inject, labelled, make_method, roberta, tokens
from uora_bench.errors import Interrupted, UserError
from uora_bench.execution.trackers import Tracker
from uora_bench.methods import create_method, method_class
from uora_bench.methods.base import Auxiliary, Method
from uora_bench.models.targets import Target
from uora_bench.tasks import create_task
from uora_bench.tasks.base import Encoded
from uora_bench.training import trainer
from uora_bench.training.checkpoint import Checkpoints
from uora_bench.training.inject import inject as put_on_model
from uora_bench.util.signals import StopRequest

BOTH = (roberta, gpt2)
RANK = 4  # what the tiny models can take
SLICES = ("q", "k", "v")  # of GPT-2's fused qkv


@cache
def options_of(name: str) -> frozenset[str]:
    """The option names of a method."""
    return frozenset(f.name for f in dataclasses.fields(method_class(name).Config)) - {"name", "version"}


def has_option(option: str) -> Callable[..., bool]:
    """Asked of methods that have ``option``."""
    return lambda name, **_: option in options_of(name)


def having(name: str, **options: Any) -> dict[str, Any]:
    """Those of ``options`` that the method has."""
    return {k: v for k, v in options.items() if k in options_of(name)}


def small(name: str, seed: int = 0, **options: Any) -> Method:
    """The method with its defaults, at a small rank, without those of ``options`` that it does not have."""
    return make_method(name, seed, **having(name, **{"rank": RANK, **options}))


# --- a method on a model ----------------------------------------------------------------------------------------------


@dataclass
class Adapted:
    """A model with a method on it; ``own`` are the model's parameters by the names they had before."""

    model: Any
    method: Method
    targets: list[Target]
    own: dict[str, nn.Parameter]

    def weights(self) -> dict[str, Tensor]:
        """Copies of the backbone's own tensors, found by identity: a method may rename what it wraps."""
        return {n: p.detach().clone() for n, p in self.own.items()}

    def new_parameters(self) -> list[nn.Parameter]:
        """What the method trains that the backbone did not have."""
        owned = {id(p) for p in self.own.values()}
        return [p for p in self.method.parameters() if id(p) not in owned]

    def logits(self) -> Tensor:
        """The logits of the contract's fixed batch, without gradients."""
        return logits(self.model)

    def loss(self) -> Tensor:
        """The loss of one batch with the method's own term, as training has it."""
        loss = batch_loss(self.model)
        extra = self.method.regulariser()
        return loss if extra is None else loss + extra


def batch_loss(model: Any) -> Tensor:
    """The mean cross-entropy of one batch in nats, in the logits' precision, at least float32."""
    batch = labelled(model)
    labels = batch.pop("labels")
    out = model(**batch).logits
    if out.ndim == 3:  # a language model: each token predicts the next
        out, labels = out[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    return F.cross_entropy(out if out.dtype.itemsize >= 4 else out.float(), labels)


def adapted(
    name: str,
    make: Callable[..., Any] = roberta,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
    kinds: tuple[str, ...] | None = None,
    prepare: Callable[[Any], None] | None = None,
    **options: Any,
) -> Adapted:
    """The method on a fresh model; the cell's seed is also the generator's, as in a run.

    A method that cannot take slices of a fused projection says so and names the way out, 'qkv'; that way is taken.
    ``kinds``: the target modules, None: the method's own; ``prepare`` gets the bare model. Raises what `inject` raises.
    """
    fused = tuple(dict.fromkeys("qkv" if k in SLICES else k for k in (kinds if kinds is not None else ("q",))))
    for attempt in (kinds, fused):
        model, method = make(dtype), small(name, seed, **options)
        if prepare is not None:
            prepare(model)
        own = dict(model.named_parameters())
        try:
            return Adapted(model, method, inject(method, model, attempt, seed), own)
        except UserError as error:
            if make is not gpt2 or attempt is fused or "qkv" not in str(error):
                raise
    raise AssertionError("the second attempt returns or raises")


@cache
def looked_at(name: str, make: Callable[..., Any]) -> Adapted:
    """The method on a fresh model, made once: to be asked, not changed."""
    return adapted(name, make)


def where(holds: Callable[[Adapted], Any]) -> Callable[..., bool]:
    """Asked of a method on models on which ``holds`` is true of it."""
    return lambda name, make=roberta, **_: bool(holds(looked_at(name, make)))


def trains_something(it: Adapted) -> bool:
    """Whether the method itself trains anything, beside the head."""
    return bool(it.method.parameters())


@torch.no_grad()
def logits(model: Any) -> Tensor:
    """The logits of `tokens`, without gradients."""
    return model(**tokens(model)).logits


@torch.no_grad()
def perturb(method: Method, scale: float = 0.5) -> None:
    """Add normal noise of standard deviation ``scale`` to everything that is trained, the same each time."""
    generator = torch.Generator().manual_seed(7)
    for parameter in method.parameters():
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        parameter.add_(noise.to(parameter.dtype), alpha=scale)


def same(left: Mapping[str, Tensor], right: Mapping[str, Tensor]) -> bool:
    """Equal bit for bit, names included."""
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def file_of(method: Method) -> dict[str, Tensor]:
    """Copies of what ``adapter.safetensors`` holds, by name."""
    return {k: v.detach().clone().contiguous() for k, v in method.adapter_state().items()}


def identical(left: Any, right: Any) -> bool:
    """Nested states, equal bit for bit."""
    if isinstance(left, Tensor):
        return isinstance(right, Tensor) and left.dtype == right.dtype and torch.equal(left, right)
    if isinstance(left, Mapping):
        return left.keys() == right.keys() and all(identical(left[k], right[k]) for k in left)
    if isinstance(left, (list, tuple)):
        return len(left) == len(right) and all(identical(a, b) for a, b in zip(left, right, strict=True))
    return bool(left == right)


# --- the real trainer -------------------------------------------------------------------------------------------------

ROWS, BATCH, PER_EPOCH = 40, 8, 5  # training rows, rows of a step, steps of an epoch


def encoded(count: int, seed: int) -> Encoded:
    """Made-up token sequences whose label is a function of one token, so that there is something to learn."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(5, 20, count)
    ids: Any = [generator.integers(3, 99, n).tolist() for n in lengths]
    labels = np.array([i[1] % 2 for i in ids], dtype=np.int64)
    return Encoded({"input_ids": ids}, labels, lengths.astype(np.int64), {"input_ids": 1})


@dataclass
class Trained:
    """A run of the trainer, before or after it: what it trains, what it left, and the rows it logged."""

    cell: Cell
    method: Method
    model: Any
    head: dict[str, nn.Parameter]
    own: dict[str, nn.Parameter]  # as in `Adapted`
    history: trainer.History | None = None  # None: not begun, or interrupted
    rows: list[dict[str, float]] = field(default_factory=list)

    @property
    def losses(self) -> list[float]:
        """The logged training losses, in the order of the steps."""
        return [r["train/loss"] for r in self.rows if "train/loss" in r]

    def outcome(self) -> dict[str, Any]:
        """All that must not depend on interruptions: no seconds, no bytes of memory."""
        assert self.history is not None
        epochs = [replace(e, seconds=0.0) for e in self.history.epochs]
        counts = {k: getattr(self.history, k) for k in ("steps", "examples", "tokens", "best_epoch", "best_score")}
        return {
            "epochs": epochs,
            **counts,
            "adapter": file_of(self.method),
            "state": self.method.state(),
            "head": {k: p.detach().clone() for k, p in self.head.items()},
            "report": self.method.report(),
        }


def epochs_for(spec: Auxiliary | None) -> int:
    """Two epochs, or as many as three auxiliary steps need."""
    if spec is None:
        return 2
    return 3 if spec.phase == "epoch" else max(2, -(-3 * spec.every // PER_EPOCH))


def stops_for(spec: Auxiliary | None) -> tuple[int, ...]:
    """Steps to be stopped in: within an epoch, at its end before the evaluation, and in a later one.

    Two of them have auxiliary steps behind them, and one is just after such a step.
    """
    if spec is None or spec.phase == "epoch":
        return 3, PER_EPOCH, PER_EPOCH + 1, PER_EPOCH + 3
    return 3, 2 * PER_EPOCH, spec.every, 2 * spec.every, 2 * spec.every + 3


def set_up(
    name: str, seed: int = 0, options: Mapping[str, Any] | None = None,
    model_changes: Mapping[str, Any] | None = None, **changes: Any,
) -> Trained:  # fmt: skip
    """The method on the tiny RoBERTa as `run` puts it there; ``changes`` are of the trainer's settings."""
    chosen = having(name, **{"rank": RANK, **(options or {})})
    words = [f"method={name}", "task=glue/rte", "recipe=none", f"seed={seed}"]
    cell = compose(words + [f"method.{k}={v}" for k, v in chosen.items()]).cell
    method = create_method(cell.method, seed)
    model = roberta(torch.float32, **(model_changes or {}))
    own = dict(model.named_parameters())
    if changes.get("gradient_checkpointing"):
        checkpointed(model)
    head, _ = put_on_model(cell, model, method)
    settings: dict[str, Any] = {"batch_size": BATCH, "lr_adapter": 3e-3, "precision": "float32", "log_every": 1}
    settings |= {"epochs": epochs_for(method.auxiliary()), **changes}
    return Trained(replace(cell, trainer=replace(cell.trainer, **settings)), method, model, head, own)


def train(name: str, folder: Path, stop_at: int | None = None, **settings: Any) -> Trained:
    """Train what `set_up` makes of ``settings`` with the real trainer; go on from ``folder`` if it was begun there.

    ``stop_at``: the run is told to stop, as by a signal, in this optimizer step.
    """
    trained, stop = set_up(name, **settings), StopRequest()
    splits = {"train": encoded(ROWS, 0), "dev": encoded(21, 1)}
    if trained.method.auxiliary() is not None:
        splits[HELD_OUT] = encoded(13, 2)

    class Rows(Tracker):
        def log(self, values: Any, step: int) -> None:
            trained.rows.append({"step": step, **values})

    after_step = trained.method.after_step

    def and_stop(step: int) -> Any:
        if step == stop_at:
            stop.signum = signal.SIGTERM
        return after_step(step)

    trained.method.after_step = and_stop  # type: ignore[method-assign]
    handlers = [DistributedDataParallelKwargs(broadcast_buffers=False)]
    accelerator = Accelerator(cpu=True, mixed_precision="no", kwargs_handlers=handlers)
    cell, model, head, method = trained.cell, trained.model, trained.head, trained.method
    task, checkpoints = create_task(cell.task), Checkpoints(folder, "0" * 16)
    try:
        trained.history = trainer.fit(cell, model, head, method, task, splits, Rows(), checkpoints, accelerator, stop)
    except Interrupted:
        assert stop_at is not None
    return trained


@cache
def plain_run(name: str) -> Trained:
    """An undisturbed run with the defaults, made once: to be looked at, not changed."""
    with tempfile.TemporaryDirectory() as folder:
        return train(name, Path(folder))


def checkpointed(model: Any) -> None:
    """Gradient checkpointing on, as `run` does it."""
    model.gradient_checkpointing_enable({"use_reentrant": False})
    ensure(any(getattr(m, "gradient_checkpointing", False) for m in model.modules()), "no module checkpoints")

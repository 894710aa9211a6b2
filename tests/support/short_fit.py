"""The training loop on a tiny RoBERTa and made-up rows, in process."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from accelerate import Accelerator

from uora_bench.config.cell import DEV_LOSS, HELD_OUT
from uora_bench.config.compose import compose
from uora_bench.contract.models import inject, roberta
from uora_bench.execution.trackers import Tracker
from uora_bench.methods import create_method
from uora_bench.models.heads import head_parameters
from uora_bench.tasks import create_task
from uora_bench.tasks.base import Encoded
from uora_bench.training import trainer
from uora_bench.training.checkpoint import Checkpoints
from uora_bench.util.signals import StopRequest

ID = "0123456789abcdef"


def encoded(count: int, seed: int) -> Encoded:
    """Made-up token sequences whose label is a function of one token, so that there is something to learn."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(5, 20, count)
    ids = [generator.integers(3, 99, n).tolist() for n in lengths]
    labels = np.array([i[1] % 2 for i in ids], dtype=np.int64)
    return Encoded({"input_ids": ids}, labels, lengths.astype(np.int64), {"input_ids": 1})


def short_fit(tmp_path, method_name="uora", model_changes=None, method_options=None, prepare=None, **changes):
    """Train the tiny RoBERTa for two epochs of 40 examples; returns (history, method, logged rows). ``prepare``: called
    with the adapted model and its method before training."""
    options = {"rank": 8} if method_name in ("uora", "vera", "lora") else {}
    options |= method_options or {}
    words = [f"method={method_name}", "task=glue/rte", "recipe=none", *(f"method.{k}={v}" for k, v in options.items())]
    cell = compose(words).cell
    settings = {"epochs": 2, "batch_size": 8, "lr_adapter": 1e-2, "precision": "float32", "log_every": 1, **changes}
    cell = replace(cell, trainer=replace(cell.trainer, **settings))
    task = create_task(cell.task)
    model = roberta(torch.float32, **(model_changes or {}))
    if cell.trainer.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    method = create_method(cell.method, cell.seed)
    inject(method, model)
    head = head_parameters(model)
    for parameter in head.values():
        parameter.requires_grad_(True)
    if prepare is not None:
        prepare(model, method)
    rows: list[dict[str, float]] = []

    class Rows(Tracker):
        def log(self, values, step):
            rows.append({"step": step, **values})

    splits = {"train": encoded(40, 0), "dev": encoded(21, 1), HELD_OUT: encoded(16, 2)}
    if cell.trainer.patience is not None:
        splits[DEV_LOSS] = splits["dev"]
    history = trainer.fit(
        cell, model, head, method, task, splits, Rows(), Checkpoints(tmp_path, ID), Accelerator(cpu=True), StopRequest()
    )  # fmt: skip
    return history, method, rows

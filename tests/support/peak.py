"""Trains a step or two of a cell on weights of random content and prints the process's memory: run by test_memory.py.

Words: rows, tokens, then the cell's. Prints two numbers: resident bytes before the model is made, and at the peak.
"""

from __future__ import annotations

import sys
from typing import Any

import torch
import transformers

from uora_bench.config.compose import compose
from uora_bench.methods import create_method
from uora_bench.tasks import create_task
from uora_bench.training import cpu_ops, memory, optimisation, peak_memory, precision
from uora_bench.training.inject import inject


def main() -> None:
    rows, tokens = int(sys.argv[1]), int(sys.argv[2])
    cell = compose(sys.argv[3:]).cell
    method = create_method(cell.method, cell.seed)
    task = create_task(cell.task)
    transformers.AutoModelForSequenceClassification  # noqa: B018 - imports most of the library
    peak_memory.reset_peak_memory()
    before = peak_memory.peak_memory()[0]
    assert cell.backbone.architecture is not None
    config = transformers.AutoConfig.for_model(**cell.backbone.architecture, **task.head.config)
    model: Any = getattr(transformers, task.head.auto_class).from_config(config)
    model.head_modules = tuple(cell.backbone.head)
    head, _ = inject(cell, model, method)
    cpu_ops.install(model)
    optimizer = optimisation.adamw(optimisation.groups(cell.trainer, method, head), cell.trainer)
    low = precision.resolve(cell.trainer.precision) != "float32"
    model.train()
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            loss, weight = task.loss(model, memory._batch(cell, model, task, rows, tokens))
        (loss / weight).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    print(before, peak_memory.peak_memory()[0])


main()

"""Runs the real command line and kills its own process (SIGKILL) at a chosen moment: ``killer.py PLACE NTH word …``."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(nth: int, original: Callable[..., Any], act: Callable[..., Any]) -> Callable[..., Any]:
    """``original``, but call number ``nth`` goes to ``act``."""
    calls = [0]

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        calls[0] += 1
        return act(*args, **kwargs) if calls[0] == nth else original(*args, **kwargs)

    return wrapper


def arm(place: str, nth: int, words: list[str]) -> None:
    """Patch the program so that it dies at the ``nth`` visit of ``place``."""
    import safetensors.torch
    import torch

    from uora_bench.config.compose import compose
    from uora_bench.records.record import CellRecord
    from uora_bench.tasks import task_class
    from uora_bench.training import trainer
    from uora_bench.training.kept import KeptPredictions

    family = task_class(compose(words).values["task"]["family"])

    def half_written(state: Any, path: Any) -> None:
        torch_save(state, path)
        with open(path, "r+b") as handle:
            handle.truncate(os.path.getsize(path) // 2)
        die()

    torch_save = torch.save
    if place == "step":
        trainer._Fit._step = at_call(nth, trainer._Fit._step, lambda *a: die())
    elif place == "evaluation":
        family.predict = at_call(nth, family.predict, lambda *a: die())
    elif place == "signal":  # SIGTERM in an evaluation, which the program survives long enough to save
        predict = family.predict
        family.predict = at_call(nth, predict, lambda *a: (os.kill(os.getpid(), signal.SIGTERM), predict(*a))[1])
    elif place == "checkpoint":
        torch.save = at_call(nth, torch_save, half_written)
    elif place == "adapter":
        safetensors.torch.save_file = at_call(nth, safetensors.torch.save_file, lambda *a, **k: die())
    elif place == "predictions":
        KeptPredictions.save = at_call(nth, KeptPredictions.save, lambda *a: die())
    elif place == "record":
        CellRecord.write = at_call(nth, CellRecord.write, lambda *a: die())
    else:
        raise ValueError(place)


if __name__ == "__main__":
    arm(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
    from uora_bench.cli.main import main

    sys.exit(main(sys.argv[3:]))

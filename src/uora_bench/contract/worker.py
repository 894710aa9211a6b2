"""One of the two processes of `processes`: ``worker.py RESULT METHOD …``, started by torchrun.

Trains each method with `train`; the first process writes what it saw, and whether all ended with the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from accelerate import PartialState
from accelerate.utils import gather_object

from uora_bench.contract.harness import Trained, file_of, train

# an uneven share in every batch (15 and then 10 of 40 rows over two processes), one of them in two micro-batches
# a large eps: without it Adam hides a gradient that is wrong by a factor, such as the number of processes
SETTINGS: dict[str, Any] = {
    "batch_size": 15, "micro_batch_size": 5, "eps": 1e-2, "lr_adapter": 3e-2, "lr_head": 1e-2,
    "options": {"criterion": "quantile", "tau": 0.3, "k": 2, "alpha_every": 2},  # where there are such: all fire often
}  # fmt: skip


def facts(trained: Trained) -> dict[str, Any]:
    """What must not depend on the number of processes, as plain values."""
    assert trained.history is not None
    kept = ("epoch", "step", "train_loss", "scores", "halves", "method")
    epochs = [{k: getattr(e, k) for k in kept} for e in trained.history.epochs]
    return {"losses": trained.losses, "epochs": epochs, "report": trained.method.report()}


def digest(trained: Trained) -> str:
    """The sha256 of the bytes of the adapter and the head."""
    tensors = {**file_of(trained.method), **{f"head.{k}": p.detach() for k, p in trained.head.items()}}
    return hashlib.sha256(b"".join(tensors[k].numpy().tobytes() for k in sorted(tensors))).hexdigest()


def main(result: str, *names: str) -> None:
    """Train every method of ``names`` in this process group; the first process writes its facts to ``result``."""
    state = PartialState(cpu=True)
    answers: dict[str, Any] = {}
    for name in names:
        with tempfile.TemporaryDirectory() as folder:
            trained = train(name, Path(folder), **SETTINGS)
        answers[name] = facts(trained) | {"digests": gather_object([digest(trained)])}
        answers[name] |= {"processes": state.num_processes}
        if state.is_main_process:
            Path(result).write_text(json.dumps(answers))  # as far as it came, should the next one fail
    state.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])

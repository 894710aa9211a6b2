"""``uora-bench memory method=… task=… backbone=…``: the memory a cell's training step will take."""

from __future__ import annotations

import sys

from uora_bench.cli import exits

_HELP = """uora-bench memory: the memory a cell's training step takes, before it runs

usage: uora-bench memory method=… task=… [backbone=…] [any.key=value]

Two optimizer steps of the cell are traced with tensors that have shapes and no content, at the longest input the task
allows, and every allocation and release is added up. Nothing is loaded, and the answer takes seconds. It is what
torch's allocator hands out at once: kernels' own workspace and fragmentation come on top, and on a CPU the libraries'
code."""


def main(words: list[str] | None = None) -> int:
    """Print the prediction for the cell that ``words`` name; returns the exit code."""
    given = sys.argv[1:] if words is None else words
    return exits.run(lambda: _main(given), "")


def _main(words: list[str]) -> int:
    from uora_bench.config.compose import compose
    from uora_bench.training import memory

    if any(w in ("-h", "--help") for w in words):
        print(_HELP, flush=True)
        return 0
    cell = compose(words).cell
    found = memory.predict(cell)
    of = f"{found.rows} × {found.tokens} tokens" if found.tokens else f"{found.rows} pictures"
    print(f"{cell.label}: {found.peak / 1e9:.2f} GB at the peak of a training step, {of} in a forward pass")
    for name, size in (("model", found.model), ("optimizer state", found.optimizer), ("the step", found.step)):
        print(f"  {name:<16}{size / 1e9:8.2f} GB")
    return 0

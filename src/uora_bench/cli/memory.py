"""``uora-bench memory method=… task=… backbone=…``: the memory a cell's training step will take."""

from __future__ import annotations

from uora_bench.cli import keys
from uora_bench.cli.parser import Command, Given
from uora_bench.util.words import count


def _act(given: Given) -> int:
    from uora_bench.config import synonyms
    from uora_bench.config.compose import compose
    from uora_bench.training import memory

    cell = compose(synonyms.canonical_once(given.passed)).cell
    found = memory.predict(cell)
    of = f"{found.rows} × {count(found.tokens, 'token')}" if found.tokens else count(found.rows, "picture")
    print(f"{cell.label}: {found.peak / 1e9:.2f} GB at the peak of a training step, {of} in a forward pass")
    for name, size in (("model", found.model), ("optimizer state", found.optimizer), ("the step", found.step)):
        print(f"  {name:<16}{size / 1e9:8.2f} GB")
    return 0


COMMAND = Command(
    "memory",
    "the memory a cell's training step takes, before it runs",
    _act,
    passed=(*keys.CELL, keys.ANY),
    about=(
        "Two optimizer steps of the cell are traced with tensors that have shapes and no content, at the longest "
        "input the task allows, and every allocation and release is added up. Nothing is loaded, and the answer takes "
        "seconds. It is what torch's allocator hands out at once: kernels' own workspace and fragmentation come on "
        "top, and on a CPU the libraries' code.",
    ),
    examples=("memory method=lora task=instruct/alpaca backbone=llama2_7b",),
)

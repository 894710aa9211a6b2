"""``memory=true``: the memory of cells to be run, from a trace of a training step.

Records of like cells may have had another rank, batch or precision; a trace is of this cell. It takes seconds for every
row and imports torch, so it is asked for; `uora_bench.training.memory` says what it counts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from uora_bench.config.cell import Cell
from uora_bench.errors import UserError
from uora_bench.grid.model import OPEN, Plan


def fill(plan: Plan, cells: Mapping[str, Cell | None], trace: Callable[[Cell], int]) -> tuple[Plan, list[str]]:
    """``plan`` with the bytes of ``trace(cell)`` in every cell to be run; one trace per row, since a seed changes none.

    And a line per reason why rows have none.
    """
    found: dict[str, int | None] = {}
    refused: dict[str, list[str]] = {}
    items = []
    for item in plan.items:
        cell = cells.get(item.key)
        if item.state not in OPEN or cell is None:
            items.append(item)
            continue
        if item.row not in found:
            try:
                found[item.row] = trace(cell)
            except UserError as error:
                found[item.row] = None
                refused.setdefault(str(error), []).append(item.row)
        size = found[item.row]
        items.append(item if size is None else replace(item, memory_bytes=size, memory_traced=True))
    return replace(plan, items=tuple(items)), [f"not traced: {', '.join(rows)}: {why}" for why, rows in refused.items()]

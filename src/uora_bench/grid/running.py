"""The running cells of a grid for people: one line each, from what they write to their run folders."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from uora_bench.grid.model import Item, Plan
from uora_bench.grid.show import duration
from uora_bench.records import attempts
from uora_bench.util.live import Live, read_live

if TYPE_CHECKING:
    from rich.table import Table

_SHOWN = 12  # running cells that a table has lines for


def read_item(plan: Plan, item: Item) -> Live | None:
    """How far ``item`` is; None while it loads, or where it says nothing."""
    runs = Path(plan.runs_dir)
    lease = attempts.read_lease(attempts.attempts_folder(runs, plan.experiment), item.key)
    return read_live(runs / plan.experiment / lease.cell_id) if lease is not None else None


def words(live: Live | None) -> str:
    """``step 120/300 · epoch 2 · loss 0.412 · dev accuracy 80.12``; ``loading`` before the first step."""
    if live is None:
        return "loading"
    return " · ".join([live.what or f"step {live.step}/{live.steps}", *(f"{k} {v}" for k, v in live.facts.items())])


def table(rows: Sequence[tuple[str, Live | None, float | None]]) -> Table:
    """A line for each of ``rows`` (label, how far, seconds it has been running where known)."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table.grid(padding=(0, 2), expand=True)
    drawn.add_column(no_wrap=True, overflow="ellipsis", ratio=2)
    drawn.add_column(no_wrap=True, overflow="ellipsis", ratio=3)
    drawn.add_column(no_wrap=True, justify="right")
    for label, live, spent in rows[:_SHOWN]:
        if live is not None and live.left is not None:
            time = f"{duration(live.left)} left"
        else:
            time = duration(spent) if spent is not None else ""
        drawn.add_row(Text(label), Text(words(live), style="cyan"), time)
    if len(rows) > _SHOWN:
        drawn.add_row(f"and {len(rows) - _SHOWN} more", "", "")
    return drawn

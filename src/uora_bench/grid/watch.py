"""A grid seen from another shell, while this machine, another one or Slurm runs it."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from uora_bench.grid import running, show
from uora_bench.grid.model import Plan

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

EVERY = 2.0  # seconds between two looks
AGAIN = 30.0  # seconds between two lines of one running cell, where there is no terminal


def watch(look: Callable[[], Plan], console: Console, every: float = EVERY) -> None:
    """Show the plan that ``look`` makes every ``every`` seconds until no cell runs or waits in Slurm.

    On a terminal a table; elsewhere a line for each cell whose state has changed.
    """
    plan = look()
    if console.is_terminal:
        from rich.live import Live

        with Live(_drawn(plan), console=console, auto_refresh=False) as live:
            while plan.in_state("running", "queued"):
                time.sleep(every)
                plan = look()
                live.update(_drawn(plan), refresh=True)
    else:
        said: dict[str, tuple[str, float]] = {}
        while True:
            _say(plan, said, console)
            if not plan.in_state("running", "queued"):
                break
            time.sleep(every)
            plan = look()
    ends = "nothing of it is running" if plan.to_run() else "all of it is done"
    console.print(f"{plan.experiment}: {ends}", highlight=False, markup=False, soft_wrap=True)


def _drawn(plan: Plan) -> RenderableType:
    from rich.console import Group
    from rich.text import Text

    rows = [(item.label, running.read_item(plan, item), None) for item in plan.in_state("running")]
    return Group(show.table(plan), running.table(rows), *(Text(line) for line in show.totals(plan)))


def _say(plan: Plan, said: dict[str, tuple[str, float]], console: Console) -> None:
    """A line for each item in another state than ``said`` (by key: state, when), and now and then for a running one."""
    first, clock = not said, time.monotonic()
    for item in plan.items:
        state, when = said.get(item.key, ("", 0.0))
        if state == item.state and not (item.state == "running" and clock - when > AGAIN):
            continue
        said[item.key] = (item.state, clock)
        if first and item.state in ("done", "todo", "skip"):
            continue
        text = show.NAMES.get(item.state, item.state) + (f" ({item.reason})" if item.reason else "")
        if item.state == "running":
            text = f"running: {running.words(running.read_item(plan, item))}"
        console.print(f"{item.label}: {text}", highlight=False, markup=False, soft_wrap=True)

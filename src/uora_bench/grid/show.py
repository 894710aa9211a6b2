"""A plan as one table, and the lines around it. rich draws; nothing here decides."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from uora_bench.grid.model import OPEN, Item, Plan, State
from uora_bench.util.words import count

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

COLOURS = {"done": "green", "stale": "yellow", "failed": "red", "running": "cyan", "queued": "cyan", "skip": "dim"}
NAMES = {"todo": "to do"}


def duration(seconds: float | None) -> str:
    """``3 h 20 min``, ``4 min``, ``12 s``; ``?`` for None."""
    if seconds is None:
        return "?"
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02d} min" if hours < 48 else f"{hours / 24:.1f} days"


def memory(size: int | None, traced: bool = False) -> str:
    """``1.2 GB``, ``38 MB``; ``~1.2 GB`` for a trace; ``?`` for None."""
    if size is None:
        return "?"
    return ("~" if traced else "") + (f"{size / 1e9:.1f} GB" if size >= 10**8 else f"{size / 1e6:.0f} MB")


def table(plan: Plan) -> RenderableType:
    """One line per row of the grid: how many of its seeds are in which state, and what one of its cells costs."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    drawn.add_column("row", overflow="fold")
    drawn.add_column("cells", justify="right")
    drawn.add_column("state", overflow="fold")
    drawn.add_column("time each", justify="right")
    drawn.add_column("memory", justify="right")
    for name, items in rows(plan).items():
        states = Counter(item.state for item in items)
        text = Text(", ").join(
            Text(f"{count} {NAMES.get(state, state)}", style=COLOURS.get(state, "")) for state, count in states.items()
        )
        reasons = list(dict.fromkeys(i.reason for i in items if i.reason))
        if reasons:
            text.append(f": {reasons[0]}" + (f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""))
        estimate = next((i for i in items if i.seconds is not None), items[0])
        needed = max(items, key=lambda i: (i.memory_traced, i.memory_bytes is not None))
        size = memory(needed.memory_bytes, needed.memory_traced)
        drawn.add_row(Text(name), str(len(items)), text, duration(estimate.seconds), size)
    return drawn


def rows(plan: Plan) -> dict[str, list[Item]]:
    """The items of every row, in launch order."""
    found: dict[str, list[Item]] = {}
    for item in plan.items:
        found.setdefault(item.row, []).append(item)
    return found


def totals(plan: Plan) -> list[str]:
    """The sums below the table."""
    states = Counter(item.state for item in plan.items)
    order: tuple[State, ...] = ("done", "stale", "failed", "running", "queued", "todo", "skip")
    counts = " · ".join(f"{states[s]} {NAMES.get(s, s)}" for s in order if states[s])
    lines = [f"{count(len(plan.items), 'cell')}: {counts}"]
    open_items = [item for item in plan.items if item.state in OPEN]
    known = [item for item in open_items if item.seconds is not None]
    if known:
        total = sum(float(i.seconds or 0) * i.processes for i in known)  # GPU-hours, where the records are of GPUs
        hours = f"{total / 3600:.1f} device hours" if total >= 3600 else f"{duration(total)} on one device"
        unknown = len(open_items) - len(known)
        more = f", and {count(unknown, 'cell')} without a like record" if unknown else ""
        recorded = [i.memory_bytes for i in known if i.memory_bytes is not None and not i.memory_traced]
        largest = f"; the largest takes {memory(max(recorded))}" if recorded else ""
        lines.append(
            f"to run: {count(len(open_items), 'cell')}, {hours}{more}{largest}; "
            f"estimated from {known[0].basis}" + (" and others" if len({i.basis for i in known}) > 1 else "")
        )
    elif open_items:
        lines.append(f"to run: {count(len(open_items), 'cell')}; no record of like cells to estimate their time from")
    traced = [item.memory_bytes or 0 for item in open_items if item.memory_traced]
    if traced:
        most = memory(max(traced), True)
        lines.append(f"memory with ~ is that of a training step traced at the longest input, no record: {most} at most")
    return lines


def power(plan: Plan) -> list[str]:
    """What the grid can see of a difference from the reference row, where one is declared."""
    if not plan.power:
        if len({item.seed for item in plan.items}) < 2:
            why = "one seed does not show how far seeds lie apart; plan two or more"
        else:
            why = "no record says how many items are scored, or no score is a percentage; run one cell, and plan again"
        return [f"power against the reference row is not known: {why}"] if plan.margin is not None else []
    head = "power against the reference row, over items and seeds (80 %, two-sided 5 %; docs/statistics.md):"
    return [head, *(f"  {one.text}" for one in plan.power)]


def duplicates(number: int) -> str:
    """What to say of ``number`` rows that were left out."""
    what = "is the same cell as one before and was" if number == 1 else "are the same cell as one before and were"
    return f"{count(number, 'row')} {what} left out"


def show(plan: Plan, notes: list[str], console: Console, note: str = "") -> None:
    """Print the plan: ``note`` of its preset above the table, ``notes`` below."""
    from rich.text import Text

    console.print(Text.assemble((plan.experiment, "bold"), " ", plan.title), soft_wrap=True)
    if note:
        console.print(" ".join(note.split()), highlight=False, markup=False, style="dim")
    console.print(table(plan), highlight=False)
    for line in [*totals(plan), *power(plan), *notes]:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

"""How a grid is going: a live table on a terminal, a line per event elsewhere."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from uora_bench.grid.model import Item, Plan
from uora_bench.grid.show import duration

if TYPE_CHECKING:
    from rich.console import Console

    from uora_bench.grid.launch.attempt import Outcome, Running

REFRESH = 0.5  # seconds between two drawings
_SHOWN = 12  # running cells that the table has lines for


class Board:
    """Shows a grid on ``console``; a context manager around the work."""

    def __init__(self, plan: Plan, slots: int, console: Console) -> None:
        self.plan, self.slots, self.console = plan, slots, console
        self.done = len(plan.in_state("done"))
        self.total = len(plan.items) - len(plan.in_state("skip"))
        self.failed = 0
        self.ratios: list[float] = []  # measured time of a cell by its estimate
        self.times: list[float] = []
        self._live: Any = None
        self._drawn = 0.0

    def __enter__(self) -> Board:
        if self.console.is_terminal:
            from rich.live import Live

            # no thread of its own: children are started from this one
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        if self._live is not None:
            self._live.__exit__(*error)
            self._live = None

    def say(self, line: str) -> None:
        """One line that stays."""
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def started(self, item: Item, place: str, again: bool) -> None:
        if self._live is None and not again:
            self.say(f"[{self.done + self.failed}/{self.total}] started {item.label} on {place}")

    def ended(self, item: Item, outcome: Outcome) -> None:
        """Count ``outcome`` and say it."""
        if outcome.status == "done":
            self.done += 1
            self.times.append(outcome.seconds)
            if item.seconds:
                self.ratios.append(outcome.seconds / item.seconds)
        else:
            self.failed += 1
        what = "done" if outcome.status == "done" else f"FAILED ({outcome.reason})"
        self.say(f"[{self.done + self.failed}/{self.total}] {what} {item.label} ({duration(outcome.seconds)})")

    def show(self, running: Sequence[Running], waiting: Sequence[Item], elsewhere: Mapping[str, float]) -> None:
        """Draw the table anew, now and then."""
        now = time.monotonic()
        if self._live is None or now - self._drawn < REFRESH:
            return
        self._drawn = now
        self._live.update(self._table(running, waiting, elsewhere, now), refresh=True)

    def left(self, running: Sequence[Running], waiting: Sequence[Item], now: float) -> float | None:
        """Seconds until the grid is done: estimates, corrected by how right they were so far."""
        ratio = statistics.median(self.ratios) if self.ratios else 1.0
        usual = statistics.median(self.times) if self.times else None

        def cost(item: Item) -> float | None:
            return item.seconds * ratio if item.seconds is not None else usual

        open_items = [(cost(r.item), now - r.clock) for r in running] + [(cost(i), 0.0) for i in waiting]
        if not open_items or any(c is None for c, _ in open_items):
            return None
        rest = [max(0.0, float(c or 0.0) - spent) for c, spent in open_items]
        return max(sum(rest) / max(1, self.slots), max(rest))

    def _table(
        self, running: Sequence[Running], waiting: Sequence[Item], elsewhere: Mapping[str, float], now: float
    ) -> Any:
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        drawn = Table.grid(padding=(0, 2))
        for entry in list(running)[:_SHOWN]:
            expected = f"of about {duration(entry.item.seconds)}" if entry.item.seconds else ""
            drawn.add_row(Text("running", style="cyan"), Text(entry.item.label), duration(now - entry.clock), expected)
        if len(running) > _SHOWN:
            drawn.add_row("", f"and {len(running) - _SHOWN} more", "", "")
        left = self.left(running, waiting, now)
        away = f", {len(elsewhere)} of them elsewhere" if elsewhere else ""
        counts = (
            f"{self.plan.experiment}: {self.done} of {self.total} done, {self.failed} failed, {len(running)} running, "
            f"{len(waiting)} waiting{away}" + (f"; about {duration(left)} left" if left is not None else "")
        )
        return Group(drawn, Text(counts))

"""How a grid is going: a live table on a terminal, a line per event elsewhere."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from uora_bench.errors import UserError
from uora_bench.grid import running as running_cells
from uora_bench.grid.model import Item, Plan
from uora_bench.grid.show import duration
from uora_bench.records.record import find_record
from uora_bench.records.selection import last_score
from uora_bench.util.live import Live

if TYPE_CHECKING:
    from rich.console import Console

    from uora_bench.grid.launch.attempt import Outcome, Running

REFRESH = 0.5  # seconds between two drawings


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
        self._lines: list[
            str
        ] = []  # keys of running cells: each keeps its line, a new one takes that of one that ended
        self._states: dict[str, Live | None] = {}

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
        """Print that ``item`` has started on ``place``; nothing on a terminal, where the table shows it."""
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
        score = self._score(outcome)
        self.say(
            f"[{self.done + self.failed}/{self.total}] {what} {item.label} ({duration(outcome.seconds)} in all){score}"
        )

    def _score(self, outcome: Outcome) -> str:
        if outcome.status != "done" or outcome.cell_id is None:
            return ""
        try:
            record = find_record(self.plan.records, outcome.cell_id)
        except UserError:
            return ""
        return f": {last_score(record)}" if record is not None else ""

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

        def rest_of(entry: Running) -> float | None:
            whole, live = cost(entry.item), self._states.get(entry.item.key)
            if whole is not None:
                return max(0.0, whole - (now - entry.clock))
            return live.left if live is not None else None  # its steps alone: better than nothing

        known = [*map(rest_of, running), *map(cost, waiting)]
        rest = [seconds for seconds in known if seconds is not None]
        if not rest or len(rest) < len(known):
            return None
        return max(sum(rest) / max(1, self.slots), max(rest))

    def _table(
        self, running: Sequence[Running], waiting: Sequence[Item], elsewhere: Mapping[str, float], now: float
    ) -> Any:
        from rich.console import Group
        from rich.text import Text

        here = {entry.item.key: entry for entry in running}
        self._states = {key: running_cells.read_item(self.plan, entry.item) for key, entry in here.items()}
        new = [key for key in here if key not in self._lines]
        self._lines = [key if key in here else new.pop(0) for key in self._lines if key in here or new] + new
        rows = [(here[k].item.label, self._states[k], now - here[k].clock) for k in self._lines]
        left = self.left(running, waiting, now)
        away = f", {len(elsewhere)} of them elsewhere" if elsewhere else ""
        counts = (
            f"{self.plan.experiment}: {self.done} of {self.total} done, {self.failed} failed, {len(running)} running, "
            f"{len(waiting)} waiting{away}" + (f"; about {duration(left)} left" if left is not None else "")
        )
        return Group(running_cells.table(rows), Text(counts))

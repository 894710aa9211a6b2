"""What a person sees while a cell runs: bars on a terminal, a line now and then in a log file."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from uora_bench.util.live import Live, LiveFile
from uora_bench.util.log import LOG

LOG_SECONDS = 30.0  # between two lines of a log
REFRESH = 0.5  # seconds between two drawings on a terminal
Item = TypeVar("Item")


class Progress:
    """All optimizer steps, with loss, score, speed and time left.

    On a terminal rich draws a bar; elsewhere (a Slurm log, a pipe) a plain line comes at most every `LOG_SECONDS`, so
    that a log stays readable. All of it goes to standard error at level info. Silent when ``enabled`` is false
    (processes other than the main one). With a ``folder`` it is also written
    there (`LiveFile`), for commands that watch the run.
    """

    def __init__(
        self,
        total: int,
        done: int,
        label: str,
        enabled: bool = True,
        folder: Path | None = None,
    ) -> None:
        self.total, self.done, self.label = total, done, label
        self.enabled = enabled and LOG.isEnabledFor(logging.INFO)
        self.facts: dict[str, str] = {}
        self._start, self._first = time.monotonic(), done
        self._shown, self._interval = self._start, LOG_SECONDS
        self._bars: Any = None
        self._bar: Any = None
        self._live = LiveFile(folder) if enabled and folder is not None else None
        if self.enabled and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            from rich import console, progress, table

            # drawn by the steps, at most every `REFRESH`: no thread of its own; what goes to stdout goes there still
            text = table.Column(no_wrap=True, overflow="ellipsis")  # a narrow terminal cuts it, not the bar
            columns = (
                progress.BarColumn(20, table_column=table.Column(min_width=10)),
                progress.TextColumn("{task.description}", markup=False, table_column=text),
            )
            shown_on = console.Console(file=sys.stderr)
            self._bars = progress.Progress(*columns, console=shown_on, auto_refresh=False, redirect_stdout=False)
            self._bar = self._bars.add_task(label, total=total, completed=done)
            self._interval = REFRESH
            self._bars.start()

    def note(self, **facts: str) -> None:
        """Facts to show from now on, e.g. ``loss="0.412"``."""
        self.facts.update(facts)

    def step(self) -> None:
        """One more optimizer step is done."""
        self.done += 1
        if self._is_due():
            self._show_steps()
        if self._live is not None and self._live.due:
            self._live.write(Live(self.done, self.total, self.facts, self._left()))

    def over(self, items: Sequence[Item], what: str) -> Iterator[Item]:
        """``items`` one by one; if that takes long (generating text does), how far it is is shown as ``what``."""
        began, bar = time.monotonic(), None
        try:
            for done, item in enumerate(items, 1):
                yield item
                if self._live is not None and self._live.due:
                    self._live.write(
                        Live(self.done, self.total, self.facts, self._left(), f"{what} {done}/{len(items)}")
                    )
                if self._is_due():
                    if self._bars is not None and bar is None:
                        bar = self._bars.add_task(what, total=len(items))
                    left = (time.monotonic() - began) / done * (len(items) - done)
                    self._show(bar, done, f"{what} {done}/{len(items)} batches, {_clock(left)} left")
        finally:
            if bar is not None:
                self._bars.remove_task(bar)

    def say(self, text: str) -> None:
        """Print ``text`` on a line of its own without breaking the bar."""
        if not self.enabled:
            return
        if self._bars is not None:
            self._bars.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            LOG.info(text)

    def close(self) -> None:
        """Show the last step and remove the bars."""
        if self._live is not None:
            self._live.remove()
        if self._bars is not None:
            self._show_steps()
            self._bars.stop()

    def _is_due(self) -> bool:
        return self.enabled and time.monotonic() - self._shown > self._interval

    def _left(self) -> float | None:
        """Seconds until the last step, at the pace so far."""
        spent, steps = time.monotonic() - self._start, self.done - self._first
        return spent / steps * (self.total - self.done) if steps else None

    def _show_steps(self) -> None:
        spent, steps, left = time.monotonic() - self._start, self.done - self._first, self._left()
        facts = " ".join(f"{k} {v}" for k, v in self.facts.items())
        pace = f"{steps / spent:.2f} step/s, {_clock(left)} left" if left is not None else ""
        self._show(self._bar, self.done, f"step {self.done}/{self.total} {facts} {pace}")

    def _show(self, bar: Any, done: int, text: str) -> None:
        self._shown = time.monotonic()
        if self._bars is None:
            self.say(f"{self.label}: {text}")
        else:
            self._bars.update(bar, completed=done, description=text, refresh=True)


def _clock(seconds: float) -> str:
    """``seconds`` as ``3m07s``."""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s"

"""What a person sees while a cell runs: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TextIO, TypeVar

LOG_SECONDS = 30.0
_PATIENCE = 2.0  # seconds before a pass over a split gets a bar of its own
Item = TypeVar("Item")


class Progress:
    """One bar over all optimizer steps, with loss, score, speed and time left.

    On a terminal it is a tqdm bar; elsewhere (a Slurm log, a pipe) it is a plain line at most every `LOG_SECONDS`, so
    that a log stays readable. Silent when ``enabled`` is false (processes other than the main one).
    """

    def __init__(self, total: int, done: int, label: str, enabled: bool = True, stream: TextIO | None = None) -> None:
        self.total, self.done, self.label, self.enabled = total, done, label, enabled
        self.stream = stream or sys.stderr
        self.facts: dict[str, str] = {}
        self._start, self._first = time.monotonic(), done
        self._printed = self._start
        self._bar = None
        if enabled and self.stream.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=total, initial=done, desc=label, unit="step", dynamic_ncols=True, file=self.stream)

    def note(self, **facts: str) -> None:
        """Facts to show from now on, e.g. ``loss="0.412"``."""
        self.facts.update(facts)
        if self._bar is not None:
            self._bar.set_postfix(self.facts, refresh=False)

    def step(self) -> None:
        """One more optimizer step is done."""
        self.done += 1
        if self._bar is not None:
            self._bar.update()
        elif self.enabled and time.monotonic() - self._printed > LOG_SECONDS:
            self._line()

    def over(self, items: Sequence[Item], what: str) -> Iterator[Item]:
        """``items`` one by one; if that takes long (generating text does), how far it is is shown as ``what``."""
        began = time.monotonic()
        bar = None
        if self._bar is not None:
            from tqdm import tqdm

            bar = tqdm(
                total=len(items), desc=what, unit="batch", leave=False, delay=_PATIENCE, dynamic_ncols=True,
                file=self.stream,
            )  # fmt: skip
        try:
            for done, item in enumerate(items, 1):
                yield item
                if bar is not None:
                    bar.update()
                elif self.enabled and time.monotonic() - self._printed > LOG_SECONDS:
                    self._printed = time.monotonic()
                    left = (self._printed - began) / done * (len(items) - done)
                    self.say(f"{self.label}: {what} {done}/{len(items)} batches, {_clock(left)} left")
        finally:
            if bar is not None:
                bar.close()

    def say(self, text: str) -> None:
        """Print ``text`` on a line of its own without breaking the bar."""
        if not self.enabled:
            return
        if self._bar is not None:
            self._bar.write(text, file=self.stream)
        else:
            print(text, file=self.stream, flush=True)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def _line(self) -> None:
        now = time.monotonic()
        rate = (self.done - self._first) / max(now - self._start, 1e-9)
        left = (self.total - self.done) / rate if rate else float("inf")
        facts = " ".join(f"{k} {v}" for k, v in self.facts.items())
        self._printed = now
        self.say(f"{self.label}: step {self.done}/{self.total} {facts} {rate:.2f} step/s, {_clock(left)} left")


def _clock(seconds: float) -> str:
    """``3m07s``"""
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes}m{rest:02d}s"

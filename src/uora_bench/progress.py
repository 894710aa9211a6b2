"""What a person sees while a cell runs: a bar on a terminal, a line now and then in a log file."""

from __future__ import annotations

import sys
import time
from typing import TextIO

LOG_SECONDS = 30.0


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
        minutes, seconds = divmod(int(left), 60)
        self._printed = now
        self.say(
            f"{self.label}: step {self.done}/{self.total} {facts} {rate:.2f} step/s, {minutes}m{seconds:02d}s left"
        )

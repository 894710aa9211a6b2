"""Seconds of a run by part, kept across restarts."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from uora_bench.util.log import LOG


class Stopwatch:
    """Accumulates seconds by name; ``totals`` is plain data, so that a checkpoint can carry it."""

    def __init__(self) -> None:
        self.totals: dict[str, float] = {}

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Add the time of the block to ``name``; it is logged at level debug."""
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            self.add(name, seconds)
            LOG.debug(f"{name}: {seconds:.2f} s")

    def add(self, name: str, seconds: float) -> None:
        """Add ``seconds`` to ``name``."""
        self.totals[name] = self.totals.get(name, 0.0) + seconds

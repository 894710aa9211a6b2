"""Seeds put together: what stands in one entry of a table.

Scores are multiplied by the metric's scale here and nowhere else. An entry says how many seeds it has and how many were
planned; it is never filled from elsewhere.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from uora_bench.grid.table_spec import Aggregate
from uora_bench.report.collect import Run


@dataclass(frozen=True)
class Number:
    """Our own number: ``value`` is the mean or the median of ``by_seed`` (scaled scores), None where nothing is
    finished. ``std``: sample standard deviation (n − 1), None under two seeds."""

    aggregate: Aggregate
    by_seed: dict[int, float]
    planned: int
    runs: tuple[Run, ...]
    split: str
    problems: tuple[str, ...] = ()  # of the seeds that are not in it

    @property
    def n(self) -> int:
        return len(self.by_seed)

    @property
    def count(self) -> str:
        """``3``, ``2 of 3``, ``2 of 3, 1 failed``: the seeds in it, of those planned."""
        failed = sum(run.status == "failed" for run in self.runs)
        text = str(self.n) if self.n == self.planned else f"{self.n} of {self.planned}"
        return text + (f", {failed} failed" if failed else "")

    @property
    def mean(self) -> float | None:
        return statistics.fmean(self.by_seed.values()) if self.by_seed else None

    @property
    def median(self) -> float | None:
        return statistics.median(self.by_seed.values()) if self.by_seed else None

    @property
    def value(self) -> float | None:
        return self.mean if self.aggregate == "mean" else self.median

    @property
    def std(self) -> float | None:
        return statistics.stdev(self.by_seed.values()) if self.n > 1 else None


def number(runs: Sequence[Run], rule: str, split: str, metric: str, scale: float, aggregate: Aggregate) -> Number:
    """The number of one entry, from the cells that belong to it."""
    by_seed: dict[int, float] = {}
    problems = []
    for run in sorted(runs, key=lambda r: r.seed):
        score = run.score(rule, split, metric) if run.status == "done" else None
        if score is not None:
            by_seed[run.seed] = score * scale
        elif run.status == "done":
            problems.append(f"seed {run.seed}: no {metric} on {split} under rule {rule}")
        else:
            problems.append(f"seed {run.seed}: {run.status}" + (f", {run.reason}" if run.reason else ""))
    return Number(aggregate, by_seed, len(runs), tuple(runs), split, tuple(problems))


@dataclass(frozen=True)
class Costs:
    """What a row costs, from its finished cells: trained adapter parameters and bytes to ship (the largest over tasks),
    seconds of training and evaluation (median over cells), peak memory (largest, bytes)."""

    parameters: int | None = None
    head: int | None = None
    bytes_to_ship: int | None = None
    seconds: float | None = None
    memory: int | None = None


def costs(runs: Sequence[Run]) -> Costs:
    """The costs of the finished cells of one row."""
    done = [run.record for run in runs if run.status == "done"]
    if not done:
        return Costs()
    memories = [r.peak_memory_bytes for r in done if r.peak_memory_bytes is not None]
    sizes = [r.bytes.adapter_size for r in done if r.bytes is not None]
    counts = [r.counts for r in done if r.counts is not None]
    return Costs(
        max(c.adapter for c in counts),
        max(c.head for c in counts),
        max(sizes, default=None),
        statistics.median(r.seconds.train + r.seconds.eval for r in done if r.seconds is not None),
        max(memories, default=None),
    )

"""Seeds put together: what stands in one entry of a table.

Scores are multiplied by the metric's scale here and nowhere else. An entry says how many seeds it has and how many were
planned; it is never filled from elsewhere.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from uora_bench.grid.table_spec import Aggregate
from uora_bench.records.record import CellRecord
from uora_bench.report.collect import Run, finished


@dataclass(frozen=True)
class Number:
    """Our own number: ``value`` is the mean or the median, None where nothing is finished.

    ``by_seed``: scaled scores. ``std``: what stands after ±, None where nothing does. ``count``: ``3``, ``2 of 3``, ``2
    of 3, 1 failed``: the seeds in it, of those planned; "" where the number is none of seeds.
    """

    by_seed: dict[int, float]
    planned: int
    runs: tuple[Run, ...]
    mean: float | None = None
    median: float | None = None
    std: float | None = None
    aggregate: Aggregate = "mean"
    count: str = ""
    problems: tuple[str, ...] = ()  # of the seeds that are not in it

    @property
    def done(self) -> list[Run]:
        """Its finished cells."""
        return finished(self.runs)

    @property
    def ids(self) -> list[str]:
        """The cell ids of its finished cells."""
        return [run.cell_id for run in self.done if run.cell_id]

    @property
    def n(self) -> int:
        """The number of seeds with a score."""
        return len(self.by_seed)

    @property
    def value(self) -> float | None:
        """The mean or the median over seeds, as the table asks; None without a score."""
        return self.mean if self.aggregate == "mean" else self.median

    @property
    def failed(self) -> int:
        """How many of its cells failed."""
        return sum(run.status == "failed" for run in self.runs)


def std(values: Iterable[float]) -> float | None:
    """Sample standard deviation (n − 1); None under two values."""
    values = list(values)
    return statistics.stdev(values) if len(values) > 1 else None


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
    scores = by_seed.values()
    mean, median = (statistics.fmean(scores), statistics.median(scores)) if scores else (None, None)
    failed = sum(run.status == "failed" for run in runs)
    count = str(len(scores)) if len(scores) == len(runs) else f"{len(scores)} of {len(runs)}"
    count += f", {failed} failed" if failed else ""
    return Number(by_seed, len(runs), tuple(runs), mean, median, std(scores), aggregate, count, tuple(problems))


@dataclass(frozen=True)
class Costs:
    """What a row costs, from its finished cells.

    Trained adapter parameters and adapter size (the largest over tasks), seconds of training and evaluation (median
    over tasks of the medians over cells, as all that follows it), peak memory (largest, bytes).
    """

    parameters: int | None = None
    head: int | None = None
    adapter_size: int | None = None
    seconds: float | None = None
    memory: int | None = None
    flops: float | None = None  # of training; None where a record does not say, as the next ones
    inference: float | None = None  # FLOPs of one input of mean length, merged where that can be
    tokens: float | None = None  # with padding
    energy: float | None = None  # joules; None where one was not measured
    forgotten: float | None = None  # loss or drift on fixed inputs; None where one was not measured
    searched: float | None = None  # seconds of all trials of the search behind a rate
    searched_flops: float | None = None  # their FLOPs of training


def costs(runs: Sequence[Run]) -> Costs:
    """The costs of the finished cells of one row, without those of a search (`searches.costs`)."""
    done = [run.record for run in finished(runs)]
    if not done:
        return Costs()

    def each(of: Callable[[CellRecord], float | None]) -> float | None:
        return usual((record.cell["task"]["name"], of(record)) for record in done)

    return Costs(
        max(r.counts.adapter for r in done if r.counts is not None),
        max(r.counts.head for r in done if r.counts is not None),
        max((r.bytes.adapter_size for r in done if r.bytes is not None), default=None),
        each(lambda r: None if r.seconds is None else r.seconds.train + r.seconds.eval),
        max((r.peak_memory_bytes for r in done if r.peak_memory_bytes is not None), default=None),
        each(lambda r: None if r.work is None else r.work.training),
        each(lambda r: None if r.work is None else r.work.inference_merged or r.work.inference),
        each(lambda r: None if r.work is None else r.work.tokens_padded),
        each(lambda r: None if r.energy is None else r.energy.joules),
        each(lambda r: None if r.retention is None else r.retention.forgotten),
    )


def usual(values: Iterable[tuple[str, float | None]]) -> float | None:
    """The median over tasks of the medians over the cells of each; ``values``: the task and the value of every cell.

    So it does not depend on which seeds of which task are there yet. None where a value is not known: of some cells
    alone it would be another row's.
    """
    by_task: dict[str, list[float | None]] = {}
    for task, value in values:
        by_task.setdefault(task, []).append(value)
    known = [[value for value in own if value is not None] for own in by_task.values()]
    if not known or sum(map(len, known)) < sum(map(len, by_task.values())):
        return None
    return statistics.median(statistics.median(own) for own in known)

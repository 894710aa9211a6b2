"""Does a record agree with itself: its name, its rules, and every score with the predictions beside it?"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from uora_bench.errors import UserError
from uora_bench.metrics import load_metric
from uora_bench.records.manifest import record_problems
from uora_bench.records.predictions import EpochPredictions, read_predictions
from uora_bench.records.record import CellRecord, EpochScores, read_record
from uora_bench.records.selection import kept_epochs
from uora_bench.training.evaluation import half_of

LAST_DIGITS = 1e-4  # predictions are kept in fewer digits than scores are computed from


def all_problems(path: Path) -> list[str]:
    """`record_problems` of the record at ``path``.

    Where there are none, every score that the predictions beside it do not give, and what they lack. Takes as long as
    the metrics do; METEOR, a program of its own, is left out.
    """
    if found := record_problems(path):
        return found
    record = read_record(path)
    if record.status != "done":
        return []
    start = f"{path.name} ({record.label}): "
    try:
        parts = read_predictions(record, path.parent)
    except UserError as error:
        return [f"{start}{error}"]
    return [f"{start}{problem}" for problem in _problems(record, parts)]


def _problems(record: CellRecord, parts: Sequence[EpochPredictions]) -> Iterator[str]:
    if not parts:  # none are kept
        return
    there = {(part.epoch, part.split) for part in parts}
    for number, split in kept_epochs(record.epochs, record.metric):
        if (number, split) not in there:
            yield f"its predictions lack {split} of epoch {number}"
    by_number = {epoch.epoch: epoch for epoch in record.epochs}
    for part in parts:
        epoch = by_number.get(part.epoch)
        if epoch is None or part.split not in epoch.scores:
            yield f"its predictions have {part.split} of epoch {part.epoch}, which it does not score"
            continue
        try:
            yield from _other_scores(record, part, epoch)
        except UserError:  # a metric's file that no record names: it is asked when the cell runs again
            return
        except (ValueError, TypeError, ArithmeticError, LookupError, AttributeError) as error:  # not made for these
            said = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
            yield f"{part.split} of epoch {part.epoch} cannot be scored from its predictions: {said}"


def _other_scores(record: CellRecord, part: EpochPredictions, epoch: EpochScores) -> Iterator[str]:
    """Where scores of ``epoch`` are not those of its predictions ``part``."""
    options = {"meteor": False} if record.metric.name == "e2e/e2e" else {}
    metric = load_metric(record.metric.name)

    def scores(which: np.ndarray | None) -> dict[str, Any]:
        columns = [column if which is None else _rows(column, which) for column in (part.prediction, part.reference)]
        return dict(metric.compute(predictions=columns[0], references=columns[1], **options))

    told: list[tuple[str, Any, Any]] = []
    made = scores(None)
    told += [(key, value, made.get(key)) for key, value in epoch.scores[part.split].items()]
    if part.split == "dev" and epoch.halves is not None:
        side, primary = half_of(len(part.item)), record.metric.primary
        told += [(f"{primary} on half {h} of the items", value, scores(side == h)[primary])
                 for h, value in enumerate(epoch.halves)]  # fmt: skip
    for what, value, right in told:
        if isinstance(value, (int, float)) and isinstance(right, (int, float)) and not near(value, right, LAST_DIGITS):
            yield f"{part.split} {what} of epoch {part.epoch} is {value:.6g} in it, and {right:.6g} by its predictions"


def near(a: float, b: float, relative: float) -> bool:
    """Whether two numbers of a record are alike."""
    return math.isclose(a, b, rel_tol=relative, abs_tol=LAST_DIGITS)


def _rows(column: Any, which: np.ndarray) -> Any:
    return column[which] if isinstance(column, np.ndarray) else [column[i] for i in np.flatnonzero(which)]

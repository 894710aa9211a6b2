"""What a run answered for every item of a split, and how far the answers of two runs lie apart.

An answer is what the metric reads: a class or a text as it is kept; of choices that are ranked by likelihood those that
are taken, because the likelihoods behind them never end in the same digits twice; a number, which is a regression's
value or the likelihood of a text, as it is. Classes, texts and choices are the same or not. Numbers are near or far.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from uora_bench.records.predictions import EpochPredictions

ROUNDING = 1e-3  # what another processor may make of a loss whose predictions are the same, relative


@dataclass(frozen=True)
class Difference:
    """How far two runs' answers of one split lie apart.

    ``items``: how many are not the same, of ``total``; of numbers, how many differ by more than `ROUNDING` times the
    root mean square of all. ``distance``: the root mean square of the differences of numbers, in their unit; None where
    answers are no numbers.
    """

    items: int
    total: int
    distance: float | None = None


def answers_of(metric: str, part: EpochPredictions) -> list[Any]:
    """The answers (n) of ``part``, whose predictions are those of the ``metric`` of that name."""
    if metric == "choices/likelihood":
        from uora_bench.metrics.choices import chosen

        taken: list[Any] = chosen(part.prediction, part.reference).tolist()
        return taken
    return as_list(part.prediction)


def as_list(column: Any) -> list[Any]:
    """A column of predictions or right answers, an array or a list, as plain values."""
    return list(column.tolist() if hasattr(column, "tolist") else column)


def difference(before: Sequence[Any], after: Sequence[Any]) -> Difference:
    """How far answers ``after`` lie from those ``before`` of the same items."""
    pairs = list(zip(before, after, strict=True))
    if not pairs or not all(isinstance(value, float) for pair in pairs for value in pair):
        return Difference(sum(a != b for a, b in pairs), len(pairs))
    apart = [0.0 if a == b or (math.isnan(a) and math.isnan(b)) else abs(a - b) for a, b in pairs]
    most = ROUNDING * max(root_mean_square(before), root_mean_square(after))
    return Difference(sum(far != 0.0 and not far <= most for far in apart), len(pairs), root_mean_square(apart))


def root_mean_square(values: Sequence[float]) -> float:
    """Of ``values`` (n); 0 where there are none."""
    return math.sqrt(sum(value * value for value in values) / len(values)) if values else 0.0

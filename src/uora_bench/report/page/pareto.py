"""Score against adapter parameters as a small SVG: every point where its numbers are, and a link to its cells.

A template draws it, so that it needs neither a library nor the script, and takes the page's colours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from uora_bench.report.figures.canvas import overlap, short
from uora_bench.report.figures.costs import on_front
from uora_bench.report.figures.facts import short_name
from uora_bench.report.model import Block, Score, Table

WIDTH, HEIGHT = 480.0, 250.0
LEFT, RIGHT, TOP, BOTTOM = 46.0, 470.0, 12.0, 208.0  # where the axes end
_LETTER, _LINE = 6.3, 12.0  # a letter's width and a line's height, to see which names fit


@dataclass(frozen=True)
class Dot:
    """``number``: what the page's address calls the score.

    ``name``: written from ``at`` on, where there is room.
    """

    x: float
    y: float
    title: str
    number: str
    front: bool
    name: str = ""
    at: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True)
class Plot:
    """``across`` and ``up``: ticks of the axes, position and text. ``front``: the path of the Pareto front."""

    column: str
    lower: bool
    dots: tuple[Dot, ...]
    front: str
    across: tuple[tuple[float, str], ...]
    up: tuple[tuple[float, str], ...]


def plot(table: Table, block: Block, names: Sequence[Sequence[str]]) -> Plot | None:
    """The plot of the average, or of the first column with two scores; None where no column has them.

    ``names``: by row and shown column, what the page's addresses call the number.
    """
    shown = list(enumerate(table.shown))
    if table.average is not None:
        one_direction = len({column.higher_is_better for column in table.columns if column.averaged}) == 1
        shown = [shown[-1], *shown[:-1]] if one_direction else shown[:-1]
    for i, column in shown:
        found = [
            (float(row.costs.parameters), row.shown[i].ours.value or 0.0, row.label, own[i])
            for row, own in zip(block.rows, names, strict=True)
            if row.costs.parameters is not None and row.shown[i].ours.value is not None
        ]
        if len(found) > 1:
            return _drawn(column, found)
    return None


def _drawn(column: Score, found: Sequence[tuple[float, float, str, str]]) -> Plot:
    costs, scores = [one[0] for one in found], [one[1] for one in found]
    positive = [math.log10(cost) for cost in costs if cost > 0] or [0.0]
    low, span = min(positive), max(max(positive) - min(positive), 0.5)
    first = LEFT + (42.0 if min(costs) <= 0 else 12.0)  # a logarithmic axis has no 0: it stands to the left

    def x(cost: float) -> float:
        return round(first + (math.log10(cost) - low) / span * (RIGHT - 14 - first), 1) if cost > 0 else LEFT + 12

    ticks = _steps(min(scores), max(scores))
    bottom, top = min(ticks[0], *scores), max(ticks[-1], *scores)

    def y(score: float) -> float:
        return round(BOTTOM - 8 - (score - bottom) / (top - bottom) * (BOTTOM - 8 - TOP), 1)

    across = [(x(value), short(value)) for value in _decades(low, low + span)]
    front = on_front([(cost, score) for cost, score, *_ in found], column.higher_is_better)
    dots = tuple(
        Dot(
            x(cost),
            y(score),
            f"{short_name(row)}: {score:.{column.decimals}f} with {cost:,.0f} parameters",
            number,
            best,
            short_name(row, 24),
        )
        for (cost, score, row, number), best in zip(found, front, strict=True)
    )
    steps = sorted((dot.x, dot.y) for dot in dots if dot.front)
    path = f"M{steps[0][0]} {steps[0][1]}" + "".join(f"H{at}V{height}" for at, height in steps[1:]) + f"H{RIGHT}"
    zero = [(LEFT + 12, "0")] if min(costs) <= 0 else []
    up = tuple((y(tick), f"{tick:g}") for tick in ticks)
    return Plot(
        column.label,
        not column.higher_is_better,
        _named(dots, not column.higher_is_better),
        path,
        tuple(zero + across),
        up,
    )


def _decades(low: float, high: float) -> list[float]:
    """Powers of ten whose logarithms are from ``low`` to ``high``.

    Where there are fewer than two: twice and five times such ones, too.
    """
    exponents = range(math.floor(low), math.ceil(high) + 1)
    for factors in ((1,), (1, 2, 5)):
        values = [factor * 10.0**k for k in exponents for factor in factors]
        found = [value for value in values if low - 1e-9 <= math.log10(value) <= high + 1e-9]
        if len(found) > 1:
            break
    return found


def _steps(low: float, high: float) -> list[float]:
    """Four round numbers or so over ``low`` to ``high``."""
    raw = (high - low) / 4 or abs(high) / 4 or 1.0
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= raw * 0.999)
    first = math.floor(low / step + 1e-9)
    return [round(n * step, 12) for n in range(first, max(first + 1, math.ceil(high / step - 1e-9)) + 1)]


def _named(dots: Sequence[Dot], lower: bool) -> tuple[Dot, ...]:
    """The names of points on the front that hide no other name and no point; a point without one says it when asked.

    Best is the side of the front on which there is no point's step.
    """
    taken = [(dot.x - 4, dot.y - 4, dot.x + 4, dot.y + 4) for dot in dots]
    found = []
    for dot in dots:
        width, below = _LETTER * len(dot.name), -_LINE if lower else _LINE
        places = [(x, y) for y in (dot.y + below, dot.y - below, dot.y) for x in (dot.x + 7, dot.x - 7 - width)]
        boxes = [
            (x, y - 6, x + width, y + 6) for x, y in places if x > LEFT and x + width < WIDTH and 6 < y < BOTTOM - 7
        ]
        free = [box for box in boxes if not any(overlap(box, other) for other in taken)] if dot.front else []
        taken += free[:1]
        found.append(replace(dot, at=(free[0][0], free[0][1] + 10)) if free else replace(dot, name=""))
    return tuple(found)

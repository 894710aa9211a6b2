"""Score against a cost: numbered points with error bars, all where their numbers are, and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any

from uora_bench.report.boxes import Cost
from uora_bench.report.figures import canvas, facts
from uora_bench.report.figures.style import ACCENT, BLACK, DOTS, FRONT, GREY
from uora_bench.report.model import Score

_REACHES = (4.5, 9.0, 13.0, 18.0)  # points between a point's middle and that of its number
_SIDES = ((0.75, -0.75), (-0.75, 0.75), (0.75, 0.75), (-0.75, -0.75), (1, 0), (-1, 0), (0, 1), (0, -1))


# of the axis, where it is not the name alone: its title, and the unit (the CSV has the record's own)
_AXES = {
    "memory": ("peak memory, GB", 1e9),
    "inference": ("FLOPs of one input", 1.0),
    "energy": ("energy, kJ", 1e3),
    "forgotten": ("loss or drift added on fixed inputs", 1.0),
}


def draw(kind: Cost, panels: Mapping[str, facts.Rows], columns: Mapping[str, Score]) -> Any:
    """The figure: a panel per column; a key below says which row has which number."""
    numbers = facts.numbered(point for points in panels.values() for point in points)
    key = [f"{n}  {name}" for n, name in numbers.values()]
    figure, axes = canvas.panels(len(panels), [*key, "Pareto front"])
    placed = [
        (ax, points, _panel(ax, kind, points, columns[title]))
        for ax, (title, points) in zip(axes, panels.items(), strict=True)
    ]
    handles = [canvas.line(text, linestyle="none") for text in key]
    front = canvas.line("Pareto front", color=ACCENT, linewidth=1.0, linestyle=FRONT)
    canvas.legend(figure, {}, [*handles, front])
    figure.draw_without_rendering()  # where the points are is known when the layout is
    for ax, points, at in placed:
        _number(ax, at, points, [str(numbers[point["row"]][0]) for point in points])
    return figure


def _panel(ax: Any, kind: Cost, points: facts.Rows, column: Score) -> list[float]:
    """Draw ``points``; returns where they are on the axis of costs."""
    name, unit = _AXES.get(kind.field, (kind.name, 1.0))
    costs = [p["cost"] / unit for p in points]
    positive = [cost for cost in costs if cost > 0]
    logarithmic = kind.field == "parameters" or (len(positive) == len(costs) and max(costs) > 10 * min(costs))
    zero = _logarithmic(ax, positive, len(positive) < len(costs)) if logarithmic and positive else _linear(ax, costs)
    at = [cost if cost > 0 or not logarithmic else zero for cost in costs]
    ends = ax.get_xlim()
    steps = sorted((x, p["score"]) for x, p in zip(at, points, strict=True) if p["on_front"])
    x, y = [s[0] for s in steps] + [ends[1]], [s[1] for s in steps] + [steps[-1][1]]
    ax.plot(x, y, drawstyle="steps-post", color=ACCENT, linewidth=1.0, linestyle=FRONT, zorder=1)
    reach = [p["std"] or 0.0 for p in points]
    for point, position in zip(points, at, strict=True):
        colour = ACCENT if point["on_front"] else GREY
        bar = None if point["std"] is None else [point["std"]]
        ax.errorbar([position], [point["score"]], yerr=bar, linestyle="none", elinewidth=0.7, capsize=1.6, zorder=2,
                    color=colour)  # fmt: skip
        # rings: of two points at one place both are seen
        face = ACCENT if point["on_front"] else "none"
        ax.plot([position], [point["score"]], "o", ms=3.6, mfc=face, mec=colour, mew=0.9, zorder=3)
    ax.set_xlim(*ends)
    values = [p["score"] + s * r for p, r in zip(points, reach, strict=True) for s in (-1, 1)]
    pad = 0.08 * (max(values) - min(values)) or 1.0
    canvas.score_axis(ax, values, column.higher_is_better, facts.axis(column))
    if ax.get_yscale() == "linear":
        ax.set_ylim(min(values) - pad, max(values) + pad)
    ax.set(xlabel=name, title=column.label)
    return at


def _number(ax: Any, at: Sequence[float], points: facts.Rows, texts: Sequence[str]) -> None:
    """The number of every point near it, where it hides no point and no other number and is nearest to its own.

    A thin line leads from afar.
    """
    scale = 72 / ax.figure.dpi
    places = ax.transData.transform([(x, p["score"]) for x, p in zip(at, points, strict=True)]) * scale
    low, high = (corner * scale for corner in ax.get_window_extent().get_points())
    taken = [(x - 2.5, y - 2.5, x + 2.5, y + 2.5) for x, y in places]
    best_first = sorted(zip(places.tolist(), at, points, texts, strict=True), key=lambda one: -one[2]["on_front"])
    for (x, y), cost, point, text in best_first:
        half, found = 1.9 * len(text), {}
        for reach, (across, up) in product(_REACHES, _SIDES):
            dx, dy = reach * across + half * ((across > 0) - (across < 0)), reach * up
            box = (x + dx - half, y + dy - 3, x + dx + half, y + dy + 3)
            outside = box[0] < low[0] or box[1] < low[1] or box[2] > high[0] or box[3] > high[1]
            nearest = min(math.dist((x + dx, y + dy), other) for other in places)
            hidden = sum(canvas.overlap(box, other) for other in taken)
            found[reach, dx, dy] = (10 * outside + hidden + (nearest < math.hypot(dx, dy) - 0.1), reach, box)
        reach, dx, dy = min(found, key=lambda one: found[one][:2])
        taken.append(found[reach, dx, dy][2])
        ax.annotate(
            text, (cost, point["score"]), xytext=(dx, dy), textcoords="offset points", fontsize=5.5, ha="center",
            va="center", color=BLACK if point["on_front"] else GREY, zorder=4,
            arrowprops=None if reach == _REACHES[0] else {"arrowstyle": "-", "lw": 0.4, "color": GREY, "shrinkB": 2},
        ).set_in_layout(False)  # fmt: skip


def _linear(ax: Any, costs: Sequence[float]) -> float:
    """Less than a decade; returns where a cost of 0 stands."""
    pad = 0.08 * (max(costs) - min(costs)) or 1.0
    ax.set_xlim(min(costs) - pad, max(costs) + pad)
    return 0.0


def _logarithmic(ax: Any, positive: Sequence[float], with_zero: bool) -> float:
    """Decades, and to the left of a dotted line room for 0, whose position is returned."""
    low, high = min(positive), max(positive)
    span = max(high / low, 4.0)
    left, right = low / span**0.07, high * span**0.07
    zero = left / span**0.09
    ax.set_xscale("log")
    ticks = [10.0**k for k in range(-3, 13) if left <= 10.0**k <= right]
    if len(ticks) < 2:
        ticks = [m * 10.0**k for k in range(-3, 13) for m in (1, 2, 5) if left <= m * 10.0**k <= right]
    if with_zero:
        ax.axvline(left, color=GREY, linewidth=0.8, linestyle=DOTS)
        ticks.insert(0, zero)
    ax.set_xlim(zero / span**0.07 if with_zero else left, right)
    canvas.ticks(ax.xaxis, ticks, lambda value: "0" if with_zero and value == zero else canvas.short(value))
    return zero

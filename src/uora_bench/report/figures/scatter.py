"""Score against a cost: points with error bars, the Pareto front, and a cost axis that can show 0."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from uora_bench.report.figures import canvas, facts
from uora_bench.report.figures.style import DOTS, FRONT, GREY, Look
from uora_bench.report.model import Score

_APART, _ASIDE = 5.0, 5.0  # points between markers of one cost, and how far from it one is moved at most


class Axis(Protocol):
    """The kind of cost: its name, what stands at the axis, and its unit."""

    @property
    def name(self) -> str: ...
    @property
    def axis(self) -> str: ...
    @property
    def unit(self) -> float: ...


def draw(kind: Axis, panels: Mapping[str, facts.Rows], columns: Mapping[str, Score], looks: Mapping[str, Look]) -> Any:
    """The figure: a panel per column; ``looks`` is in the order of the legend."""
    from matplotlib.lines import Line2D

    drawn = canvas.of_rows(looks, [point for points in panels.values() for point in points])
    figure, axes = canvas.panels(len(panels), [*drawn, "Pareto front"])
    for ax, (title, points) in zip(axes, panels.items(), strict=True):
        _panel(ax, kind, points, columns[title], looks)
    canvas.legend(figure, drawn, [Line2D([], [], color=GREY, linewidth=1.0, linestyle=FRONT, label="Pareto front")])
    return figure


def _panel(ax: Any, kind: Axis, points: facts.Rows, column: Score, looks: Mapping[str, Look]) -> None:
    costs = [p["cost"] / kind.unit for p in points]
    positive = [cost for cost in costs if cost > 0]
    logarithmic = kind.name == "parameters" or (len(positive) == len(costs) and max(costs) > 10 * min(costs))
    zero = _logarithmic(ax, positive, len(positive) < len(costs)) if logarithmic and positive else _linear(ax, costs)
    at = [cost if cost > 0 else zero for cost in costs]
    ends = ax.get_xlim()
    steps = sorted((x, p["score"]) for x, p in zip(at, points, strict=True) if p["on_front"])
    x, y = [s[0] for s in steps] + [ends[1]], [s[1] for s in steps] + [steps[-1][1]]
    ax.plot(x, y, drawstyle="steps-post", color=GREY, linewidth=1.0, linestyle=FRONT, zorder=1)
    reach = [p["std"] or 0.0 for p in points]
    for point, position, shift in zip(points, at, apart(at, [p["score"] for p in points], reach), strict=True):
        ax.errorbar(
            [position], [point["score"]], yerr=None if point["std"] is None else [point["std"]], linestyle="none",
            elinewidth=0.8, capsize=1.6, capthick=0.8, zorder=3, transform=_shifted(ax, shift),
            **looks[point["row"]].markers(),
        )  # fmt: skip
    ax.set_xlim(*ends)
    values = [p["score"] + s * r for p, r in zip(points, reach, strict=True) for s in (-1, 1)]
    pad = 0.08 * (max(values) - min(values)) or 1.0
    canvas.score_axis(ax, values, column.higher_is_better, facts.axis(column))
    if ax.get_yscale() == "linear":
        ax.set_ylim(min(values) - pad, max(values) + pad)
    ax.set_title(column.label)
    ax.set_xlabel(kind.axis)


def _shifted(ax: Any, points: float) -> Any:
    from matplotlib.transforms import ScaledTranslation

    return ax.transData + ScaledTranslation(points / 72, 0, ax.figure.dpi_scale_trans)


def apart(at: Sequence[float], scores: Sequence[float], reach: Sequence[float]) -> list[float]:
    """How far, in points, each marker is moved to the side: those of one cost whose markers or error bars (``reach`` to
    either side of the score) would lie on each other stand side by side."""
    least = 0.02 * (max(scores) - min(scores))  # about half a marker
    ends = [(score - max(r, least), score + max(r, least)) for score, r in zip(scores, reach, strict=True)]
    shifts = [0.0] * len(at)
    for value in set(at):
        cluster: list[int] = []
        top = -float("inf")
        for i in sorted((i for i, other in enumerate(at) if other == value), key=lambda i: ends[i][0]):
            cluster = [*cluster, i] if ends[i][0] <= top else [i]
            top = max(top, ends[i][1])
            step = min(_APART, 2 * _ASIDE / max(1, len(cluster) - 1))
            for k, one in enumerate(sorted(cluster)):
                shifts[one] = step * (k - (len(cluster) - 1) / 2)
    return shifts


def _linear(ax: Any, costs: Sequence[float]) -> float:
    """Less than a decade; returns where a cost of 0 stands."""
    pad = 0.08 * (max(costs) - min(costs)) or 1.0
    ax.set_xlim(min(costs) - pad, max(costs) + pad)
    return 0.0


def _logarithmic(ax: Any, positive: Sequence[float], with_zero: bool) -> float:
    """Decades, and to the left of a dotted line room for 0, whose position is returned."""
    from matplotlib.ticker import FixedLocator, FuncFormatter

    low, high = min(positive), max(positive)
    span = max(high / low, 4.0)
    left, right = low / span**0.07, high * span**0.07
    zero = left / span**0.09
    ax.set_xscale("log")
    canvas.plain_decades(ax.xaxis)
    ticks = [10.0**k for k in range(-3, 13) if left <= 10.0**k <= right]
    if len(ticks) < 2:
        ticks = [m * 10.0**k for k in range(-3, 13) for m in (1, 2, 5) if left <= m * 10.0**k <= right]
    if with_zero:
        ax.axvline(left, color=GREY, linewidth=0.8, linestyle=DOTS)
        ticks.insert(0, zero)
    ax.set_xlim(zero / span**0.07 if with_zero else left, right)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: "0" if with_zero and value == zero else canvas.short(value))
    )
    return zero

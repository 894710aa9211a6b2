"""Score against a cost: points with error bars, the Pareto front, and a cost axis that can show 0."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from uora_bench.report.aggregate import Costs
from uora_bench.report.figures import canvas
from uora_bench.report.figures.front import front
from uora_bench.report.figures.style import GREY, Look
from uora_bench.report.model import Row

_APART, _ASIDE = 5.0, 5.0  # points between markers of one cost, and how far from it one is moved at most


@dataclass(frozen=True)
class CostKind:
    """One kind of cost: its name in the file, on the axis and in the CSV, and how it is read."""

    name: str
    words: str
    axis: str
    of: Callable[[Costs], float | None]
    unit: float = 1.0  # of the axis; the CSV has the record's own


@dataclass(frozen=True)
class Point:
    row: Row
    look: Look
    cost: float
    score: float
    std: float | None
    by_seed: dict[int, float]
    cells: tuple[str, ...]


@dataclass(frozen=True)
class CostPanel:
    title: str
    metric: str
    split: str
    higher_is_better: bool
    points: tuple[Point, ...]

    @property
    def front(self) -> list[int]:
        return front([(p.cost, p.score) for p in self.points], self.higher_is_better)


def draw(kind: CostKind, panels: Sequence[CostPanel], rows: Sequence[tuple[str, Look]]) -> Any:
    """The figure; ``rows`` is the order of the legend."""
    from matplotlib.lines import Line2D

    labels = {p.row.label for panel in panels for p in panel.points}
    entries = [(label, look) for label, look in rows if label in labels]
    figure, axes = canvas.panels(len(panels), [*(label for label, _ in entries), "Pareto front"])
    for ax, panel in zip(axes, panels, strict=True):
        _panel(ax, kind, panel)
    dashed = Line2D([], [], color=GREY, linewidth=1.0, linestyle=(0, (3, 2)), label="Pareto front")
    canvas.legend(figure, entries, [dashed])
    return figure


def _panel(ax: Any, kind: CostKind, panel: CostPanel) -> None:
    costs = [p.cost / kind.unit for p in panel.points]
    positive = [cost for cost in costs if cost > 0]
    logarithmic = kind.name == "parameters" or (len(positive) == len(costs) and max(costs) > 10 * min(costs))
    zero = _logarithmic(ax, positive, len(positive) < len(costs)) if logarithmic and positive else _linear(ax, costs)
    at = [cost if cost > 0 else zero for cost in costs]
    ends = ax.get_xlim()
    steps = [(at[i], panel.points[i].score) for i in panel.front]
    x, y = [s[0] for s in steps] + [ends[1]], [s[1] for s in steps] + [steps[-1][1]]
    ax.plot(x, y, drawstyle="steps-post", color=GREY, linewidth=1.0, linestyle=(0, (3, 2)), zorder=1)
    for point, position, shift in zip(panel.points, at, apart(at, panel), strict=True):
        ax.errorbar(
            [position], [point.score], yerr=None if point.std is None else [point.std], linestyle="none",
            elinewidth=0.8, capsize=1.6, capthick=0.8, zorder=3, transform=_shifted(ax, shift), **point.look.markers(),
        )  # fmt: skip
    ax.set_xlim(*ends)
    values = [p.score + s * (p.std or 0.0) for p in panel.points for s in (-1, 1)]
    low, high = min(values), max(values)
    pad = 0.08 * (high - low) or 1.0
    canvas.score_axis(ax, values, panel.higher_is_better, _words(panel))
    if ax.get_yscale() == "linear":
        ax.set_ylim(low - pad, high + pad)
    ax.set_title(panel.title)
    ax.set_xlabel(kind.axis)


def _words(panel: CostPanel) -> str:
    words = f"{panel.metric}, {panel.split}" if panel.split else panel.metric
    return words.replace("_", " ")


def _shifted(ax: Any, points: float) -> Any:
    from matplotlib.transforms import ScaledTranslation

    return ax.transData + ScaledTranslation(points / 72, 0, ax.figure.dpi_scale_trans)


def apart(at: Sequence[float], panel: CostPanel) -> list[float]:
    """How far, in points, each marker is moved to the side: those of one cost whose markers or error bars would lie on
    each other stand side by side."""
    scores = [point.score for point in panel.points]
    least = 0.02 * (max(scores) - min(scores))  # about half a marker
    shifts = [0.0] * len(at)
    for value in set(at):
        cluster: list[int] = []
        top = -float("inf")
        for i in sorted((i for i, other in enumerate(at) if other == value), key=lambda i: _reach(panel, i, least)[0]):
            low, high = _reach(panel, i, least)
            if low > top:
                cluster = []
            cluster.append(i)
            top = max(top, high)
            _spread(shifts, sorted(cluster))
    return shifts


def _reach(panel: CostPanel, i: int, least: float) -> tuple[float, float]:
    point = panel.points[i]
    half = max(point.std or 0.0, least)
    return point.score - half, point.score + half


def _spread(shifts: list[float], cluster: Sequence[int]) -> None:
    step = min(_APART, 2 * _ASIDE / max(1, len(cluster) - 1))
    for k, i in enumerate(cluster):
        shifts[i] = step * (k - (len(cluster) - 1) / 2)


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
        ax.axvline(left, color=GREY, linewidth=0.8, linestyle=(0, (1, 1.5)))
        ticks.insert(0, zero)
    ax.set_xlim(zero / span**0.07 if with_zero else left, right)
    ax.xaxis.set_major_locator(FixedLocator(ticks))
    ax.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: "0" if with_zero and value == zero else canvas.short(value))
    )
    return zero

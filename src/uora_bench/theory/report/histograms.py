"""Histograms of decision values of one draw, against the Gaussian that theory predicts for each class."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

from uora_bench.report.csv_file import csv_text
from uora_bench.report.figure_spec import FigureSpec, stem
from uora_bench.report.figures import canvas
from uora_bench.report.figures.style import BLACK, DOTTED, GREY, SOLID, Look
from uora_bench.theory.record import Histogram
from uora_bench.theory.report.studies import Study

CLASSES = {-1: ("class −1", "#0072b2"), 1: ("class +1", "#d55e00")}
GAUSSIAN = Look(BLACK, "o", SOLID)


def figure_specs(study: Study) -> list[FigureSpec]:
    """One figure, a panel per setting and α."""
    drawn = {f"{group.label}, α={h.alpha:g}": (group, h) for group in study.done for h in group.results.histograms}
    rows = [
        {
            "panel": title, "alpha": h.alpha, "class": sign, "low": low, "high": high, "count": count,
            "density": float(f"{height:.4g}"), "gaussian": float(f"{gaussian(h, sign, (low + high) / 2):.4g}"),
            "cell_ids": group.ids[:1],
        }
        for title, (group, h) in drawn.items()
        for sign in CLASSES
        for low, high, count, height in zip(h.edges, h.edges[1:], _counts(h, sign), density(h, sign), strict=False)
    ]  # fmt: skip
    points = sum(next(iter(drawn.values()))[1].negative)
    caption = (
        f"Decision values of one fitted classifier on {points} fresh points of each class, as densities, "
        "against the Gaussian of the theory (line): mean ±m, variance σ². Dotted: the decision boundary."
    )
    histograms = {title: h for title, (_, h) in drawn.items()}
    return [FigureSpec(stem(study.name), study.preset.title, caption, csv_text(rows), lambda: _draw(histograms))]


def _counts(h: Histogram, sign: int) -> tuple[int, ...]:
    return h.positive if sign > 0 else h.negative


def density(h: Histogram, sign: int) -> list[float]:
    """Counts as a density: per point and unit of the decision value."""
    counts = _counts(h, sign)
    total = sum(counts)
    return [c / total / (high - low) for c, low, high in zip(counts, h.edges, h.edges[1:], strict=False)]


def gaussian(h: Histogram, sign: int, x: float) -> float:
    """The predicted density of class ``sign`` at ``x``."""
    return NormalDist(sign * h.mean, h.std).pdf(x)


def _draw(drawn: dict[str, Histogram]) -> Any:
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(facecolor=colour, alpha=0.45, label=words) for words, colour in CLASSES.values()]
    handles.append(canvas.line("Gaussian of the theory", GAUSSIAN, 1.2))
    figure, axes = canvas.panels(len(drawn), [str(handle.get_label()) for handle in handles])
    for ax, (title, h) in zip(axes, drawn.items(), strict=True):
        for sign, (_, colour) in CLASSES.items():
            ax.stairs(density(h, sign), h.edges, fill=True, color=colour, alpha=0.45, linewidth=0)
            steps = [h.edges[0] + (h.edges[-1] - h.edges[0]) * i / 80 for i in range(81)]
            ax.plot(steps, [gaussian(h, sign, x) for x in steps], linewidth=1.2, **GAUSSIAN.line())
        ax.axvline(0, color=GREY, linewidth=0.8, linestyle=(0, DOTTED))
        ax.set_ylim(bottom=0)
        ax.set(xlabel="decision value", ylabel="density", title=title)
    canvas.legend(figure, {}, handles)
    return figure

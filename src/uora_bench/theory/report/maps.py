"""Heat maps of α* over the penalties γ of the source and of the target."""

from __future__ import annotations

from typing import Any

from uora_bench.report.csv_file import csv_text
from uora_bench.report.figure_spec import FigureSpec, stem
from uora_bench.report.figures import canvas
from uora_bench.theory.report.studies import Group, Study


def figure_specs(study: Study) -> list[FigureSpec]:
    """One figure, a map per setting, with the line on which α* is 1: there the plain adapter is optimal."""
    up, right = study.grid("gammas_pre"), [f"gamma={gamma:.5g}" for gamma in study.grid("gammas")]
    rows = [
        {"panel": group.label, "formula": variant, "gamma_pre": float(f"{gamma_pre:.5g}"), "cell_ids": group.ids,
         **dict(zip(right, values, strict=True))}
        for group in study.done
        for variant in ("corrected", "released")
        for gamma_pre, values in zip(up, _map(group, variant, len(up)), strict=True)
    ]  # fmt: skip
    caption = (
        "α* of the theory over the penalty of the source (up) and of the target (right), both logarithmic; colours on "
        "a logarithmic scale. White line: α* = 1, where the plain adapter is optimal. Nothing is simulated here. "
        "The CSV has the released formula's α* too."
    )
    return [FigureSpec(stem(study.name), study.preset.title, caption, csv_text(rows), lambda: _draw(study, up))]


def _map(group: Group, variant: str, rows: int) -> list[list[float | None]]:
    """α*: a row per penalty of the source."""
    found = [group.results.theory[variant][f"optimal_alpha[{i}]"] for i in range(rows)]
    return [[None if value is None else float(f"{value:.5g}") for value in row] for row in found]


def _draw(study: Study, up: tuple[float, ...]) -> Any:
    from matplotlib.colors import LogNorm

    figure, axes = canvas.panels(len(study.done), ["α*"], 2.4)
    nothing = float("nan")
    maps = [[[v or nothing for v in row] for row in _map(group, "corrected", len(up))] for group in study.done]
    known = [v for one in maps for row in one for v in row if v > 0]
    norm = LogNorm(min(known), max(known))
    for ax, group, values in zip(axes, study.done, maps, strict=True):
        right = group.results.x
        mesh = ax.pcolormesh(right, up, values, norm=norm, cmap="cividis", shading="nearest", rasterized=True)
        if any(v > 1 for row in values for v in row) and any(v < 1 for row in values for v in row):
            ax.contour(right, up, values, levels=[1.0], colors="#fefefe", linewidths=1.2)
        ax.set_xscale("log")
        ax.set_yscale("log")
        canvas.decades(ax.xaxis, right)
        canvas.decades(ax.yaxis, up)
        ax.grid(visible=False)
        ax.set(xlabel="γ of the target", ylabel="γ of the source", title=group.label)
    bar = figure.colorbar(mesh, ax=axes, label="α*", shrink=0.9, pad=0.02)
    canvas.decades(bar.ax.yaxis, known)
    return figure

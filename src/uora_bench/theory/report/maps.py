"""Heat maps of α* over the penalties γ of the source and of the target."""

from __future__ import annotations

from typing import Any

from uora_bench.report.figure_spec import FigureSpec, stem, table_text
from uora_bench.report.figures import canvas
from uora_bench.theory.report.studies import Group, Study

COLUMNS = ("panel", "formula", "gamma_pre", "cell_ids")  # then α* for every γ
VARIANTS = ("corrected", "released")


def figure_specs(study: Study) -> list[FigureSpec]:
    """One figure, a map per setting, with the line on which α* is 1: there the plain adapter is optimal."""
    rows_of = study.grid("gammas_pre")
    gammas = [f"gamma={gamma:.5g}" for gamma in study.grid("gammas")]
    rows = [
        {
            "panel": group.label, "formula": variant, "gamma_pre": float(f"{gamma_pre:.5g}"),
            "cell_ids": [one.cell_id for one in group.records],
            **{gamma: _value(group, variant, i, j) for j, gamma in enumerate(gammas)},
        }
        for group in study.done
        for variant in VARIANTS
        for i, gamma_pre in enumerate(rows_of)
    ]  # fmt: skip
    caption = (
        "α* of the theory over the penalty of the source (up) and of the target (right), both logarithmic; colours on "
        "a logarithmic scale. White line: α* = 1, where the plain adapter is optimal. Nothing is simulated here. "
        "The CSV has the released formula's α* too."
    )
    return [
        FigureSpec(
            stem(study.name),
            study.preset.title,
            caption,
            table_text((*COLUMNS, *gammas), rows),
            lambda: _draw(study, rows_of),
        )
    ]


def _value(group: Group, variant: str, i: int, j: int) -> float | None:
    results = group.results
    found = None if results is None else results.theory[variant][f"optimal_alpha[{i}]"][j]
    return None if found is None else float(f"{found:.5g}")


def _draw(study: Study, rows_of: tuple[float, ...]) -> Any:
    from matplotlib.colors import LogNorm

    groups = study.done
    figure, axes = canvas.panels(len(groups), ["α*"], 2.4)
    values = {
        id(group): [
            [_value(group, "corrected", i, j) or float("nan") for j in range(len(group.results.x))]
            for i in range(len(rows_of))
        ]
        for group in groups
        if group.results is not None
    }
    known = [v for rows in values.values() for row in rows for v in row if v > 0]
    norm = LogNorm(min(known), max(known))
    mesh = None
    for ax, group in zip(axes, groups, strict=True):
        assert group.results is not None
        gammas = group.results.x
        mesh = ax.pcolormesh(gammas, rows_of, values[id(group)], norm=norm, cmap="cividis", shading="nearest",
                             rasterized=True)  # fmt: skip
        if any(v > 1 for row in values[id(group)] for v in row) and any(
            v < 1 for row in values[id(group)] for v in row
        ):
            ax.contour(gammas, rows_of, values[id(group)], levels=[1.0], colors="white", linewidths=1.2)
        ax.set_xscale("log")
        ax.set_yscale("log")
        canvas.decades(ax.xaxis, gammas)
        canvas.decades(ax.yaxis, rows_of)
        ax.grid(visible=False)
        ax.set_xlabel("γ of the target")
        ax.set_ylabel("γ of the source")
        ax.set_title(group.label)
    bar = figure.colorbar(mesh, ax=axes, label="α*", shrink=0.9, pad=0.02)
    canvas.decades(bar.ax.yaxis, known)
    return figure

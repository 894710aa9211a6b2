"""Bars of our scores next to the published ones: never joined, never averaged with each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from uora_bench.report.figure_spec import FigureSpec
from uora_bench.report.figures import canvas, facts, style
from uora_bench.report.figures.style import GREY, Look
from uora_bench.report.model import Block, Row, Table
from uora_bench.report.published import Published

COLUMNS = ("panel", "row", "method", "whose", "value", "std", "n", "source", "by_seed", "cell_ids")


@dataclass(frozen=True)
class Pair:
    row: Row
    look: Look
    ours: float
    std: float | None
    by_seed: dict[int, float]
    theirs: Published
    cells: tuple[str, ...]


@dataclass(frozen=True)
class PublishedPanel:
    title: str
    axis: str
    decimals: int
    pairs: tuple[Pair, ...]


def figure_specs(table: Table) -> list[FigureSpec]:
    """A figure per block, with a panel per column in which a row has both numbers."""
    found = []
    for block in table.blocks:
        panels = []
        for i, column in enumerate(table.columns):
            pairs = [p for row, look in style.rows_with_looks(block) if (p := _pair(row, look, i)) is not None]
            axis = f"{column.metric}, {column.split}" + ("" if column.higher_is_better else "\n(lower is better)")
            panels.append(PublishedPanel(column.label, axis.replace("_", " "), column.decimals, tuple(pairs)))
        pairs = [p for row, look in style.rows_with_looks(block) if (p := _average(row, look)) is not None]
        panels.append(PublishedPanel("average", "mean over the columns", table.spec.decimals, tuple(pairs)))
        panels = [panel for panel in panels if panel.pairs]
        if panels:
            found.append(_spec(table, block, panels))
    return found


def _pair(row: Row, look: Look, i: int) -> Pair | None:
    ours, theirs = row.entries[i].ours, row.entries[i].published
    if ours.value is None or theirs is None:
        return None
    return Pair(row, look, ours.value, ours.std, ours.by_seed, theirs, tuple(facts.ids(ours.runs)))


def _average(row: Row, look: Look) -> Pair | None:
    average = row.average
    if average is None or average.ours is None or average.published is None:
        return None
    by_seed = average.by_seed
    cells = tuple(facts.ids(row.runs))
    return Pair(row, look, average.ours, facts.std(by_seed), by_seed, average.published, cells)


def _spec(table: Table, block: Block, panels: Sequence[PublishedPanel]) -> FigureSpec:
    rows = []
    for panel in panels:
        for p in panel.pairs:
            named = {"panel": panel.title, "row": p.row.label, "method": style.method_of(p.row)}
            rows.append({**named, "whose": "ours", "value": p.ours, "std": p.std, "n": len(p.by_seed),
                         "by_seed": p.by_seed, "cell_ids": p.cells})  # fmt: skip
            theirs = p.theirs
            rows.append({**named, "whose": "published", "value": theirs.value, "std": theirs.std,
                         "source": theirs.source})  # fmt: skip
    pairs = [p for panel in panels for p in panel.pairs]
    paper = table.spec.paper
    how = [
        f"rule {paper.rule}" if paper.rule else "rule not known",
        f"{paper.aggregate} over seeds" if paper.aggregate else "aggregate not known",
        f"{paper.seeds} seeds" if paper.seeds else "number of seeds not known",
    ]
    runs = [run for p in pairs for run in p.row.runs]
    shown = {panel.title for panel in panels}
    bars = any(p.std is not None or p.theirs.std is not None for p in pairs)
    caption = [
        f"Ours (filled) beside the published number (hatched; {table.paper}: {', '.join(how)}), where there are both.",
        facts.rule(table),
        facts.splits([column for column in table.columns if column.label in shown], runs),
        f"Ours: {table.spec.aggregate} over seeds.",
        "Error bars: ours, sample standard deviation over seeds; published, what the paper prints after ±."
        if bars
        else "",
        facts.seeds((len(p.by_seed) for p in pairs), "filled bar"),
        "Protocols may differ: the notes under the table say how.",
    ]
    kind = ("published", "ours beside published")
    return facts.figure_spec(table, block, kind, caption, COLUMNS, rows, lambda: _draw(panels))


def _draw(panels: Sequence[PublishedPanel]) -> Any:
    from matplotlib.patches import Patch
    from matplotlib.ticker import FixedLocator, MaxNLocator

    figure, axes = canvas.panels(len(panels), ["ours", "published"], 2.5)
    for ax, panel in zip(axes, panels, strict=True):
        for at, p in enumerate(panel.pairs):
            _bar(ax, at - 0.21, p.ours, p.std, panel.decimals, color=p.look.colour, edgecolor=p.look.colour)
            _bar(ax, at + 0.21, p.theirs.value, p.theirs.std, panel.decimals, color="white", edgecolor=p.look.colour,
                 hatch="////", linestyle=(0, (3, 1.5)))  # fmt: skip
        ax.set_xticks(range(len(panel.pairs)), [p.row.label for p in panel.pairs], rotation=30, ha="right")
        ax.tick_params(axis="x", length=0)
        ax.grid(visible=False, axis="x")
        ax.set_xlim(-0.6, len(panel.pairs) - 0.4)
        ends = [value + s * (std or 0) for p in panel.pairs for s in (-1, 1)
                for value, std in ((p.ours, p.std), (p.theirs.value, p.theirs.std))]  # fmt: skip
        # from 0, or the lengths of bars would mislead; above them room for the numbers
        top = max(0, *ends)
        ticks = MaxNLocator(5).tick_values(min(0, *ends), top)
        ax.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if tick <= 1.05 * top]))
        ax.set_ylim(min(0, *ends), top * 1.25 or 1)
        ax.set_ylabel(panel.axis)
        ax.set_title(panel.title)
    handles = [
        Patch(facecolor=GREY, edgecolor=GREY, label="ours"),
        Patch(facecolor="white", edgecolor=GREY, hatch="////", linestyle=(0, (3, 1.5)), label="published"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=2)
    return figure


def _bar(ax: Any, at: float, value: float, std: float | None, decimals: int, **options: Any) -> None:
    ax.bar(at, value, width=0.34, linewidth=0.8, yerr=std, error_kw={"elinewidth": 0.8, "capsize": 1.6}, **options)
    top = max(value + (std or 0), 0)
    ax.annotate(
        f"{value:.{min(decimals, 2)}f}", (at, top), xytext=(0, 2), textcoords="offset points", rotation=90, fontsize=6,
        ha="center", va="bottom",
    )  # fmt: skip

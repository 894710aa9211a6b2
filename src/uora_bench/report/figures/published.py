"""Bars of our scores next to the published ones: never joined, never averaged with each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from uora_bench.report.figure_spec import FigureSpec
from uora_bench.report.figures import canvas, facts
from uora_bench.report.figures.style import ACCENT, WHITE
from uora_bench.report.model import Block, Score, Table
from uora_bench.report.notes import protocol_of

_HATCHED: dict[str, Any] = {"hatch": "////", "linestyle": (0, (3, 1.5))}


def figure_specs(table: Table) -> list[FigureSpec]:
    """A figure per block, with a panel per column in which a row has both numbers."""
    return [_spec(table, block, rows) for block in table.blocks if (rows := _rows(table, block))]


def _rows(table: Table, block: Block) -> facts.Rows:
    found: facts.Rows = []
    for column, entries in facts.panels(table, block):
        for row, entry in entries:
            ours, theirs = entry.ours, entry.published
            if ours.value is None or theirs is None:
                continue
            named = {"panel": column.label, "row": row.label, "method": facts.methods_of(row)}
            found += [
                {**named, "whose": "ours", "value": ours.value, "std": ours.std, "n": ours.n, "source": None,
                 "by_seed": ours.by_seed, "cell_ids": ours.ids},
                {**named, "whose": "published", "value": theirs.value, "std": theirs.std, "source": theirs.source},
            ]  # fmt: skip
    return found


def _spec(table: Table, block: Block, rows: facts.Rows) -> FigureSpec:
    how = protocol_of(table.spec.paper).replace("`", "")
    labels, shown = facts.grouped(rows, "row"), facts.grouped(rows, "panel")
    runs = [run for row in block.rows if row.label in labels for run in row.runs]
    bars = any(row["std"] is not None for row in rows)
    caption = [
        f"Ours (filled) beside the published number (hatched; {table.paper}: {how}), where there are both.",
        facts.rule(table),
        facts.splits([column for column in table.columns if column.label in shown], runs),
        f"Ours: {table.spec.aggregate} over seeds.",
        "Error bars: ours, sample standard deviation over seeds; published, what the paper prints after ±."
        if bars
        else "",
        facts.seeds((row["n"] for row in rows if row["whose"] == "ours"), "filled bar"),
        "Protocols may differ: the notes under the table say how.",
    ]
    columns = {column.label: column for column, _ in facts.panels(table, block)}
    kind = ("published", "ours beside published")
    return facts.figure_spec(table, block, kind, caption, rows, lambda: _draw(rows, columns))


def _draw(rows: facts.Rows, columns: Mapping[str, Score]) -> Any:
    from matplotlib.patches import Patch
    from matplotlib.ticker import FixedLocator, MaxNLocator

    panels = facts.grouped(rows, "panel")
    figure, axes = canvas.panels(len(panels), ["ours", "published"], 2.5)
    for ax, (title, own) in zip(axes, panels.items(), strict=True):
        column, labels = columns[title], list(facts.grouped(own, "row"))
        for row in own:
            ours = row["whose"] == "ours"
            fill = {"color": ACCENT} if ours else {"color": WHITE, **_HATCHED}
            at = labels.index(row["row"]) + (-0.21 if ours else 0.21)
            _bar(ax, at, row["value"], row["std"], column.decimals, edgecolor=ACCENT, **fill)
        names = [facts.short_name(label) for label in labels]
        ax.set_xticks(range(len(labels)), names, rotation=30, ha="right")
        ax.tick_params(axis="x", length=0)
        ax.grid(visible=False, axis="x")
        ax.set_xlim(-0.6, len(labels) - 0.4)
        ends = [row["value"] + sign * (row["std"] or 0) for row in own for sign in (-1, 1)]
        # from 0, or the lengths of bars would mislead; above them room for the numbers
        top = max(0, *ends)
        ticks = MaxNLocator(5).tick_values(min(0, *ends), top)
        ax.yaxis.set_major_locator(FixedLocator([tick for tick in ticks if tick <= 1.05 * top]))
        ax.set_ylim(min(0, *ends), top * 1.25 or 1)
        lower = "" if column.higher_is_better or title == "average" else "\n(lower is better)"
        ax.set(ylabel=facts.axis(column) + lower, title=title)
    handles = [
        Patch(facecolor=ACCENT, edgecolor=ACCENT, label="ours"),
        Patch(facecolor=WHITE, edgecolor=ACCENT, label="published", **_HATCHED),
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

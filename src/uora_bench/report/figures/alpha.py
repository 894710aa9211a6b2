"""What α-LoRA's α became: its quantiles at every target, epoch by epoch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from uora_bench.records.record import EpochScores
from uora_bench.report.collect import Run
from uora_bench.report.figure_spec import FigureSpec
from uora_bench.report.figures import canvas, facts, slots
from uora_bench.report.figures.style import BLACK, look
from uora_bench.report.model import Block, Row, Table

QUANTILES = ("q05", "q25", "q50", "q75", "q95")
COLUMNS = ("task", "row", "epoch", "target", *QUANTILES, "n", "cell_ids")
_EPOCHS = 8  # as many are drawn at most


@dataclass(frozen=True)
class AlphaPanel:
    """One row on one task. ``spread``: (epoch, target) -> quantile -> mean over ``n`` seeds."""

    task: str
    title: str
    row: Row
    runs: tuple[Run, ...]
    spread: dict[tuple[int, str], dict[str, float]]
    left_out: bool  # of the epochs only some are drawn


def figure_specs(table: Table) -> list[FigureSpec]:
    """A figure per block that has a finished row with α's quantiles."""
    found = []
    for block in table.blocks:
        panels = []
        for i, column in enumerate(table.columns):
            if column.task not in [earlier.task for earlier in table.columns[:i]]:
                panels += [
                    p
                    for row in block.rows
                    if (p := _panel(column.task, facts.task_label(table, column.task), row, i)) is not None
                ]
        if panels:
            found.append(_spec(table, block, panels))
    return found


def _panel(task: str, label: str, row: Row, i: int) -> AlphaPanel | None:
    runs = [r for r in facts.done(row.entries[i].ours.runs) if any(_alpha(e) for e in r.record.epochs)]
    if not runs:
        return None
    # only what every seed has: a mean over changing seeds would move without α
    by_run = [{(e.epoch, t): q for e in run.record.epochs for t, q in _alpha(e).items()} for run in runs]
    common = set.intersection(*map(set, by_run))
    if not common:
        return None
    epochs = sorted({epoch for epoch, _ in common})
    last = len(epochs) - 1
    kept = {epochs[round(k * last / (_EPOCHS - 1))] for k in range(_EPOCHS)}
    spread = {
        (epoch, slot.target): {
            q: statistics.fmean(one[epoch, slot.target][q] for one in by_run) for q in QUANTILES
        }
        for epoch in sorted(kept)
        for slot in slots.ordered(target for e, target in common if e == epoch)
    }  # fmt: skip
    return AlphaPanel(task, f"{label}: {row.label}", row, tuple(runs), spread, len(kept) < len(epochs))


def _alpha(epoch: EpochScores) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = epoch.method.get("alpha", {})
    return found


def _spec(table: Table, block: Block, panels: Sequence[AlphaPanel]) -> FigureSpec:
    rows = [
        {"task": p.task, "row": p.row.label, "epoch": epoch, "target": target, **values, "n": len(p.runs),
         "cell_ids": facts.ids(p.runs)}
        for p in panels
        for (epoch, target), values in p.spread.items()
    ]  # fmt: skip
    caption = [
        "Quantiles of α's entries per target, by kind of module and block of the backbone; within a block the epochs "
        "from left to right: 5 to 95 % light, 25 to 75 % dark, the median a line. Dotted: α = 1.",
        "Each quantile is the mean over seeds." if any(len(p.runs) > 1 for p in panels) else "",
        facts.seeds((len(p.runs) for p in panels), "panel"),
        f"Of long runs {_EPOCHS} epochs are drawn." if any(p.left_out for p in panels) else "",
        "No selection rule applies.",
    ]
    kind = ("alpha", "α-LoRA's α")
    return facts.figure_spec(table, block, kind, caption, COLUMNS, rows, lambda: _draw(panels))


def _draw(panels: Sequence[AlphaPanel]) -> Any:
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    colour = look("alpha_lora").colour
    figure = Figure(figsize=(canvas.WIDTH, 1.7 * len(panels) + 0.4), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, sharey=True)[:, 0]
    for ax, panel in zip(axes, panels, strict=True):
        _ribbons(ax, panel, colour)
        ax.set_title(panel.title, pad=12)
        ax.set_ylabel("α")
        epochs = sorted({epoch for epoch, _ in panel.spread})
        span = f"; in each, epochs {epochs[0]} to {epochs[-1]}" if len(epochs) > 1 else f", after epoch {epochs[0]}"
        ax.set_xlabel(f"block of the backbone, by kind of module{span}")
    handles = [
        Patch(color=colour, alpha=0.3, linewidth=0, label="5 to 95 % of α's entries"),
        Patch(color=colour, alpha=0.85, linewidth=0, label="25 to 75 %"),
        Line2D([], [], color=BLACK, linewidth=1.0, label="median"),
        Line2D([], [], color=BLACK, linewidth=0.8, linestyle=(0, (1, 1.5)), label="α = 1: the pretrained weight"),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _ribbons(ax: Any, panel: AlphaPanel, colour: str) -> None:
    """A ribbon per target; a gap (not a number) between two of them."""
    shown = slots.ordered(target for _, target in panel.spread)
    epochs = sorted({epoch for epoch, _ in panel.spread})
    x: list[float] = []
    of: dict[str, list[float]] = {q: [] for q in QUANTILES}
    for at, slot in enumerate(shown):
        own = [epoch for epoch in epochs if (epoch, slot.target) in panel.spread]
        if len(own) == 1:
            own = own * 2  # a ribbon of one epoch has a width too
        x += [at + 0.7 * (k / (len(own) - 1) - 0.5) for k in range(len(own))] + [float("nan")]
        for q in QUANTILES:
            of[q] += [panel.spread[epoch, slot.target][q] for epoch in own] + [float("nan")]
    ax.axhline(1.0, color=BLACK, linewidth=0.8, linestyle=(0, (1, 1.5)), zorder=1)
    ax.fill_between(x, of["q05"], of["q95"], color=colour, alpha=0.3, linewidth=0, zorder=2)
    ax.fill_between(x, of["q25"], of["q75"], color=colour, alpha=0.85, linewidth=0, zorder=2)
    ax.plot(x, of["q50"], color=BLACK, linewidth=1.0, zorder=3)
    slots.axis(ax, shown)

"""What α-LoRA's α became: its quantiles at every target, epoch by epoch."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from uora_bench.records.record import EpochScores
from uora_bench.report.collect import Run, finished
from uora_bench.report.figure_spec import FigureSpec
from uora_bench.report.figures import canvas, facts, slots
from uora_bench.report.figures.style import ACCENT, BLACK, DOTS
from uora_bench.report.model import Block, Table

QUANTILES = ("q05", "q25", "q50", "q75", "q95")
_EPOCHS = 8  # as many are drawn at most


def figure_specs(table: Table) -> list[FigureSpec]:
    """A figure per block that has a finished row with α's quantiles."""
    found = []
    for block in table.blocks:
        panels = {
            f"{title}: {row.label}": rows
            for task, (i, title) in facts.by_task(table).items()
            for row in block.rows
            if (rows := _rows({"task": task, "row": row.label}, row.entries[i].ours.done))
        }
        found += [_spec(table, block, panels)] if panels else []
    return found


def _rows(named: Mapping[str, str], runs: Sequence[Run]) -> facts.Rows:
    """The quantiles of one row on one task, each the mean over seeds."""
    runs = [r for r in runs if any(_alpha(e) for e in r.record.epochs)]
    # only what every seed has: a mean over changing seeds would move without α
    by_run = [{(e.epoch, t): q for e in run.record.epochs for t, q in _alpha(e).items()} for run in runs]
    common = set.intersection(*map(set, by_run)) if runs else set()
    return [
        {**named, "epoch": epoch, "target": slot.target,
         **{q: statistics.fmean(one[epoch, slot.target][q] for one in by_run) for q in QUANTILES},
         "n": len(runs), "cell_ids": facts.ids(runs)}
        for epoch in sorted(_some({epoch for epoch, _ in common}))
        for slot in slots.ordered(target for e, target in common if e == epoch)
    ]  # fmt: skip


def _some(epochs: set[int]) -> set[int]:
    """At most `_EPOCHS` of them, the first and the last among them."""
    known, last = sorted(epochs), len(epochs) - 1
    return {known[round(k * last / (_EPOCHS - 1))] for k in range(_EPOCHS)} if known else set()


def _alpha(epoch: EpochScores) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = epoch.method.get("alpha", {})
    return found


def _spec(table: Table, block: Block, panels: Mapping[str, facts.Rows]) -> FigureSpec:
    counts = [rows[0]["n"] for rows in panels.values()]
    runs = finished(block.runs)
    longest = max(sum(bool(_alpha(epoch)) for epoch in run.record.epochs) for run in runs)
    caption = [
        "Quantiles of α's entries per target, by kind of module and block of the backbone; within a block the epochs "
        "from left to right: 5 to 95 % light, 25 to 75 % dark, the median a line. Dotted: α = 1.",
        "Each quantile is the mean over seeds." if max(counts) > 1 else "",
        facts.seeds(counts, "panel"),
        f"Of long runs {_EPOCHS} epochs are drawn." if longest > _EPOCHS else "",
        "No selection rule applies.",
    ]
    rows = [row for own in panels.values() for row in own]
    return facts.figure_spec(table, block, ("alpha", "α-LoRA's α"), caption, rows, lambda: _draw(panels))


def _draw(panels: Mapping[str, facts.Rows]) -> Any:
    from matplotlib.patches import Patch

    figure = canvas.blank(1.7 * len(panels) + 0.4)
    axes = figure.subplots(len(panels), 1, squeeze=False, sharey=True)[:, 0]
    for ax, (title, rows) in zip(axes, panels.items(), strict=True):
        _ribbons(ax, rows)
        ax.set_title(title, pad=12)
        epochs = list(facts.grouped(rows, "epoch"))
        span = f"; in each, epochs {epochs[0]} to {epochs[-1]}" if len(epochs) > 1 else f", after epoch {epochs[0]}"
        ax.set(xlabel=f"block of the backbone, by kind of module{span}", ylabel="α")
    handles = [
        Patch(color=ACCENT, alpha=0.3, linewidth=0, label="5 to 95 % of α's entries"),
        Patch(color=ACCENT, alpha=0.85, linewidth=0, label="25 to 75 %"),
        canvas.line("median", color=BLACK, linewidth=1.0),
        canvas.line("α = 1: the pretrained weight", color=BLACK, linewidth=0.8, linestyle=DOTS),
    ]
    figure.legend(handles=handles, loc="outside lower center", ncols=4)
    return figure


def _ribbons(ax: Any, rows: facts.Rows) -> None:
    """A ribbon per target; a gap (not a number) between two of them."""
    by_target = facts.grouped(rows, "target")
    shown = slots.ordered(by_target)
    gap = float("nan")
    x: list[float] = []
    of: dict[str, list[float]] = {q: [] for q in QUANTILES}
    for at, slot in enumerate(shown):
        own = by_target[slot.target]
        own = own * 2 if len(own) == 1 else own  # a ribbon of one epoch has a width too
        x += [*(at + 0.7 * (k / (len(own) - 1) - 0.5) for k in range(len(own))), gap]
        for q in QUANTILES:
            of[q] += [*(row[q] for row in own), gap]
    ax.axhline(1.0, color=BLACK, linewidth=0.8, linestyle=DOTS, zorder=1)
    ax.fill_between(x, of["q05"], of["q95"], color=ACCENT, alpha=0.3, linewidth=0, zorder=2)
    ax.fill_between(x, of["q25"], of["q75"], color=ACCENT, alpha=0.85, linewidth=0, zorder=2)
    ax.plot(x, of["q50"], color=BLACK, linewidth=1.0, zorder=3)
    slots.axis(ax, shown)

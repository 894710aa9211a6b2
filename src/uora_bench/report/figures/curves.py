"""Learning curves: the primary metric on dev after every epoch."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from uora_bench.report.collect import Run
from uora_bench.report.figure_spec import FigureSpec
from uora_bench.report.figures import canvas, facts, style
from uora_bench.report.figures.style import Look
from uora_bench.report.model import Block, Row, Table

COLUMNS = ("panel", "row", "method", "metric", "split", "epoch", "score", "min", "max", "n", "by_seed", "cell_ids")


@dataclass(frozen=True)
class Curve:
    """One row on one task; ``epochs``: epoch -> seed -> score, scaled as in the table."""

    row: Row
    look: Look
    runs: tuple[Run, ...]
    epochs: dict[int, dict[int, float]]
    median: bool

    def middle(self, epoch: int) -> float:
        values = self.epochs[epoch].values()
        return statistics.median(values) if self.median else statistics.fmean(values)


@dataclass(frozen=True)
class CurvePanel:
    title: str
    metric: str
    higher_is_better: bool
    curves: tuple[Curve, ...]


def figure_specs(table: Table) -> list[FigureSpec]:
    """A figure per block, with a panel per task on which some row was scored after two epochs or more."""
    found = []
    for block in table.blocks:
        panels = [p for p in _panels(table, block) if any(len(curve.epochs) > 1 for curve in p.curves)]
        if panels:
            found.append(_spec(table, block, panels))
    return found


def _panels(table: Table, block: Block) -> list[CurvePanel]:
    tasks = {column.task: i for i, column in reversed(list(enumerate(table.columns)))}
    found = []
    for task, i in sorted(tasks.items(), key=lambda item: item[1]):
        curves = []
        for row, look in style.rows_with_looks(block):
            runs = tuple(facts.done(row.entries[i].ours.runs))
            epochs = _epochs(runs)
            if epochs:
                curves.append(Curve(row, look, runs, epochs, table.spec.aggregate == "median"))
        if curves:
            metric = curves[0].runs[0].metric
            found.append(
                CurvePanel(facts.task_label(table, task), metric.primary, metric.higher_is_better, tuple(curves))
            )
    return found


def _epochs(runs: Sequence[Run]) -> dict[int, dict[int, float]]:
    found: dict[int, dict[int, float]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        for epoch in run.record.epochs:
            score = epoch.scores.get("dev", {}).get(run.metric.primary)
            if score is not None:
                found.setdefault(epoch.epoch, {})[run.seed] = score * run.metric.scale
    return dict(sorted(found.items()))


def _spec(table: Table, block: Block, panels: Sequence[CurvePanel]) -> FigureSpec:
    rows = [
        {
            "panel": panel.title,
            "row": curve.row.label,
            "method": style.method_of(curve.row),
            "metric": panel.metric,
            "split": "dev",
            "epoch": epoch,
            "score": curve.middle(epoch),
            "min": min(by_seed.values()),
            "max": max(by_seed.values()),
            "n": len(by_seed),
            "by_seed": by_seed,
            "cell_ids": facts.ids(curve.runs),
        }
        for panel in panels
        for curve in panel.curves
        for epoch, by_seed in curve.epochs.items()
    ]
    runs = [run for panel in panels for curve in panel.curves for run in curve.runs]
    counts = [len(by_seed) for panel in panels for curve in panel.curves for by_seed in curve.epochs.values()]
    caption = [
        f"Primary metric on {facts.split('dev', runs)} after every epoch: {table.spec.aggregate} over seeds",
        "and a band from the lowest to the highest." if max(counts) > 1 else "(no band: one seed).",
        facts.seeds(counts, "curve"),
        "No selection rule: all epochs are drawn.",
    ]
    kind = ("curves", "learning curves")
    return facts.figure_spec(table, block, kind, caption, COLUMNS, rows, lambda: _draw(panels, block))


def _draw(panels: Sequence[CurvePanel], block: Block) -> Any:
    from matplotlib.ticker import MaxNLocator

    labels = {curve.row.label for panel in panels for curve in panel.curves}
    entries = [(r.label, k) for r, k in style.rows_with_looks(block) if r.label in labels]
    figure, axes = canvas.panels(len(panels), [label for label, _ in entries], 2.6)
    for ax, panel in zip(axes, panels, strict=True):
        values = []
        for curve in panel.curves:
            epochs = list(curve.epochs)
            low = [min(curve.epochs[e].values()) for e in epochs]
            high = [max(curve.epochs[e].values()) for e in epochs]
            if any(len(by_seed) > 1 for by_seed in curve.epochs.values()):
                ax.fill_between(epochs, low, high, color=curve.look.colour, alpha=0.13, linewidth=0, zorder=1)
            options = {**curve.look.markers(3.6), **curve.look.line()}
            ax.plot(epochs, [curve.middle(e) for e in epochs], linewidth=1.1, zorder=2, **options)
            values += low + high
        canvas.score_axis(ax, values, panel.higher_is_better, f"{panel.metric}, dev")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("epoch")
        ax.set_title(panel.title)
    canvas.legend(figure, entries, lines=True)
    return figure

"""Learning curves: the primary metric on dev after every epoch."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from uora_bench.report.collect import Run
from uora_bench.report.figure_spec import FigureSpec
from uora_bench.report.figures import canvas, facts, style
from uora_bench.report.figures.style import Look
from uora_bench.report.model import Block, Table


def figure_specs(table: Table) -> list[FigureSpec]:
    """A figure per block, with a panel per task on which some row was scored after two epochs or more."""
    return [_spec(table, block, rows) for block in table.blocks if (rows := _rows(table, block))]


def _rows(table: Table, block: Block) -> facts.Rows:
    middle = statistics.median if table.spec.aggregate == "median" else statistics.fmean
    found = []
    for i, title in facts.by_task(table).values():
        own = [
            {
                "panel": title, "row": row.label, "method": style.method_of(row), "metric": runs[0].metric.primary,
                "split": "dev", "epoch": epoch, "score": middle(by_seed.values()), "min": min(by_seed.values()),
                "max": max(by_seed.values()), "n": len(by_seed), "by_seed": by_seed, "cell_ids": facts.ids(runs),
            }
            for row in block.rows
            if (runs := facts.done(row.entries[i].ours.runs))
            for epoch, by_seed in _epochs(runs).items()
        ]  # fmt: skip
        found += own if any(len(epochs) > 1 for epochs in facts.grouped(own, "row").values()) else []
    return found


def _epochs(runs: Sequence[Run]) -> dict[int, dict[int, float]]:
    """Epoch -> seed -> score, scaled as in the table."""
    found: dict[int, dict[int, float]] = {}
    for run in sorted(runs, key=lambda run: run.seed):
        for epoch in run.record.epochs:
            score = epoch.scores.get("dev", {}).get(run.metric.primary)
            if score is not None:
                found.setdefault(epoch.epoch, {})[run.seed] = score * run.metric.scale
    return dict(sorted(found.items()))


def _spec(table: Table, block: Block, rows: facts.Rows) -> FigureSpec:
    shown = {row["panel"] for row in rows}
    panels = [(i, title) for i, title in facts.by_task(table).values() if title in shown]
    runs = [run for row in block.rows for i, _ in panels for run in facts.done(row.entries[i].ours.runs)]
    lower = {title for i, title in panels for run in runs if run.task == table.columns[i].task
             and not run.metric.higher_is_better}  # fmt: skip
    counts = [row["n"] for row in rows]
    caption = [
        f"Primary metric on {facts.split('dev', runs)} after every epoch: {table.spec.aggregate} over seeds",
        "and a band from the lowest to the highest." if max(counts) > 1 else "(no band: one seed).",
        facts.seeds(counts, "curve"),
        "No selection rule: all epochs are drawn.",
    ]
    kind = ("curves", "learning curves")
    return facts.figure_spec(table, block, kind, caption, rows, lambda: _draw(rows, lower, style.looks(block)))


def _draw(rows: facts.Rows, lower: set[str], looks: Mapping[str, Look]) -> Any:
    panels = facts.grouped(rows, "panel")
    drawn = canvas.of_rows(looks, rows)
    figure, axes = canvas.panels(len(panels), list(drawn), 2.6)
    for ax, (title, own) in zip(axes, panels.items(), strict=True):
        for label, points in facts.grouped(own, "row").items():
            canvas.band(ax, points, "score", looks[label], 3.6, 0.13, linewidth=1.1, zorder=2)
        values = [row[end] for row in own for end in ("min", "max")]
        canvas.score_axis(ax, values, title not in lower, f"{own[0]['metric']}, dev")
        ax.set_xlabel("epoch")
        ax.set_title(title)
    canvas.legend(figure, drawn, lines=True)
    return figure

"""Learning curves: the primary metric on dev after every epoch."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from uora_bench.report.collect import Run
from uora_bench.report.figure_spec import FigureSpec
from uora_bench.report.figures import canvas, facts, style
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
                "panel": title, "row": row.label, "method": facts.methods_of(row), "metric": runs[0].metric.primary,
                "split": "dev", "epoch": epoch, "score": middle(by_seed.values()), "min": min(by_seed.values()),
                "max": max(by_seed.values()), "n": len(by_seed), "by_seed": by_seed, "cell_ids": facts.ids(runs),
            }
            for row in block.rows
            if (runs := row.entries[i].ours.done)
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
    runs = [run for row in block.rows for i, _ in panels for run in row.entries[i].ours.done]
    lower = {title for i, title in panels for run in runs if run.task == table.columns[i].task
             and not run.metric.higher_is_better}  # fmt: skip
    counts = [row["n"] for row in rows]
    caption = [
        f"Primary metric on {facts.split('dev', runs)} after every epoch: {table.spec.aggregate} over seeds",
        "and a band from the lowest to the highest." if max(counts) > 1 else "(no band: one seed).",
        facts.seeds(counts, "curve"),
        "No selection rule: all epochs are drawn.",
        "Behind each row's panel, grey: the range of all rows." if len(facts.numbered(rows)) > style.MOST else "",
    ]
    kind = ("curves", "learning curves")
    return facts.figure_spec(table, block, kind, caption, rows, lambda: _draw(rows, lower))


def _draw(rows: facts.Rows, lower: set[str]) -> Any:
    names = facts.numbered(rows)
    if len(names) > style.MOST:
        return _multiples(facts.grouped(rows, "panel"), names, lower)
    return lines(rows, lower, "epoch", "dev", 0.13)


def lines(rows: facts.Rows, lower: set[str], x: str, y: str, alpha: float) -> Any:
    """A panel per task with a line for every row.

    ``lower``: the panels in which lower is better; ``x``: the axis; ``y``: of what the metric is; ``alpha``: of the
    bands.
    """
    panels, looks = facts.grouped(rows, "panel"), facts.looks(rows)
    figure, axes = canvas.panels(len(panels), [name for name, _ in looks.values()], 2.6)
    for ax, (title, own) in zip(axes, panels.items(), strict=True):
        for label, points in facts.grouped(own, "row").items():
            canvas.band(ax, points, "score", looks[label][1], 3.6, alpha, linewidth=1.1, zorder=2)
        values = [row[end] for row in own for end in ("min", "max")]
        canvas.score_axis(ax, values, title not in lower, f"{own[0]['metric']}, {y}")
        ax.set(xlabel=x, title=title)
    canvas.legend(figure, dict(looks.values()), lines=True)
    return figure


def _multiples(panels: Mapping[str, facts.Rows], names: Mapping[str, tuple[int, str]], lower: set[str]) -> Any:
    """A panel per row and task: tasks beside each other, of one task four rows beside each other."""
    across = len(panels) if len(panels) > 1 else 4
    places = [(label, title) for label in names for title in panels]
    down = -(-len(places) // across)
    figure = canvas.blank(0.5 + 0.7 * down)
    grid: Any = figure.subplots(down, across, squeeze=False, sharex=True, sharey="col" if len(panels) > 1 else "all")
    axes = list(grid.flat)
    for spare in axes[len(places) :]:
        spare.remove()
    for at, (ax, (label, title)) in enumerate(zip(axes, places, strict=False)):
        all_rows = facts.grouped(panels[title], "epoch")
        ends = [(min(p["score"] for p in own), max(p["score"] for p in own)) for own in all_rows.values()]
        ax.fill_between(list(all_rows), *zip(*ends, strict=True), color=style.GRID, linewidth=0, zorder=0)
        own = facts.grouped(panels[title], "row").get(label, [])
        if own:
            canvas.band(ax, own, "score", style.look(0), 0.0, 0.25, linewidth=1.1, zorder=2)
        canvas.score_axis(ax, [end for pair in ends for end in pair], title not in lower, "", 3)
        ax.grid(visible=False)
        ax.tick_params(bottom=at + across >= len(places))
        text = names[label][1] if at % across == 0 or len(panels) == 1 else ""
        ax.set_title(text, fontsize=6.5, pad=2)
        if at < across and len(panels) > 1:
            ax.annotate(title, (1, 1), xycoords="axes fraction", xytext=(0, 2), textcoords="offset points", ha="right",
                        fontsize=6.5, fontweight="bold", va="bottom")  # fmt: skip
    metrics = ", ".join(dict.fromkeys(own[0]["metric"].replace("_", " ") for own in panels.values()))
    figure.supxlabel("epoch", fontsize=7)
    figure.supylabel(f"{metrics}, dev{' (lower is better)' if lower else ''}", fontsize=7)
    return figure

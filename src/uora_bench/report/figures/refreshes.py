"""UORA's refreshes: how many so far after every epoch, and at which targets."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from uora_bench.report.collect import Run
from uora_bench.report.figure_spec import FigureSpec
from uora_bench.report.figures import canvas, facts, slots
from uora_bench.report.figures.style import Look
from uora_bench.report.model import Block, Table


def figure_specs(table: Table) -> list[FigureSpec]:
    """A figure per block that has a finished row of UORA."""
    found = []
    for block in table.blocks:
        rows = [
            line
            for task, (i, _) in facts.by_task(table).items()
            for row in block.rows
            for line in _lines({"task": task, "row": row.label}, row.entries[i].ours.done)
        ]
        found += [_spec(table, block, rows)] if rows else []
    return found


def _lines(named: Mapping[str, str], runs: Sequence[Run]) -> facts.Rows:
    """The numbers of one row on one task.

    ``read_from`` method: of records that hold the end of the run only (they were made before epochs had snapshots).
    """
    runs = sorted((r for r in runs if "refreshes_per_layer" in r.record.method), key=lambda run: run.seed)
    if not runs:
        return []
    so_far: dict[int, dict[int, int]] = {}
    per_target: dict[str, dict[int, int]] = {}
    ids = {run.seed: run.cell_id for run in runs}
    last = max(run.record.epochs[-1].epoch for run in runs)
    for run in runs:
        for epoch in run.record.epochs:
            if "refreshes" in epoch.method:
                so_far.setdefault(epoch.epoch, {})[run.seed] = epoch.method["refreshes"]
        counts = run.record.method["refreshes_per_layer"]
        for slot in slots.ordered(counts):
            per_target.setdefault(slot.target, {})[run.seed] = counts[slot.target]
    source = "epochs" if so_far else "method"
    if not so_far:
        for run in runs:
            so_far.setdefault(run.record.epochs[-1].epoch, {})[run.seed] = run.record.method["refreshes"]
    lines = [("cumulative", epoch, "", by_seed, source) for epoch, by_seed in sorted(so_far.items())]
    lines += [("per_target", last, target, by_seed, "method") for target, by_seed in per_target.items()]
    return [
        {
            **named, "panel": panel, "epoch": epoch, "target": target, "refreshes": statistics.fmean(by_seed.values()),
            "min": min(by_seed.values()), "max": max(by_seed.values()), "n": len(by_seed), "read_from": read_from,
            "by_seed": by_seed, "cell_ids": [ids[seed] for seed in by_seed],
        }
        for panel, epoch, target, by_seed, read_from in lines
    ]  # fmt: skip


def _spec(table: Table, block: Block, rows: facts.Rows) -> FigureSpec:
    counts, missing, only_end = [], 0, 0
    for of_task in facts.grouped(rows, "task").values():
        for lines in facts.grouped(of_task, "row").values():
            seeds, so_far = (
                {seed for line in lines if line["panel"] == panel for seed in line["by_seed"]}
                for panel in ("per_target", "cumulative")
            )
            counts.append(len(seeds | so_far))
            missing += len(seeds - so_far)
            only_end += lines[0]["read_from"] == "method"
    caption = [
        "Refreshed indices of UORA, mean over seeds. Left: all targets together, so far at the end of each epoch; "
        "right: each target over the whole run, by kind of module and block of the backbone.",
        "Band and bars: lowest to highest seed." if max(counts) > 1 else "",
        facts.seeds(counts, "line"),
        f"{only_end} line(s) are a single point: the records hold the end of the run only." if only_end else "",
        f"{missing} cell(s) recorded the end only and are on the right alone." if missing else "",
        f"Cells: {sum(counts)}; no selection rule applies, the whole run is counted.",
    ]
    kind = ("refreshes", "UORA's refreshes")
    titles = {task: title for task, (_, title) in facts.by_task(table).items()}
    return facts.figure_spec(table, block, kind, caption, rows, lambda: _draw(rows, titles))


def _draw(rows: facts.Rows, titles: Mapping[str, str]) -> Any:
    tasks, looks = facts.grouped(rows, "task"), facts.looks(rows)
    drawn = dict(looks.values())
    figure = canvas.blank(1.9 * len(tasks) + canvas.legend_height(canvas.WIDTH, list(drawn)))
    axes = figure.subplots(len(tasks), 2, squeeze=False, width_ratios=(1, 2))
    for (left, right), (task, own) in zip(axes, tasks.items(), strict=True):
        panels = facts.grouped(own, "panel")
        for label, points in facts.grouped(panels["cumulative"], "row").items():
            canvas.band(left, points, "refreshes", looks[label][1], 4.5, 0.15, clip_on=False, zorder=3)
        _per_target(right, facts.grouped(panels["per_target"], "row"), looks)
        left.set(xlabel="epoch", ylabel="refreshes so far", title=titles[task])
        right.set(xlabel="block of the backbone, by kind of module", ylabel="refreshes")
        _count_axis(left, max(p["max"] for p in panels["cumulative"]))
        _count_axis(right, max(p["max"] for p in panels["per_target"]))
        left.set_xlim(0.5, max(p["epoch"] for p in panels["cumulative"]) + 0.5)
    canvas.legend(figure, drawn, lines=True)
    return figure


def _per_target(ax: Any, variants: Mapping[str, facts.Rows], looks: Mapping[str, tuple[str, Look]]) -> None:
    shown = slots.ordered(point["target"] for points in variants.values() for point in points)
    width = 0.7 / len(variants)
    for number, (label, points) in enumerate(variants.items()):
        shift = (number - (len(variants) - 1) / 2) * width
        of = {point["target"]: point for point in points}
        at = [i + shift for i, slot in enumerate(shown) if slot.target in of]
        points = [of[slot.target] for slot in shown if slot.target in of]
        bars = [[p["refreshes"] - p["min"] for p in points], [p["max"] - p["refreshes"] for p in points]]
        ax.errorbar(
            at, [p["refreshes"] for p in points], yerr=bars if any(p["n"] > 1 for p in points) else None,
            linestyle="none", elinewidth=0.8, clip_on=False, zorder=3,
            **looks[label][1].markers(4.5 if len(shown) * len(variants) < 60 else 3),
        )  # fmt: skip
    slots.axis(ax, shown)


def _count_axis(ax: Any, top: int) -> None:
    """Counts from 0 to ``top``; decades above 1 where τ decides between a few and thousands."""
    from matplotlib.ticker import MaxNLocator

    if top <= 50:
        ax.set_ylim(-0.07 * max(1, top), max(1, top) * 1.15)
        ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        return
    ax.set_yscale("symlog", linthresh=1, linscale=0.5)
    ax.set_ylim(-0.5, top * 2)
    canvas.ticks(ax.yaxis, [0, *(10**k for k in range(0, len(str(top)) + 1))])

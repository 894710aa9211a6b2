"""UORA's refreshes: how many so far after every epoch, and at which targets."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from uora_bench.report.collect import Run
from uora_bench.report.figure_spec import FigureSpec
from uora_bench.report.figures import canvas, facts, slots, style
from uora_bench.report.figures.style import Look
from uora_bench.report.model import Block, Row, Table

COLUMNS = (
    "task",
    "row",
    "panel",
    "epoch",
    "target",
    "refreshes",
    "min",
    "max",
    "n",
    "read_from",
    "by_seed",
    "cell_ids",
)


@dataclass(frozen=True)
class Variant:
    """One row on one task. ``so_far``: epoch -> seed -> count; ``per_target``: target -> seed -> count of the whole
    run. ``by_epoch``: false where the records hold the end only (they were made before epochs had snapshots)."""

    task: str
    label: str
    row: Row
    look: Look
    runs: tuple[Run, ...]
    so_far: dict[int, dict[int, int]]
    per_target: dict[str, dict[int, int]]
    by_epoch: bool


def figure_specs(table: Table) -> list[FigureSpec]:
    """A figure per block that has a finished row of UORA."""
    found = []
    for block in table.blocks:
        variants = [variant for i in range(len(table.columns)) for variant in _variants(table, block, i)]
        if variants:
            found.append(_spec(table, block, variants))
    return found


def _variants(table: Table, block: Block, i: int) -> list[Variant]:
    column = table.columns[i]
    if column.task in [earlier.task for earlier in table.columns[:i]]:
        return []
    found = []
    for row, look in style.rows_with_looks(block):
        runs = [r for r in facts.done(row.entries[i].ours.runs) if "refreshes_per_layer" in r.record.method]
        if runs:
            runs.sort(key=lambda run: run.seed)
            found.append(_variant(column.task, facts.task_label(table, column.task), row, look, runs))
    return found


def _variant(task: str, label: str, row: Row, look: Look, runs: Sequence[Run]) -> Variant:
    so_far: dict[int, dict[int, int]] = {}
    per_target: dict[str, dict[int, int]] = {}
    for run in runs:
        for epoch in run.record.epochs:
            if "refreshes" in epoch.method:
                so_far.setdefault(epoch.epoch, {})[run.seed] = epoch.method["refreshes"]
        counts = run.record.method["refreshes_per_layer"]
        for slot in slots.ordered(counts):
            per_target.setdefault(slot.target, {})[run.seed] = counts[slot.target]
    by_epoch = bool(so_far)
    if not by_epoch:
        for run in runs:
            so_far.setdefault(run.record.epochs[-1].epoch, {})[run.seed] = run.record.method["refreshes"]
    return Variant(task, label, row, look, tuple(runs), dict(sorted(so_far.items())), per_target, by_epoch)


def _rows(variant: Variant) -> list[dict[str, Any]]:
    common = {"task": variant.task, "row": variant.row.label}
    ids = {run.seed: run.cell_id for run in variant.runs}
    last = max(run.record.epochs[-1].epoch for run in variant.runs)

    def line(panel: str, epoch: int, target: str, by_seed: Mapping[int, int], source: str) -> dict[str, Any]:
        values = {"refreshes": statistics.fmean(by_seed.values()), **_ends(by_seed), "n": len(by_seed)}
        cells = [ids[seed] for seed in by_seed]
        return {**common, "panel": panel, "epoch": epoch, "target": target, **values, "read_from": source,
                "by_seed": by_seed, "cell_ids": cells}  # fmt: skip

    source = "epochs" if variant.by_epoch else "method"
    rows = [line("cumulative", epoch, "", by_seed, source) for epoch, by_seed in variant.so_far.items()]
    return rows + [line("per_target", last, target, n, "method") for target, n in variant.per_target.items()]


def _ends(by_seed: Mapping[int, int]) -> dict[str, int]:
    return {"min": min(by_seed.values()), "max": max(by_seed.values())}


def _spec(table: Table, block: Block, variants: Sequence[Variant]) -> FigureSpec:
    runs = [run for variant in variants for run in variant.runs]
    missing = [r for v in variants for r in v.runs if v.by_epoch and not any(r.seed in n for n in v.so_far.values())]
    only_end = sum(not v.by_epoch for v in variants)
    caption = [
        "Refreshed indices of UORA, mean over seeds. Left: all targets together, so far at the end of each epoch; "
        "right: each target over the whole run, by kind of module and block of the backbone.",
        "Band and bars: lowest to highest seed." if max(len(v.runs) for v in variants) > 1 else "",
        facts.seeds((len(v.runs) for v in variants), "line"),
        f"{only_end} line(s) are a single point: the records hold the end of the run only." if only_end else "",
        f"{len(missing)} cell(s) recorded the end only and are on the right alone." if missing else "",
        f"Cells: {len(runs)}; no selection rule applies, the whole run is counted.",
    ]
    kind = ("refreshes", "UORA's refreshes")
    return facts.figure_spec(
        table,
        block,
        kind,
        caption,
        COLUMNS,
        [row for variant in variants for row in _rows(variant)],
        lambda: _draw(variants),
    )


def _draw(variants: Sequence[Variant]) -> Any:
    from matplotlib.figure import Figure

    tasks = list(dict.fromkeys(variant.task for variant in variants))
    entries = list({variant.row.label: variant.look for variant in variants}.items())
    height = 1.9 * len(tasks) + canvas.legend_height(canvas.WIDTH, [label for label, _ in entries])
    figure = Figure(figsize=(canvas.WIDTH, height), layout="constrained")
    axes = figure.subplots(len(tasks), 2, squeeze=False, width_ratios=(1, 2))
    for (left, right), task in zip(axes, tasks, strict=True):
        own = [variant for variant in variants if variant.task == task]
        for variant in own:
            _so_far(left, variant)
        _per_target(right, own)
        left.set_title(own[0].label)
        left.set_xlabel("epoch")
        left.set_ylabel("refreshes so far")
        right.set_xlabel("block of the backbone, by kind of module")
        right.set_ylabel("refreshes")
        _count_axis(left, [n for v in own for by_seed in v.so_far.values() for n in by_seed.values()])
        _count_axis(right, [n for v in own for by_seed in v.per_target.values() for n in by_seed.values()])
        left.set_xlim(0.5, max(e for v in own for e in v.so_far) + 0.5)
    canvas.legend(figure, entries, lines=True)
    return figure


def _so_far(ax: Any, variant: Variant) -> None:
    from matplotlib.ticker import MaxNLocator

    epochs = list(variant.so_far)
    counts = [list(by_seed.values()) for by_seed in variant.so_far.values()]
    if any(len(one) > 1 for one in counts):
        colour = variant.look.colour
        ax.fill_between(epochs, [min(c) for c in counts], [max(c) for c in counts], color=colour, alpha=0.15, lw=0)
    options = {**variant.look.markers(4.5), **variant.look.line()}
    ax.plot(epochs, [statistics.fmean(one) for one in counts], clip_on=False, zorder=3, **options)
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))


def _per_target(ax: Any, variants: Sequence[Variant]) -> None:
    shown = slots.ordered(target for variant in variants for target in variant.per_target)
    width = 0.7 / len(variants)
    for number, variant in enumerate(variants):
        shift = (number - (len(variants) - 1) / 2) * width
        at = [i + shift for i, slot in enumerate(shown) if slot.target in variant.per_target]
        counts = [list(variant.per_target[s.target].values()) for s in shown if s.target in variant.per_target]
        middle = [statistics.fmean(one) for one in counts]
        bars = [[m - min(c) for m, c in zip(middle, counts, strict=True)],
                [max(c) - m for m, c in zip(middle, counts, strict=True)]]  # fmt: skip
        ax.errorbar(
            at, middle, yerr=bars if any(len(one) > 1 for one in counts) else None, linestyle="none", elinewidth=0.8,
            clip_on=False, zorder=3, **variant.look.markers(4.5 if len(shown) * len(variants) < 60 else 3),
        )  # fmt: skip
    slots.axis(ax, shown)


def _count_axis(ax: Any, counts: Sequence[int]) -> None:
    """Counts from 0; decades above 1 where τ decides between a few and thousands."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

    top = max(counts)
    if top <= 50:
        ax.set_ylim(-0.07 * max(1, top), max(1, top) * 1.15)
        ax.yaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))
        return
    ax.set_yscale("symlog", linthresh=1, linscale=0.5)
    ax.set_ylim(-0.5, top * 2)
    ax.yaxis.set_major_locator(FixedLocator([0, *(10**k for k in range(0, len(str(top)) + 1))]))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: canvas.short(value)))
    ax.yaxis.set_minor_locator(NullLocator())

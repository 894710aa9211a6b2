"""Score against what a row costs (adapter parameters, seconds, peak memory), with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence

from uora_bench.report import comparability, searches
from uora_bench.report.boxes import COSTS, Cost
from uora_bench.report.figure_spec import FigureSpec
from uora_bench.report.figures import facts, scatter
from uora_bench.report.model import Block, Table

DRAWN = ("parameters", "seconds", "memory", "flops", "inference", "energy", "forgotten", "searched", "searched_flops")


def figure_specs(table: Table) -> list[FigureSpec]:
    """A figure per kind of cost and block of the table, where two rows or more have both numbers."""
    return [
        _spec(table, block, kind, rows)
        for block in table.blocks
        for kind in COSTS
        if kind.field in DRAWN
        if (rows := _rows(table, block, kind))
    ]


def on_front(points: Sequence[tuple[float, float]], higher_is_better: bool = True) -> list[bool]:
    """Whether no other of the (cost, score) pairs dominates a pair.

    A pair dominates another if it costs no more and scores no worse, and one of the two is better. Of equal pairs
    neither does, so all of them are on the front or none is.
    """
    signed = [(cost, score if higher_is_better else -score) for cost, score in points]
    return [not any(one != other and one[0] <= other[0] and one[1] >= other[1] for one in signed) for other in signed]


def _rows(table: Table, block: Block, kind: Cost) -> facts.Rows:
    """The points of every panel with two or more."""
    found: facts.Rows = []
    one_direction = len({column.higher_is_better for column in table.columns}) == 1 and len(table.columns) > 1
    for column, entries in facts.panels(table, block):
        average = column not in table.columns
        points: facts.Rows = []
        for row, entry in entries:
            ours = entry.ours
            # the cells of this column alone: two tasks do not take the same time
            cost = kind.of(row.costs if average else searches.costs(ours.runs))
            if ours.value is not None and cost is not None:
                points.append(
                    {"panel": column.label, "row": row.label, "method": facts.methods_of(row), "metric": column.metric,
                     "split": column.split, "cost": cost, "score": ours.value, "std": ours.std, "n": ours.n,
                     "on_front": 0, "by_seed": ours.by_seed, "cell_ids": ours.ids}
                )  # fmt: skip
        best = on_front([(p["cost"], p["score"]) for p in points], column.higher_is_better)
        if len(points) > 1 and (one_direction or not average):
            found += [{**p, "on_front": int(front)} for p, front in zip(points, best, strict=True)]
    return found


def _spec(table: Table, block: Block, kind: Cost, rows: facts.Rows) -> FigureSpec:
    panels = facts.grouped(rows, "panel")
    columns = {column.label: column for column, _ in facts.panels(table, block) if column.label in panels}
    deviation = (
        "; error bars: sample standard deviation over seeds." if any(p["std"] is not None for p in rows) else "."
    )
    more = {
        "parameters": ["Logarithmic; no adapter (0) stands left of the dotted line."],
        "seconds": ["Seconds of training and evaluation, median.", comparability.clock(block.runs)],
        "memory": ["Largest over cells.", comparability.memory(block.runs)],
        "flops": ["Forward and backward in closed form, median."],
        "inference": ["Of a forward pass of one input of mean length, merged where that can be; median."],
        "energy": ["As measured, other programs on the device included; median."],
        "searched": ["Seconds of training and evaluation of all trials of the search that chose the rate."],
        "searched_flops": ["FLOPs of training of all trials of the search that chose the rate."],
        "forgotten": ["Loss (nats per token) or drift that training added on fixed inputs; median."],
    }
    caption = [
        f"Score against {kind.name} per column of the table; dashed: the Pareto front, the best score to be had up to "
        "a cost. It joins the plotted numbers and says nothing of whether they differ by more than chance.",
        facts.rule(table),
        facts.splits([c for c in table.columns if c.label in panels], block.runs),
        f"{table.spec.aggregate.capitalize()} over seeds{deviation}",
        facts.seeds(p["n"] for p in rows),
        *more[kind.field],
        "Numbers name the rows of the key; every point is where its numbers are, rings where they lie on each other.",
    ]
    names = (f"pareto {kind.field}", f"score against {kind.name}")
    return facts.figure_spec(table, block, names, caption, rows, lambda: scatter.draw(kind, panels, columns))

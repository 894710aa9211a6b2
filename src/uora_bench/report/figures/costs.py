"""Score against what a row costs (adapter parameters, seconds, peak memory), with the Pareto front."""

from __future__ import annotations

from collections.abc import Sequence

from uora_bench.report import aggregate, comparability
from uora_bench.report.figure_spec import FigureSpec
from uora_bench.report.figures import facts, scatter, style
from uora_bench.report.figures.scatter import CostKind, CostPanel, Point
from uora_bench.report.figures.style import Look
from uora_bench.report.model import Block, Row, Table

COLUMNS = ("panel", "row", "method", "metric", "split", "cost", "score", "std", "n", "on_front", "by_seed", "cell_ids")


KINDS = (
    CostKind("parameters", "adapter parameters", "adapter parameters", lambda c: c.parameters),
    CostKind("seconds", "seconds", "seconds", lambda c: c.seconds),
    CostKind("memory", "peak memory", "peak memory, GB", lambda c: c.memory, 1e9),
)


def figure_specs(table: Table) -> list[FigureSpec]:
    """A figure per kind of cost and block of the table, where two rows or more have both numbers."""
    found = []
    for block in table.blocks:
        for kind in KINDS:
            panels = [panel for panel in _panels(table, block, kind) if len(panel.points) > 1]
            if panels:
                found.append(_spec(table, block, kind, panels))
    return found


def _panels(table: Table, block: Block, kind: CostKind) -> list[CostPanel]:
    found = []
    for i, column in enumerate(table.columns):
        points = []
        for row, look in style.rows_with_looks(block):
            ours = row.entries[i].ours
            # the cells of this column alone: two tasks do not take the same time
            cost = kind.of(aggregate.costs(ours.runs))
            if ours.value is not None and cost is not None:
                points.append(Point(row, look, cost, ours.value, ours.std, ours.by_seed, tuple(facts.ids(ours.runs))))
        found.append(CostPanel(column.label, column.metric, column.split, column.higher_is_better, tuple(points)))
    if len({column.higher_is_better for column in table.columns}) == 1 and len(table.columns) > 1:
        points = [p for row, look in style.rows_with_looks(block) if (p := _average(row, look, kind)) is not None]
        found.append(
            CostPanel("average", "mean over the columns", "", table.columns[0].higher_is_better, tuple(points))
        )
    return found


def _average(row: Row, look: Look, kind: CostKind) -> Point | None:
    cost = kind.of(row.costs)
    if row.average is None or row.average.ours is None or cost is None:
        return None
    by_seed = row.average.by_seed
    return Point(row, look, cost, row.average.ours, facts.std(by_seed), by_seed, tuple(facts.ids(row.runs)))


def _spec(table: Table, block: Block, kind: CostKind, panels: Sequence[CostPanel]) -> FigureSpec:
    rows = [
        {
            "panel": panel.title,
            "row": p.row.label,
            "method": style.method_of(p.row),
            "metric": panel.metric,
            "split": panel.split,
            "cost": p.cost,
            "score": p.score,
            "std": p.std,
            "n": len(p.by_seed),
            "on_front": int(i in panel.front),
            "by_seed": p.by_seed,
            "cell_ids": p.cells,
        }
        for panel in panels
        for i, p in enumerate(panel.points)
    ]
    looks = [(row.label, look) for row, look in style.rows_with_looks(block)]
    names = (f"pareto {kind.name}", f"score against {kind.words}")
    caption = _caption(table, block, kind, panels)
    return facts.figure_spec(table, block, names, caption, COLUMNS, rows, lambda: scatter.draw(kind, panels, looks))


def _caption(table: Table, block: Block, kind: CostKind, panels: Sequence[CostPanel]) -> list[str]:
    runs = [run for row in block.rows for run in row.runs]
    shown = {panel.title for panel in panels}
    columns = [column for column in table.columns if column.label in shown]
    points = [p for panel in panels for p in panel.points]
    text = [
        f"Score against {kind.words} per column of the table; dashed: the Pareto front, the best score to be had up to "
        "a cost. It joins the plotted numbers and says nothing of whether they differ by more than chance.",
        facts.rule(table),
        facts.splits(columns, runs),
        f"{table.spec.aggregate.capitalize()} over seeds"
        + ("; error bars: sample standard deviation over seeds." if any(p.std is not None for p in points) else "."),
        facts.seeds(len(p.by_seed) for p in points),
    ]
    if kind.name == "parameters":
        text.append("Logarithmic; no adapter (0) stands left of the dotted line.")
    if kind.name == "seconds":
        text += ["Seconds of training and evaluation, median over cells.", comparability.clock(runs)]
    if kind.name == "memory":
        text += ["Largest over cells.", comparability.memory(runs)]
    text.append("Rows of one cost and like scores stand side by side; the CSV has the exact cost.")
    return text

"""What a search was worth: the expected best of k of its trials, for every row, with its interval."""

from __future__ import annotations

from typing import Any

from uora_bench.report import searches
from uora_bench.report.figure_spec import FigureSpec
from uora_bench.report.figures import canvas, facts, style
from uora_bench.report.model import Block, Table


def figure_specs(table: Table) -> list[FigureSpec]:
    """One figure for the table of an experiment that is a search whose file is there; a panel per task."""
    runs = facts.done(run for row in table.rows for run in row.runs)
    found = [search for search in searches.of_results(runs) if search.name == table.name]
    return [_spec(table, search) for search in found]


def _spec(table: Table, search: searches.Search) -> FigureSpec:
    rows = [
        {
            "panel": row.task, "row": row.name, "method": row.method, "metric": row.metric,
            "higher_is_better": row.higher_is_better, "k": k, "score": round(mean, 6), "min": round(low, 6),
            "max": round(high, 6), "trials": len(row.trials),
            "cell_ids": [cell for trial in row.trials for cell in trial.cells.values()],
        }
        for row in search.rows
        for k, (mean, low, high) in enumerate(searches.expected_best(searches.scores_of(row), row.higher_is_better), 1)
    ]  # fmt: skip
    judges = sorted({row.judge for row in search.rows})
    caption = [
        f"Expected best of k trials (Dodge et al. 2019) on {', '.join(judges)}, with 95 % intervals over trials.",
        f"Selection rule {search.search.rule}. A curve that still rises at its end says that more trials would help.",
        "Intervals of few trials are too narrow.",
    ]
    block = Block("", ())
    kind = ("best_of", "expected best of k trials")
    return facts.figure_spec(table, block, kind, caption, rows, lambda: _draw(rows))


def _draw(rows: facts.Rows) -> Any:
    panels, names = facts.grouped(rows, "panel"), facts.numbered(rows)
    looks = {label: style.look(n - 1) for label, (n, _) in names.items()}
    figure, axes = canvas.panels(len(panels), [name for _, name in names.values()], 2.6)
    for ax, (title, own) in zip(axes, panels.items(), strict=True):
        for label, points in facts.grouped(own, "row").items():
            curve = [{**point, "epoch": point["k"], "n": point["trials"]} for point in points]
            canvas.band(ax, curve, "score", looks[label], 3.6, 0.08, linewidth=1.1, zorder=2)
        values = [row[end] for row in own for end in ("min", "max")]
        canvas.score_axis(ax, values, own[0]["higher_is_better"], f"{own[0]['metric']}, expected best")
        ax.set_xlabel("trials")
        ax.set_title(title)
    canvas.legend(figure, {names[label][1]: look for label, look in looks.items()}, lines=True)
    return figure

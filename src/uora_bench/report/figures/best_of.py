"""What a search was worth: the expected best of k of its trials, for every row, with its interval."""

from __future__ import annotations

from functools import partial

from uora_bench.report import searches
from uora_bench.report.figure_spec import FigureSpec
from uora_bench.report.figures import curves, facts
from uora_bench.report.model import Block, Table


def figure_specs(table: Table) -> list[FigureSpec]:
    """One figure for the table of an experiment that is a search whose file is there; a panel per task."""
    found = [search for search in searches.of_results(table.done) if search.name == table.name]
    return [_spec(table, search) for search in found]


def _spec(table: Table, search: searches.Search) -> FigureSpec:
    rows: facts.Rows = [
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
    # a trial more is what an epoch more is to a learning curve
    curves_of = [{**row, "epoch": row["k"], "n": row["trials"]} for row in rows]
    lower = {row["panel"] for row in rows if not row["higher_is_better"]}
    draw = partial(curves.lines, curves_of, lower, "trials", "expected best", 0.08)
    return facts.figure_spec(table, block, kind, caption, rows, draw)

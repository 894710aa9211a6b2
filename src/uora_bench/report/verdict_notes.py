"""Notes about verdicts over items.

Was the margin declared before the results (records keep the plan that launched them), and which columns have no scores
of items?
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from uora_bench.metrics.items import why_not
from uora_bench.records.predictions import why_no_predictions
from uora_bench.records.provenance import DeclaredMargin
from uora_bench.report.collect import Run
from uora_bench.util.words import count


def undeclared(runs: Iterable[Run], margin: DeclaredMargin) -> str:
    """What is to be said of the finished cells that were not launched under ``margin``; "" where all were."""
    found: Counter[str] = Counter()
    done = [run for run in runs if run.status == "done"]
    for run in done:
        launch = run.record.provenance.launch
        planned = launch.margin if launch is not None else None
        if planned is None:
            found["without a declared margin"] += 1
        elif planned.points != margin.points or (not planned.row and planned.reference != margin.reference):
            found[f"with a margin of {planned.points:g} points against {planned.reference}"] += 1
        elif planned.row is not None and planned.row != margin.row:  # whatever the rows are called
            found[f"with another row as {planned.reference}"] += 1
        elif planned.rule is not None and planned.rule != margin.rule:
            found[f"with rule {planned.rule}"] += 1
    if not found:
        return ""
    told = ", ".join(f"{number} ran {how}" for how, number in sorted(found.items()))
    return f"The margin was not declared before all results: of {count(len(done), 'cell')}, {told}"


def not_over_items(runs: Iterable[Run], value: str, task: str | None = None) -> str:
    """Why the score ``value`` of ``runs`` has no scores of items, though predictions are kept; "" where it has.

    ``task``: the runs' task, where they are of several.
    """
    done = (run for run in runs if run.status == "done" and task in (None, run.task))
    return next((why for run in done if not why_no_predictions(run.record)
                 and (why := why_not(run.record.metric.name, value))), "")  # fmt: skip

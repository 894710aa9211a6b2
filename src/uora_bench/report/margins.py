"""Was the margin of a table declared before its results? Records keep what the plan said that launched them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from uora_bench.grid.table_spec import Margin
from uora_bench.report.collect import Run
from uora_bench.util.words import count


def undeclared(runs: Iterable[Run], margin: Margin) -> str:
    """What is to be said of the finished cells that were not launched under ``margin``; "" where all were."""
    found: Counter[str] = Counter()
    done = [run for run in runs if run.status == "done"]
    for run in done:
        launch = run.record.provenance.launch
        planned = launch.margin if launch is not None else None
        if planned is None:
            found["under none"] += 1
        elif (planned.points, planned.reference) != (margin.points, margin.reference):
            found[f"under {planned.points:g} points of {planned.reference}"] += 1
    if not found:
        return ""
    told = ", ".join(f"{number} {how}" for how, number in sorted(found.items()))
    return f"The margin was not declared before all results: of {count(len(done), 'cell')} {told}"

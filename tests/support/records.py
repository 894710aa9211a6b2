"""Made-up finished records for tests of what reads them. Never written into results/."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from uora_bench.config.cell import Cell
from uora_bench.config.schema import build, plain
from uora_bench.records.provenance import Provenance
from uora_bench.records.record import SCHEMA, CellRecord, Counts, EpochScores, RuleScore, Sizes, Split, Timing


def finished_record(cell: Cell, cell_id: str, experiment: str, **changes: Any) -> CellRecord:
    """A done record of ``cell`` with made-up scores and times."""
    primary = cell.task.metric.primary
    scores = {"dev": {primary: 0.5}}
    values: dict[str, Any] = {
        "schema": SCHEMA,
        "status": "done",
        "cell_id": cell_id,
        "experiment": experiment,
        "label": cell.label,
        "cell": plain(cell.canonical()),
        "recipe": plain(cell.recipe),
        "sources": {},
        "metric": cell.task.metric,
        "provenance": Provenance(finished="2026-01-01T00:00:00+00:00"),
        "splits": {"train": Split("train", 100), "dev": Split("validation", 50)},
        "scores": {rule: RuleScore(scores, 1, "") for rule in ("last", "best_dev")},
        "epochs": tuple(EpochScores(n + 1, n + 1, 0.1, scores, 1.0) for n in range(2)),
        "counts": Counts(10, 5, 100),
        "bytes": Sizes(1, 1, 1),
        "seconds": Timing(5.0, 100.0, 20.0, 125.0),
        "examples_per_second": 2.0,
        "peak_memory_bytes": 10**9,
    }
    return changed(CellRecord(**values), **changes)


def changed(record: CellRecord, **changes: Any) -> CellRecord:
    """``record`` with ``changes``; a provenance may be given as the plain data of a file."""
    if isinstance(changes.get("provenance"), Mapping):
        changes["provenance"] = build(Provenance, changes["provenance"])
    return replace(record, **changes)

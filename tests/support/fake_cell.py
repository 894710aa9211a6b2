"""Stands in for ``python -m uora_bench`` in tests of the launchers: does what a scenario says, start by start.

``fake_cell.py <scenario> words…``: the scenario file holds one word per start; the first is taken off it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.support.records import finished_record
from uora_bench.config import compose
from uora_bench.config.cell import Cell, Settings
from uora_bench.records import attempts
from uora_bench.records.provenance import Failure, Provenance
from uora_bench.records.record import SCHEMA, CellRecord


def main() -> int:
    scenario, words = Path(sys.argv[1]), sys.argv[2:]
    acts = scenario.read_text().split()
    scenario.write_text(" ".join(acts[1:]))
    act = acts[0]
    if act == "refuse":
        print("error: this is not how it is done", file=sys.stderr)
        return 2
    if act == "silent":
        return 0
    composed = compose.compose(words)
    cell, settings = Cell.from_config(composed.values), Settings.from_config(composed.values)
    folder = Path(settings.results_dir) / "records" / settings.experiment_name
    cell_id = cell.cell_id("data")
    place = attempts.attempts_folder(Path(settings.runs_dir), settings.experiment_name)
    attempts.write_lease(place, os.environ[attempts.ITEM], cell_id, "now")
    record = finished_record(cell, cell_id, settings.experiment_name)
    if act == "busy":
        print("error: cell is being run by another process", file=sys.stderr)
        return 75
    if act == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if act == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(60)
    if act == "slow":  # leaves cleanly when asked
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        time.sleep(60)
    if act.startswith("fail") or act.startswith("memory"):
        reason = "CellError: the loss is not finite" if act == "fail" else "RuntimeError: can't allocate memory"
        failure = Failure("error" if act == "fail" else "out_of_memory", act != "memory-fixed")
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        failed = CellRecord(
            schema=SCHEMA, status="failed", cell_id=cell_id, experiment=settings.experiment_name,
            label=cell.label, cell=cell.canonical(), recipe=record.recipe, sources={}, metric=record.metric,
            provenance=Provenance(failure=failure, finished=finished), reason=reason,
        )  # fmt: skip
        failed.write(folder)
        print(f"the cell failed: {reason}", file=sys.stderr)
        return 1
    assert act == "done", act
    record.write(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""A made-up table with everything a report page shows: seeds, published numbers, a failure, a missing cell, and text
that would be HTML if nobody escaped it. Never written into results/."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.records import finished_record
from uora_bench.config.cell import Cell
from uora_bench.grid.expand import expand
from uora_bench.grid.preset import Experiment
from uora_bench.grid.preset import Published as Beside
from uora_bench.grid.table_spec import Column, Note, Paper, RowSpec, TableSpec
from uora_bench.records.record import CellRecord, EpochScores, RuleScore
from uora_bench.report import table
from uora_bench.report.collect import Collection, Run, with_record
from uora_bench.report.model import Table
from uora_bench.report.published import Library, Published

NASTY = """</script><img src=x onerror="alert('no')"> & <b>bold</b>"""
NAME = "made_up"
# row -> method, scores of the seeds (None: failed, absent: missing), adapter parameters, published
ROWS: dict[str, tuple[str, dict[int, float | None], int, float | None]] = {
    "LoRA <r=8>": ("lora", {0: 0.71, 1: 0.73, 2: 0.72}, 300, 73.5),
    "VeRA": ("vera", {0: 0.815, 1: 0.825, 2: 0.835}, 2000, 99.5),
    "UORA": ("uora", {0: 0.91, 1: None}, 40, None),
    "head only": ("head_only", {}, 0, 11.5),
}
GIT = {"commit": "0123456789abcdef0123456789abcdef01234567", "dirty": True}
HARDWARE = {"machine": "x86_64", "processor": "Made-up CPU", "cores": 2, "threads": 1}


def cell(method: str, seed: int = 0) -> Cell:
    """A cell of ``method`` on tiny/nli."""
    found = expand([f"method={method}", "task=tiny/nli", f"seed={seed}"]).items[0].cell
    assert found is not None
    return found


def record(method: str, seed: int, score: float | None, count: int = 10, name: str = NAME) -> CellRecord:
    """A record with a curve of three epochs that ends at ``score``; a failed one for None."""
    one = cell(method, seed)
    primary = one.task.metric.primary
    made: dict[str, Any] = {
        "recipe": {"name": f"{method}/made_up", "status": "own", "note": "A note. " + NASTY},
        "sources": {"trainer.lr_adapter": "arXiv 2310.11454v2 Table 8", "trainer.epochs": "own"},
        "provenance": {
            "git": GIT,
            "versions": {"python": "3.11.0", "torch": "2.99.0"},
            "hardware": HARDWARE,
            "data": {"train": "feedfacecafebeef", "dev": "0badc0de0badc0de"},
            "started": f"2026-01-0{seed + 1}T00:00:00+00:00",
            "finished": f"2026-01-0{seed + 1}T01:00:00+00:00",
            "command": [f"method={method}", "task=tiny/nli", f"seed={seed}", "tracker=none"],
        },
        "precision": "bfloat16",
        "peak_memory_kind": "resident",
        "tokens_per_second": 321.5,
        "merge_error": 1.25e-07,
        "method": {"refreshes": 17, "refreshes_per_layer": {"layer.0": 9, "layer.1": 8}},
    }
    cell_id = one.cell_id(name)
    if score is None:
        failed = finished_record(one, cell_id, name, **made, status="failed", reason="loss is not finite " + NASTY)
        return replace(failed, scores={}, epochs=(), counts=None, bytes=None, seconds=None)
    curve = [score - 0.2, score + 0.05, score]
    epochs = tuple(
        EpochScores(n, n * 7, 1 / n, {"dev": {primary: value, "f1": value / 2}}, 5.0 * n, {"refreshes": n})
        for n, value in enumerate(curve, start=1)
    )
    rules = {
        "last": RuleScore(epochs[-1].scores, 3, ""),
        "best_dev": RuleScore(epochs[1].scores, 2, ""),
        "heldout_dev": RuleScore({"dev": {primary: score - 0.01}}, None, ""),
    }
    counts = replace(finished_record(one, cell_id, name).counts, adapter=count)  # type: ignore[type-var]
    return finished_record(one, cell_id, name, **made, scores=rules, epochs=epochs, counts=counts)


def make(folder: Path) -> tuple[Table, Collection]:
    """The table and its cells; their records are written below ``folder``."""
    runs, known = [], []
    for label, (method, scores, count, printed) in ROWS.items():
        for seed in (0, 1, 2):
            one = cell(method, seed)
            words = (f"method={method}", "task=tiny/nli", f"seed={seed}", "task.splits.train=train[:64]")
            run = Run(one.task.name, seed, {"method": method}, one.task.metric, {"dev": "validation"}, overrides=words)
            if seed in scores:
                written = record(method, seed, scores[seed], count)
                written.write(folder / "records" / NAME)
                run = with_record(run, written, folder / "records" / NAME)
            runs.append(run)
        if printed is not None:
            numbers = ("NLI", "acc", printed, 0.25, "0.3M", "arXiv 2310.11454v2 <T9>", "medium")
            known.append(Published("Paper <P>", label, "Table 9", "tiny", *numbers))
    spec = TableSpec(
        columns=(Column("tiny/nli", "NLI"), Column("tiny/nli", "NLI (best)", published={"task": "no"})),
        rows=tuple(
            RowSpec(label, {"method": method}, label if printed is not None else None)
            for label, (method, _, _, printed) in ROWS.items()
        ),
        notes=(Note("another protocol " + NASTY, {"method": "vera"}),),
        paper=Paper("best_dev", "median", 5),
        average=True,
    )
    experiment = Experiment(
        NAME, {}, "Made up " + NASTY, "A `note` " + NASTY, Beside("Paper <P>", "Table 9"), table=spec
    )
    collection = Collection(experiment, tuple(runs), ())
    return table.build(collection, Library(known)), collection

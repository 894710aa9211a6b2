"""How long ``tables``, ``figures`` and ``page`` take for 1,000 records with predictions; writes <folder>/tables.json.

    python scripts/bench_tables.py [folder, default results/bench]

Makes 9 methods × 4 tasks × 28 seeds of 400 items in a temporary folder, and measures the processor time of whole
commands, each in a process of its own: without kept numbers (cache=false), making them, and with them
(`uora_bench.report.cache`).
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from uora_bench.grid import expand
from uora_bench.grid.request import read_request
from uora_bench.records import provenance
from uora_bench.records.predictions import EpochPredictions, predictions_path, write_predictions
from uora_bench.records.record import CellRecord, EpochScores, RuleScore, read_record

ROOT = Path(__file__).resolve().parents[1]
MODEL = ROOT / "results" / "records" / "minilm_glue"
METHODS = ("head_only", "bitfit", "lora", "lora_fa", "vera", "uora", "tied_lora", "alpha_lora", "full")
GRID = {
    "name": "thousand",
    "title": "made up",
    "note": "made up",
    "axes": {
        "method": list(METHODS),
        "task": ["glue/mrpc", "glue/rte", "glue/sst2", "glue/qnli"],
        "seed": list(range(28)),
    },
    "set": {"backbone": "minilm"},
    "table": {"margin": {"points": 1.0, "reference": "lora"}},
}
ITEMS = 400


def make(folder: Path) -> int:
    """The records of `GRID` below ``folder``; returns how many."""
    preset = folder / "uora_plugins" / "configs" / "experiment" / "thousand.yaml"
    preset.parent.mkdir(parents=True)
    preset.write_text(yaml.safe_dump(GRID, sort_keys=False), encoding="utf-8")
    records, draws = folder / "results" / "records" / "thousand", np.random.default_rng(0)
    model = next(r for path in sorted(MODEL.glob("*.json")) if (r := read_record(path)).metric.primary == "accuracy")
    items = expand.expand_request(read_request([f"experiment={preset}"])).items
    hard = {task: draws.random(ITEMS) for task in GRID["axes"]["task"]}  # type: ignore[index]
    for planned in items:
        cell = planned.cell
        assert cell is not None
        share = 0.6 + 0.02 * METHODS.index(cell.method.name) + draws.normal(0, 0.01)
        right = hard[cell.task.name] + draws.normal(0, 0.1, ITEMS) < share
        answers = np.arange(ITEMS) % 2
        made = np.where(right, answers, 1 - answers)
        score = {"dev": {"accuracy": float(right.mean())}}
        rules = {rule: RuleScore(score, 2, "") for rule in ("last", "best_dev")}
        epochs = tuple(EpochScores(n, n * 10, 0.5, score, 1.0) for n in (1, 2))
        logits = np.stack([1 - made, made], axis=1) + draws.normal(0, 0.3, (ITEMS, 2))
        part = EpochPredictions("dev", 2, np.arange(ITEMS, dtype=np.uint64), made, answers, logits.astype(np.float32))
        one: CellRecord = replace(
            model, cell_id=planned.key, experiment="thousand", label="made up", cell=planned.canonical,
            metric=cell.task.metric, scores=rules, epochs=epochs,
        )  # fmt: skip
        records.mkdir(parents=True, exist_ok=True)
        kept = write_predictions(predictions_path(records, planned.key), [part], 10**7)
        replace(one, provenance=replace(one.provenance, predictions=kept, command=())).write(records)
    return len(items)


def seconds(folder: Path, *words: str) -> float:
    """Of processor time of the whole process."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "uora_bench", *words, "experiment=thousand", "results.dir=results"],
        cwd=folder, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2)


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "results" / "bench"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        facts: dict[str, Any] = {"records": make(folder), "items": ITEMS}
        cases = {
            "tables without kept numbers": ("tables", "cache=false"),
            "tables, first": ("tables",),
            "tables, again": ("tables",),
            "figures without kept numbers": ("figures", "cache=false"),
            "figures, again": ("figures",),
            "page without kept numbers": ("page", "cache=false"),
            "page, again": ("page",),
        }
        facts["seconds"] = {case: seconds(folder, *words) for case, words in cases.items()}
    facts["provenance"] = provenance.collect()
    (out / "tables.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(facts["seconds"], indent=1))


if __name__ == "__main__":
    main()

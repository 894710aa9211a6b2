"""What it costs to keep the predictions of every evaluation: cells with predictions.keep on and off, taking turns.

    python scripts/bench_predictions.py [--rounds 5] [--out results/bench/predictions.json]

A classification cell (tiny/nli, the cell of quickstart) and one that generates text (tiny/answers, with few training
steps, so that evaluation is most of what it does). Every run is a process of its own; a ratio is of two runs of one
round, in processor time, which other work on the machine changes least.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

CELLS = {
    "classification": ("task=tiny/nli", "trainer.epochs=4"),
    "generation": ("task=tiny/answers", "task.sample_train=64", "trainer.epochs=8"),
}


def run(cell: str, keep: bool) -> float:
    """Seconds of processor time that one run of the cell takes, imports included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with tempfile.TemporaryDirectory() as folder:
        words = [*CELLS[cell], "method=lora", "tracker=none", f"predictions.keep={str(keep).lower()}"]
        where = [f"results.dir={folder}/results", f"runs.dir={folder}/runs"]
        command = [sys.executable, "-m", "uora_bench", *words, *where]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        there = any(Path(folder, "results").rglob("*.parquet"))
    if there != keep:
        sys.exit(f"{cell}: predictions.keep={keep}, and {'a' if there else 'no'} file of predictions")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    order, summary = random.Random(0), dict[str, Any]()
    for cell, words in CELLS.items():
        seconds: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(given.rounds):
            for keep in order.sample([True, False], 2):
                seconds[keep].append(round(run(cell, keep), 2))
        ratios = sorted(on / off for on, off in zip(seconds[True], seconds[False], strict=True))
        summary[cell] = {
            "words": list(words),
            "ratio": round(statistics.median(ratios), 4),
            "ratio_lowest": round(ratios[0], 4),
            "ratio_highest": round(ratios[-1], 4),
            "kept_seconds": seconds[True],
            "not_kept_seconds": seconds[False],
        }
        one = summary[cell]
        print(f"{cell:<16}{one['ratio']:.3f} ({ratios[0]:.3f} – {ratios[-1]:.3f})", flush=True)
    if given.out:
        from uora_bench.records import provenance

        written = {"rounds": given.rounds, "cells": summary, "provenance": provenance.collect()}
        given.out.write_text(json.dumps(written, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()

"""How long the help, a dry run, planning and tabulating a thousand cells, and a grid of tiny cells take. `make bench`.

Prints medians over interleaved runs, and their ratio to a process that only imports what a plan needs (Hydra's parser,
rich), which is the noise floor of the machine. Plans are of no record and of one per cell; records are copies of a
committed one in a temporary folder. A grid's cells are copies of one process, or fresh ones. `--out` keeps the result.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import benches

from uora_bench.grid.expand import expand
from uora_bench.util.schema import plain

GRID = ["method=lora,vera,uora,bitfit", "task=tiny/nli", "seed=0,1", "recipe=none", "trainer.max_steps=2"]
WORDS = ["method=lora,vera,uora,tied_lora,alpha_lora", "task=glue/*", "seed=range(0,23)"]
ROOT = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    runs = given.runs
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        count = write_records(folder / "full" / "records" / "scratch")
        cases = {
            "imports alone": ["-c", "import hydra.core.override_parser.overrides_parser, rich.table, yaml"],
            "help": ["-m", "uora_bench", "--help"],
            "dry run": ["-m", "uora_bench", "method=uora", "task=tiny/nli", "dry_run=true"],
            "import torch, transformers": ["-c", "import torch; from transformers import RobertaModel"],
            "no records": ["-m", "uora_bench", "plan", *WORDS, f"results.dir={folder}", f"runs.dir={folder}"],
            f"{count} records": [
                "-m",
                "uora_bench",
                "plan",
                *WORDS,
                f"results.dir={folder / 'full'}",
                f"runs.dir={folder}",
            ],
        }
        tables = ["-m", "uora_bench", "tables", "experiment=scratch", f"results.dir={folder / 'full'}"]
        cases[f"table of {count}"] = tables
        sweep = ["-m", "uora_bench", "sweep", *GRID, "tracker=none", "force=true", "launcher.gpus=none"]
        sweep += [f"results.dir={folder / 'grid'}", f"runs.dir={folder / 'grid'}"]
        cases["grid of 8 copies"] = [*sweep, "launcher.fork=true"]
        cases["grid of 8 fresh processes"] = [*sweep, "launcher.fork=false"]
        times: dict[str, list[float]] = {name: [] for name in cases}
        for _ in range(runs):
            for name, words in cases.items():
                begun = time.perf_counter()
                subprocess.run([sys.executable, *words], check=True, stdout=subprocess.DEVNULL)
                times[name].append(time.perf_counter() - begun)
    floor = statistics.median(times["imports alone"])
    print(f"{count} cells, median of {runs} runs")
    found = {}
    for name, values in times.items():
        middle = statistics.median(values)
        found[name] = {
            "seconds": round(middle, 3),
            "fastest": round(min(values), 3),
            "ratio": round(middle / floor, 2),
        }
        print(f"  {name:<26} {middle:6.2f} s  {middle / floor:5.1f} x imports  (fastest {min(values):.2f} s)")
    benches.write_result(given.out, setting={"runs": runs, "cells": count}, cases=found)


def write_records(folder: Path) -> int:
    """A finished record for every cell of the grid."""
    template = json.loads(min((ROOT / "results" / "records" / "minilm_glue").glob("*.json")).read_text("utf-8"))
    folder.mkdir(parents=True)
    items = expand(WORDS).items
    for item in items:
        record = {**template, "cell_id": item.key, "cell": plain(item.canonical), "experiment": "scratch"}
        (folder / f"{item.key}.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
    return len(items)


if __name__ == "__main__":
    main()

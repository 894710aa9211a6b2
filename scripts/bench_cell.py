"""A whole cell, from the command line to its record, against scripts/plain_trainer.py: MRPC + MiniLM, LoRA, one epoch.

Every case is a process of its own, timed from outside; they take turns, in a new order every round. Ratios are to the
plain script in float32 of the same round. Needs `make minilm`, GLUE files (--data or UORA_DATA_DIR)
and a quiet machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import benches

CELL = ("method=lora", "task=glue/mrpc", "backbone=minilm", "trainer.epochs=1")
CASES: dict[str, tuple[str, ...]] = {
    "plain float32": ("--precision", "float32"),
    "plain bfloat16": ("--precision", "bfloat16"),
    "cell float32": ("trainer.precision=float32",),
    "cell auto": ("trainer.precision=auto",),
    "cell auto, library's passes": ("trainer.precision=auto", "trainer.cpu_ops=library"),
}
REFERENCE = "plain float32"
TRAINING = ("train", "eval", "merge check")  # of a cell's parts; the rest is what the suite adds around them


def run(case: str, data: Path, folder: Path, steps: int | None, number: int) -> dict[str, Any]:
    """Run ``case``, print and return its seconds, its dev accuracy and, of a cell, where the time went."""
    found = measured(case, data, folder, steps)
    print(f"{case:<30}{found['seconds']:8.1f} s  accuracy {found['accuracy']:.4f}", flush=True)
    return found


def measured(case: str, data: Path, folder: Path, steps: int | None) -> dict[str, Any]:
    """As `run`, and prints nothing."""
    if case.startswith("plain"):
        words = ("--data", str(data), *CASES[case], *(("--steps", str(steps)) if steps else ()))
        seconds, said = benches.run_script("plain_trainer.py", words)
        return {"seconds": seconds, **said}
    words = (*CELL, *CASES[case], f"data.root={data}", *((f"trainer.max_steps={steps}",) if steps else ()))
    seconds, record = benches.run_cell(words, folder)
    parts = record.seconds.parts
    accuracy = record.scores["last"].scores["dev"]["accuracy"]
    around = sum(value for name, value in parts.items() if name not in TRAINING)
    return {
        "seconds": seconds,
        "accuracy": accuracy,
        "parts": parts,
        "around": around,
        "precision": record.precision,
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("UORA_DATA_DIR"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, help="optimizer steps instead of one epoch, for a quick look")
    parser.add_argument("--only", default="", help="cases whose name holds this, beside the reference")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.data is None:
        print("bench_cell: skipped, it needs GLUE files: give --data <folder> or set UORA_DATA_DIR")
        return
    chosen = [case for case in CASES if case == REFERENCE or given.only in case]
    with tempfile.TemporaryDirectory() as folder:
        cases = {case: partial(run, case, given.data.resolve(), Path(folder), given.steps) for case in chosen}
        results = benches.in_turns(cases, given.rounds)
    print(f"\n{'case':<30}{'median s':>9}{'ratio':>8}{'range':>16}{'around it, s':>14}")
    summary = {}
    for case, found in results.items():
        seconds, reference = ([f["seconds"] for f in one] for one in (found, results[REFERENCE]))
        ratios = benches.ratios(seconds, reference)
        around = [f["around"] for f in found if "around" in f]
        summary[case] = {
            "seconds": round(statistics.median(seconds), 2),
            "ratio": round(statistics.median(ratios), 4),
            "ratio_lowest": round(min(ratios), 4),
            "ratio_highest": round(max(ratios), 4),
            **({"around_seconds": round(statistics.median(around), 2)} if around else {}),
        }
        shown = f"{statistics.median(around):14.1f}" if around else ""
        one = summary[case]
        print(f"{case:<30}{one['seconds']:>9.1f}{one['ratio']:>8.3f}{min(ratios):>8.3f} –{max(ratios):6.3f}{shown}")
    setting = {"cell": list(CELL), "rounds": given.rounds, "steps": given.steps}
    benches.write_result(given.out, setting=setting, cases=summary, runs=results)


if __name__ == "__main__":
    main()

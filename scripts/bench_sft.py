"""Instruction tuning of SmolLM2-135M with LoRA, from the command line to the held-out loss, against TRL's SFTTrainer.

The other side is scripts/plain_sft.py: the same rows, batch, length, rank, targets, rate, precision and number of
steps, each in its own random order of the rows; one epoch, unless `--steps` says less, so that both see the same
tokens. The cell's batches are of rows of like length, as everywhere in the suite, unless `--unsorted`. Each run is a
process of its own, and they take turns. Seconds are those of training for a token that is no padding. Needs `make
smollm2`, TRL in a folder of its own (`--trl`; `make bench` brings it) and the Alpaca rows (--data or UORA_DATA_DIR).
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

RATE = 2e-3  # the recipe's
EPOCH = 113  # steps of 8 of 900 rows
REFERENCE = "SFTTrainer"


def sft_trainer(given: argparse.Namespace, number: int) -> dict[str, Any]:
    """The other side, trained."""
    from uora_bench.data import offline

    words = ["--data", str(given.data), "--model", str(offline.converted("smollm2_135m")), "--lr", str(RATE)]
    words += ["--precision", given.precision, "--steps", str(given.steps)]
    path = os.pathsep.join([str(benches.ROOT / "src"), str(given.trl)])
    seconds, found = benches.run_script("plain_sft.py", words, PYTHONPATH=path, OMP_NUM_THREADS="1")
    return shown(REFERENCE, {"seconds": seconds, **found})


def cell(given: argparse.Namespace, folder: Path, number: int) -> dict[str, Any]:
    """The suite's cell, trained."""
    words = ("method=lora", "task=instruct/alpaca_1000", "backbone=smollm2_135m", f"data.root={given.data}")
    words += ("task.max_length=192", "task.too_long=drop", "trainer.batch_size=8", f"trainer.lr_adapter={RATE}")
    words += (f"trainer.precision={given.precision}", f"trainer.max_steps={given.steps}", "trainer.evaluate=last")
    if given.unsorted:
        words += ("trainer.length_bucket=0",)
    seconds, record = benches.run_cell(words, folder, OMP_NUM_THREADS="1")
    ends = [0, *(epoch.step for epoch in record.epochs)]  # the last epoch may have a step alone
    losses = [
        (end - ends[i]) * epoch.train_loss for i, (end, epoch) in enumerate(zip(ends[1:], record.epochs, strict=True))
    ]
    found = {
        "seconds": seconds,
        "held_out_loss": record.scores["last"].scores["dev"]["loss"],
        "train_loss": sum(losses) / ends[-1],
        "train_seconds": record.seconds.train,
        "tokens": record.work.tokens,
        "peak_memory_bytes": record.peak_memory_by_phase["train"],
    }
    return shown("cell", found)


def shown(case: str, found: dict[str, Any]) -> dict[str, Any]:
    """``found``, printed."""
    print(
        f"{case:<12}{found['train_seconds']:8.1f} s of training, {found['tokens']:,.0f} tokens, loss "
        f"{found['train_loss']:.4f}, held out {found['held_out_loss']:.4f}, {found['peak_memory_bytes'] / 1e9:.2f} GB",
        flush=True,
    )
    return found


def summary(runs: dict[str, list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """Medians of both sides, and the cell's ratios of the same round: median, least and most."""
    found: dict[str, dict[str, Any]] = {
        case: {key: statistics.median(one[key] for one in own) for key in
               ("train_seconds", "tokens", "held_out_loss", "peak_memory_bytes")}
        for case, own in runs.items()
    }  # fmt: skip
    each = {case: [one["train_seconds"] / one["tokens"] for one in own] for case, own in runs.items()}
    memory = {case: [one["peak_memory_bytes"] for one in own] for case, own in runs.items()}
    for name, values in (("seconds_per_token", each), ("peak_memory", memory)):
        ratios = benches.ratios(values["cell"], values[REFERENCE])
        shown = (("median", statistics.median(ratios)), ("least", ratios[0]), ("most", ratios[-1]))
        found["cell"][f"{name}_ratio"] = {key: round(ratio, 4) for key, ratio in shown}
    return found


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=os.environ.get("UORA_DATA_DIR"))
    parser.add_argument("--trl", type=Path, required=True, help="folder that TRL was installed into")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=EPOCH)
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="bfloat16")
    parser.add_argument("--unsorted", action="store_true", help="the cell's batches are not of rows of like length")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.data is None:
        print("bench_sft: skipped, it needs the Alpaca rows: give --data <folder> or set UORA_DATA_DIR")
        return
    given.data = given.data.resolve()
    with tempfile.TemporaryDirectory() as folder:
        cases = {REFERENCE: partial(sft_trainer, given), "cell": partial(cell, given, Path(folder))}
        runs = benches.in_turns(cases, given.rounds)
    found = summary(runs)
    for name in ("seconds_per_token", "peak_memory"):
        print(f"cell / {REFERENCE}, {name}: {found['cell'][f'{name}_ratio']}")
    setting = {key: getattr(given, key) for key in ("rounds", "steps", "precision", "unsorted")} | {"threads": 1}
    benches.write_result(given.out, setting=setting, cases=found, runs=runs)


if __name__ == "__main__":
    main()

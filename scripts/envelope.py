"""Repetitions of a cell on other arithmetic, kept as the envelope that ``uora-bench verify`` judges by.

Runs one cell again and again, each time in a process of its own that may use other instruction sets (of ATen, oneDNN
and MKL) and another number of threads: sums are then taken in another order, as on another processor. Settings, data
and seed stay. Adds the cell to results/envelope/<task>.json, or replaces it there:

    python scripts/envelope.py method=uora task=tiny/nli trainer.epochs=4

A command line of a cell, as uora-bench takes it. 20 repetitions: five sets of instructions, one to four threads.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from uora_bench.config.registry import envelope_dir
from uora_bench.execution import envelope
from uora_bench.records.predictions import EpochPredictions, read_predictions
from uora_bench.records.record import CellRecord, read_records

INSTRUCTIONS: tuple[dict[str, str], ...] = (
    {},
    {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
    {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX"},
    {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "AVX512"},
)
THREADS = ("1", "2", "3", "4")


def run(words: list[str], varied: dict[str, str], folder: Path) -> tuple[CellRecord, list[EpochPredictions]]:
    """One run of the cell below ``folder``."""
    here = [f"results.dir={folder}/results", f"runs.dir={folder}/runs", "experiment_name=envelope", "tracker=none"]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **varied}
    done = subprocess.run(
        [sys.executable, "-m", "uora_bench", *words, *here], env=environment, stdout=subprocess.DEVNULL, check=False
    )
    if done.returncode:
        sys.exit(f"the cell ended with exit code {done.returncode}")
    records = folder / "results" / "records" / "envelope"
    (record,) = read_records(records)
    return record, read_predictions(record, records)


def kept_cell(words: list[str]) -> tuple[str, envelope.KeptCell]:
    """The task's name, and the repetitions of the cell that ``words`` name."""
    made: envelope.KeptCell | None = None
    first: dict[str, dict[int, object]] = {}
    for threads in THREADS:
        for instructions in INSTRUCTIONS:
            varied = {"OMP_NUM_THREADS": threads, **instructions}
            with tempfile.TemporaryDirectory(prefix="uora-envelope-") as name:
                record, parts = run(words, varied, Path(name))
            if made is None:
                first = envelope.answers(record, parts)
                known, cell = record.provenance, record.cell
                made = envelope.KeptCell(
                    record.cell_id,
                    record.label,
                    cell["method"]["name"],
                    cell["backbone"]["name"],
                    known.command[: len(words)],
                    str(known.hardware.processor),
                    known.versions["torch"],
                    {split: len(own) for split, own in first.items()},
                    (),
                )
            if record.cell_id != made.cell_id:
                sys.exit(f"repetitions are of two cells: {made.cell_id} and {record.cell_id}")
            one = envelope.repetition_of(varied, record, parts, first)
            made = replace(made, repetitions=(*made.repetitions, one))
            counts = {split: len(items) for split, items in one.differ.items()}
            print(f"{len(made.repetitions)}: {varied}: {one.scores}, items otherwise: {counts}", flush=True)
    assert made is not None
    return record.cell["task"]["name"], made


def main() -> None:
    task, made = kept_cell(sys.argv[1:])
    there = envelope.read_envelope(task)
    others = [one for one in there.cells if one.cell_id != made.cell_id] if there is not None else []
    cells = tuple(sorted([*others, made], key=lambda one: one.label))
    print(envelope.Envelope(envelope.SCHEMA, task, cells).write(envelope_dir()))


if __name__ == "__main__":
    main()

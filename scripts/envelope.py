"""Repetitions of a cell on other arithmetic, kept as the envelope that ``uora-bench verify`` judges by.

Runs one cell again and again, each time in a process of its own that may use other instruction sets (of ATen, oneDNN
and MKL), the library's operations instead of the suite's faster ones, or two threads: sums are then taken in another
order, as on another processor. Settings, data and seed stay. Adds the cell to results/envelope/<task>.json after every
repetition, so that what is there may be used when it is stopped:

    python scripts/envelope.py method=uora task=tiny/nli trainer.epochs=4

A command line of a cell, as uora-bench takes it or explain prints it; 20 repetitions. Started again, it runs the first
one again and those that are not there; where the first one is no longer what it was (another processor, another
version), all of them.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from uora_bench.config.registry import envelope_dir
from uora_bench.errors import UserError
from uora_bench.execution import envelope
from uora_bench.execution.verify import OF_THE_RUN
from uora_bench.records.predictions import EpochPredictions, read_predictions, why_no_predictions
from uora_bench.records.provenance import PATHS
from uora_bench.records.record import CellRecord, read_records

ATEN = ({}, {"ATEN_CPU_CAPABILITY": "avx2"}, {"ATEN_CPU_CAPABILITY": "default"})
BLAS = (
    {},
    {"ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    {"ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
)
OPERATIONS = ({}, {"trainer.cpu_ops": "library"})
VARIED: list[dict[str, str]] = [
    *({"OMP_NUM_THREADS": "1", **a, **b, **o} for o in OPERATIONS for a in ATEN for b in BLAS),
    *({"OMP_NUM_THREADS": "2", **o} for o in OPERATIONS),
]


def run(words: list[str], varied: dict[str, str], folder: Path) -> tuple[CellRecord, list[EpochPredictions]]:
    """One run of the cell below ``folder``."""
    here = [f"results.dir={folder}/results", f"runs.dir={folder}/runs", "experiment_name=envelope", "tracker=none"]
    own = [f"{key}={value}" for key, value in varied.items() if "." in key]
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE", **{k: v for k, v in varied.items() if "." not in k}}
    command = [sys.executable, "-m", "uora_bench", *words, *own, *here, "predictions.keep=true"]
    done = subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False)
    if done.returncode:
        sys.exit(done.returncode)  # it has said why
    records = folder / "results" / "records" / "envelope"
    (record,) = read_records(records)
    return record, read_predictions(record, records)


def begin(words: list[str], record: CellRecord, items: dict[str, int]) -> envelope.KeptCell:
    """The cell of ``record``, without repetitions."""
    known = record.provenance
    names = record.cell_id, record.label, record.cell["method"]["name"], envelope.settings_of(record)
    where = str(known.hardware.processor), known.versions["torch"]
    said = tuple(word for word in words if not word.startswith(PATHS))  # where data lie is nobody else's matter
    return envelope.KeptCell(*names, said, *where, items, ())


def keep(task: str, made: envelope.KeptCell) -> Path:
    """``made`` among the kept cells of its task."""
    there = envelope.read_envelope(task)
    others = [one for one in there.cells if one.cell_id != made.cell_id] if there is not None else []
    cells = tuple(sorted([*others, made], key=lambda one: one.label))
    return envelope.Envelope(envelope.SCHEMA, task, cells).write(envelope_dir())


def kept_before(made: envelope.KeptCell, task: str) -> dict[int, envelope.Repetition]:
    """By their place in `VARIED` the repetitions of the cell that are kept; none unless the first of them is that of
    ``made``, because the others say what differs from it."""
    there = envelope.read_envelope(task)
    for cell in there.cells if there is not None else ():
        same = (cell.cell_id, cell.processor, cell.torch) == (made.cell_id, made.processor, made.torch)
        if same and cell.items == made.items and cell.repetitions[:1] == made.repetitions:
            return {VARIED.index(one.varied): one for one in cell.repetitions if one.varied in VARIED}
    return {}


def main() -> None:
    asked = sys.argv[1:] in (["-h"], ["--help"])
    # what `uora-bench explain` prints may be given whole, the program's name included
    given = itertools.dropwhile(lambda word: "=" not in word, sys.argv[1:])
    words = [word for word in given if word.partition("=")[0] not in OF_THE_RUN]
    if not words or not all("=" in word for word in words):
        print(__doc__, file=sys.stdout if asked else sys.stderr)
        sys.exit(0 if asked else 2)
    made: envelope.KeptCell | None = None
    first: dict[str, dict[int, object]] = {}
    kept: dict[int, envelope.Repetition] = {}
    for number, varied in enumerate(VARIED):
        if number in kept:
            continue
        with tempfile.TemporaryDirectory(prefix="uora-envelope-") as name:
            record, parts = run(words, varied, Path(name))
        task = record.cell["task"]["name"]
        if made is None:
            first = envelope.answers(record, parts)
            if not first:
                sys.exit(f"no predictions are kept: {why_no_predictions(record)}")
            made = begin(words, record, {split: len(own) for split, own in first.items()})
        if record.cell_id != made.cell_id:
            sys.exit(f"repetitions are of two cells: {made.cell_id} and {record.cell_id}")
        try:
            one = envelope.repetition_of(varied, record, parts, first)
        except UserError as error:
            sys.exit(str(error))
        if not made.repetitions:
            kept = kept_before(replace(made, repetitions=(one,)), task)
        kept[number] = one
        made = replace(made, repetitions=tuple(kept[place] for place in sorted(kept)))
        counts = {split: len(items) for split, items in one.differ.items()}
        path = keep(task, made)
        print(f"{number + 1}: {varied}: {one.scores}, items otherwise: {counts} ({path})", flush=True)


if __name__ == "__main__":
    main()

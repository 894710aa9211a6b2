"""What the benchmarks share: cases that take turns, ratios to a reference, memory apart, whole processes, and the file
of a result."""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

ROOT = Path(__file__).resolve().parents[1]
Taken = TypeVar("Taken")


def in_turns(cases: Mapping[str, Callable[[int], Taken]], rounds: int, warm_up: int = 0) -> dict[str, list[Taken]]:
    """What each of ``cases`` gives in each of ``rounds``, all of them one after the other in a new order every round,
    after rounds of ``warm_up`` that do not count. A case is given the number of the round."""
    found: dict[str, list[Taken]] = {name: [] for name in cases}
    order = random.Random(0)
    for i in range(warm_up + rounds):
        for name in order.sample(list(cases), len(cases)):
            taken = cases[name](i)
            if i >= warm_up:
                found[name].append(taken)
    return found


def ratios(values: Iterable[float], reference: Iterable[float]) -> list[float]:
    """Those of two cases in one round, in order of size."""
    return sorted(value / other for value, other in zip(values, reference, strict=True))


def quartiles(values: Iterable[float], reference: Iterable[float], digits: int) -> dict[str, float]:
    """Median and quartiles of `ratios`."""
    low, middle, high = (round(q, digits) for q in statistics.quantiles(ratios(values, reference), n=4))
    return {"ratio": middle, "ratio_q25": low, "ratio_q75": high}


def bytes_taken(make: Callable[[], Callable[[], Any]], steps: int) -> int:
    """Memory of this process at its largest while ``make`` makes a step and the step is done ``steps`` times, beyond
    what it was before."""
    from uora_bench.training import peak_memory

    peak_memory.reset_resident_peak()
    before = peak_memory.resident_peak()
    step = make()
    for _ in range(steps):
        step()
    return peak_memory.resident_peak() - before


def bytes_of_process(words: Sequence[str]) -> int:
    """The number of bytes that this program prints last when it is run with ``words``, in a process of its own."""
    # glibc keeps freed blocks of up to 32 MB to itself unless the size is fixed: what is handed out is to be measured
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"}
    command = [sys.executable, sys.argv[0], *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return int(done.stdout.split()[-1])


def run_script(name: str, words: Sequence[str], **environment: str) -> tuple[float, dict[str, Any]]:
    """Seconds of ``scripts/<name>`` in a process of its own, from outside, and the line of JSON that it prints."""
    seconds, output = _run([str(ROOT / "scripts" / name), *words], environment)
    return seconds, json.loads(next(line for line in reversed(output.splitlines()) if line.startswith("{")))


def run_cell(words: Sequence[str], folder: Path, **environment: str) -> tuple[float, Any]:
    """Seconds of the cell ``words`` in a process of its own, from outside, and its record, which does not stay."""
    from uora_bench.records.record import read_record

    own = (
        "tracker=none",
        "force=true",
        "experiment_name=bench",
        f"results.dir={folder}",
        f"runs.dir={folder / 'runs'}",
    )
    seconds, _ = _run(["-m", "uora_bench", *words, *own], environment)
    (path,) = (folder / "records" / "bench").glob("*.json")
    record = read_record(path)
    path.unlink()
    return seconds, record


def _run(words: Sequence[str], environment: Mapping[str, str]) -> tuple[float, str]:
    begun = time.perf_counter()
    done = subprocess.run(
        [sys.executable, *words], cwd=ROOT, capture_output=True, text=True,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    if done.returncode:
        raise SystemExit(f"{' '.join(words)} failed:\n{done.stderr[-3000:]}")
    return seconds, done.stdout


def write_result(path: Path | None, **facts: Any) -> None:
    """Write ``facts`` to ``path`` with where they were measured; nothing where no file is asked for."""
    from uora_bench.records import provenance

    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        result = {**facts, "provenance": provenance.collect()}
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")

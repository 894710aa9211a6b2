"""The life of theory cells: which have a record already, then one after the other, each kept as soon as it is done.

A cell takes seconds, so nothing of a cell that was killed is kept; what was finished before stays. Several processes
may work in one folder: a lock file per record says who has the cell.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from uora_bench.errors import Busy, Interrupted, UserError
from uora_bench.theory import record as records
from uora_bench.theory.presets import TheoryCell
from uora_bench.theory.record import TheoryRecord
from uora_bench.theory.request import TheoryRequest
from uora_bench.util.log import LOG


@dataclass
class Outcome:
    """Records of the cells that are done, in the request's order.

    And how many cells were computed, found or failed, or are with another process.
    """

    done: list[TheoryRecord]
    computed: int = 0
    found: int = 0
    failed: int = 0
    busy: int = 0


def run_cells(request: TheoryRequest) -> Outcome:
    """Compute what is missing (all of it with ``force``).

    A failed cell leaves a record of failure and does not stop the others.

    Raises:
        UserError: when real data is needed and not there, a record that is there cannot be read, or parameters make no
            setting (|β| > 1); cells that are done keep their records.
    """
    outcome = Outcome([])
    for i, cell in enumerate(request.cells):
        sources = request.sources(cell)
        cell_id = cell.cell_id(records.fingerprint(sources))
        if _found(request, cell_id, outcome):
            continue
        with ExitStack() as held:
            try:
                _lock(request.folder, cell_id, held)
            except Busy as error:
                _say(i, request, cell, str(error))
                outcome.busy += 1
                continue
            if _found(request, cell_id, outcome):  # made between our look and our lock
                continue
            made = _compute(request, cell, cell_id, sources)
        if made.status == "done":
            outcome.done.append(made)
            outcome.computed += 1
            _say(i, request, cell, f"{made.seconds:.1f} s")
        else:
            outcome.failed += 1
            _say(i, request, cell, f"failed: {made.reason}")
    return outcome


def _found(request: TheoryRequest, cell_id: str, outcome: Outcome) -> bool:
    """Whether a finished record is there; it is then in ``outcome``."""
    known = None if request.force else records.find_record(request.folder, cell_id)
    if known is None or known.status != "done":
        return False
    outcome.done.append(known)
    outcome.found += 1
    return True


def _compute(request: TheoryRequest, cell: TheoryCell, cell_id: str, sources: dict[str, str]) -> TheoryRecord:
    from uora_bench.theory import compute

    results = reason = None
    begun = time.perf_counter()
    try:
        results = compute.results_of(cell, request.data_root)
    except (UserError, Interrupted):
        raise
    except Exception as error:  # noqa: BLE001 - whatever it is, the cell failed and the record says why
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:500]
    made = TheoryRecord(
        schema=records.SCHEMA,
        status="done" if results is not None else "failed",
        cell_id=cell_id,
        experiment=request.experiment,
        preset=request.preset.name,
        label=f"{cell.label} · seed {cell.seed}",
        cell=cell.canonical(),
        provenance=records.facts(sources, request.overrides),
        seconds=round(time.perf_counter() - begun, 3),
        results=results,
        reason=reason,
    )
    path = made.write(request.folder)
    return records.read_record(path) if results is not None else made


def _lock(folder: Path, cell_id: str, held: ExitStack) -> None:
    """Hold the cell against other processes; the system frees the lock when this one dies."""
    from filelock import FileLock, Timeout

    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f".{cell_id}.lock"
    try:
        held.enter_context(FileLock(path, timeout=0))
    except Timeout:
        raise Busy(f"locked by another process (lock '{path}')") from None
    for rest in folder.glob(f".{cell_id}.json.*.tmp"):  # of a process killed while it wrote
        rest.unlink(missing_ok=True)


def _say(i: int, request: TheoryRequest, cell: TheoryCell, what: str) -> None:
    LOG.info(f"[{i + 1}/{len(request.cells)}] {cell.label} · seed {cell.seed}: {what}")

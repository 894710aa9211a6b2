"""What the end of a child means: its kind, a line for people, the record of the failure, the next smaller batch."""

from __future__ import annotations

import hashlib
import re
import signal
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from uora_bench.config.compose import compose
from uora_bench.errors import UserError
from uora_bench.grid.model import Item, Plan
from uora_bench.records import provenance
from uora_bench.records.provenance import Failure, Git, Provenance
from uora_bench.records.record import SCHEMA, CellRecord, find_record, record_path
from uora_bench.util.schema import plain

_TAIL = 65536
_BUSY = "is being run by another process"
_ROOT = re.compile(r"Root Cause[^\0]*?exitcode : (-?\d+)")  # of torchrun's report
_OURS = re.compile(r"(error: |the cell failed: |process \d+ failed: )")
# what allocators say, for children that had no time to write a record
_OUT_OF_MEMORY = ("OutOfMemoryError", "can't allocate memory", "MemoryError", "out of memory")


def classify(code: int, words: Words, fresh: CellRecord | None, several: bool) -> tuple[str, str]:
    """(kind, reason) of a child that ended with ``code``.

    ``words``: what it said last; ``fresh``: the failed record it left; ``several``: it was a launcher of several
    processes, whose own exit code says little.
    """
    if code == 2:
        return "refused", words.last or "exit code 2 without a message"
    if code < 0 or code > 128:
        return "crash", f"ended by {_name(-code if code < 0 else code - 128)}"
    if several and any(sign in words.ours for sign in _OUT_OF_MEMORY):
        # one process ran out of memory, the others only lost it; the first one may have written that down
        fixed = fresh is not None and not _failure(fresh).smaller_batch
        return ("too_large" if fixed else "out_of_memory"), "one of its processes ran out of memory (see the log)"
    if several and words.root < 0:
        return "crash", f"one of its processes was ended by {_name(-words.root)}"
    if fresh is not None and fresh.reason:
        facts = _failure(fresh)
        if facts.kind == "out_of_memory" and not facts.smaller_batch:
            # the method acts inside the forward pass, so how a batch is cut is part of the experiment
            return "too_large", f"{fresh.reason} (with this method a smaller micro-batch is another experiment)"
        return facts.kind, fresh.reason
    if any(sign in words.last for sign in _OUT_OF_MEMORY):
        return "out_of_memory", words.last
    if code == 0:
        return "crash", "ended with exit code 0 and without a record"
    if several and not words.ours:
        return "crash", "one of its processes ended without a message (see the log)"
    return ("error" if words.last else "crash"), words.last or f"exit code {code} without a message"


def _failure(record: CellRecord) -> Failure:
    return record.provenance.failure or Failure("error")


def _name(number: int) -> str:
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return f"{name} (the system kills processes when memory runs out)" if number == signal.SIGKILL else name


@dataclass(frozen=True)
class Words:
    """The end of a child's log.

    ``last``: the line with the reason; ``ours``: all lines that begin like the errors of a cell; ``root``: the exit
    code of the first process that failed, where torchrun names one.
    """

    last: str
    ours: str = ""
    root: int = 0


def last_words(log: Path, offset: int) -> Words:
    """The last line in ``log`` from ``offset`` on that begins as our errors do, else the last one."""
    try:
        with open(log, "rb") as handle:
            size = handle.seek(0, 2)
            handle.seek(max(offset, size - _TAIL))
            lines = handle.read().decode("utf-8", "replace").replace("\r", "\n").splitlines()
    except OSError:
        return Words("")
    lines = [" ".join(line.split()) for line in lines if line.strip()]
    # another call of the same grid writes to the same log
    ours = [line for line in lines if _OURS.match(line) and (_BUSY not in line or line == lines[-1])]
    root = _ROOT.search("\n".join(lines))
    last = _OURS.sub("", (ours or lines or [""])[-1])[:500]
    return Words(last, "\n".join(ours), int(root[1]) if root is not None else 0)


def stamp(plan: Plan, cell_id: str | None) -> int | None:
    """When the record of ``cell_id`` was written (ns); None where there is none."""
    try:
        return record_path(plan.records, cell_id).stat().st_mtime_ns if cell_id is not None else None
    except OSError:
        return None


def fresh_record(plan: Plan, cell_id: str | None, since: str, before: int | None) -> CellRecord | None:
    """The failed record of ``cell_id`` that the start of ``since`` (UTC, to the second) left.

    ``before``: the `stamp` of an older one.
    """
    if cell_id is None or (before is not None and stamp(plan, cell_id) == before):
        return None
    try:
        found = find_record(plan.records, cell_id)
    except UserError:
        return None
    if found is None or found.status != "failed" or (found.provenance.finished or "") < since:
        return None
    return found


def write_record(plan: Plan, item: Item, cell_id: str | None, kind: str, reason: str, started_from: str | None) -> None:
    """Leave a failed record for a cell that left none itself (killed, or ended at its time limit).

    ``started_from``: the cell_id whose adapter it was to start from.

    Without a cell_id (it ended before its data was read) there is nothing a record could be named by: the attempts'
    file then is all there is.
    """
    if cell_id is None or kind == "refused":
        return
    try:
        find_record(plan.records, cell_id)
    except UserError:
        return  # a record that cannot be read is not ours to replace
    composed = compose(list(item.overrides))
    cell = composed.cell
    record = CellRecord(
        schema=SCHEMA,
        status="failed",
        cell_id=cell_id,
        experiment=plan.experiment,
        label=cell.label,
        cell={**cell.canonical(), **_start(plan, started_from)},
        recipe=plain(cell.recipe),
        sources=composed.sources,
        metric=cell.task.metric,
        provenance=Provenance(
            git=Git(**provenance.git_state()),
            versions=provenance.versions(),
            command=tuple(w for w in item.overrides if not w.startswith(provenance.PATHS)),
            trainer=plain(cell.trainer),
            init_from=started_from,
            failure=Failure(kind, written_by="the launcher"),
            finished=datetime.now(UTC).isoformat(timespec="seconds"),
        ),
        reason=reason,
    )
    record.write(plan.records)


def _start(plan: Plan, started_from: str | None) -> dict[str, str]:
    """What a cell's canonical form says of the adapter it starts from."""
    if started_from is None:
        return {}
    try:
        adapter = (plan.folder / started_from / "adapter.safetensors").read_bytes()
    except OSError:
        return {"init_from": started_from}
    return {"init_from": hashlib.sha256(adapter).hexdigest()}


def smaller(item: Item, micro: int | None, evaluation: int | None) -> tuple[int, int] | None:
    """(micro-batch, evaluation batch) of half the size per process; None when the micro-batch is one example."""
    trainer = compose(list(item.overrides)).cell.trainer
    now = micro or trainer.micro_batch_size or -(-trainer.batch_size // item.processes)
    if now <= 1:
        return None
    return -(-now // 2), max(1, (evaluation or trainer.eval_batch_size) // 2)


def evaluation_words(item: Item, evaluation: int) -> list[str]:
    """Overrides for evaluation batches of ``evaluation`` examples, and of as much fewer tokens."""
    trainer = compose(list(item.overrides)).cell.trainer
    words = [f"trainer.eval_batch_size={evaluation}"]
    if trainer.eval_batch_tokens is not None:
        most = max(1, trainer.eval_batch_tokens * evaluation // trainer.eval_batch_size)
        words.append(f"trainer.eval_batch_tokens={most}")
    return words

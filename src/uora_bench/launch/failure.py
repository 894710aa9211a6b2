"""What the end of a child means: its kind, a line for people, the record of the failure, the next smaller batch."""

from __future__ import annotations

import signal
from datetime import UTC, datetime
from pathlib import Path

from uora_bench import compose, provenance, quick
from uora_bench import record as records
from uora_bench.cell import Cell
from uora_bench.errors import UserError
from uora_bench.plan.model import Item, Plan
from uora_bench.schema import plain

_TAIL = 65536
# what allocators say, for children that had no time to write a record
_OUT_OF_MEMORY = ("OutOfMemoryError", "can't allocate memory", "MemoryError", "out of memory")


def of(code: int, log: Path, offset: int, folder: Path, cell_id: str | None) -> tuple[str, str]:
    """(kind, reason) of a child that ended with ``code``; its words are in ``log`` from ``offset`` on."""
    words = last_words(log, offset)
    if code == 2:
        return "refused", words or "exit code 2 without a word"
    if code < 0 or code > 128:
        number = -code if code < 0 else code - 128
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        hint = " (the system ends processes so when memory runs out)" if number == signal.SIGKILL else ""
        return "crash", f"ended by {name}{hint}"
    found = None
    if cell_id is not None:
        try:
            found = records.find(folder, cell_id)
        except UserError:
            found = None
    if found is not None and found.status == "failed" and found.reason:
        facts = found.provenance.get("failure") or {}
        kind = str(facts.get("kind", "error"))
        if kind == "out_of_memory" and facts.get("smaller_batch") is False:
            # the method acts inside the forward pass, so how a batch is cut is part of the experiment
            return "too_large", f"{found.reason} (with this method a smaller micro-batch is another experiment)"
        return kind, found.reason
    if any(sign in words for sign in _OUT_OF_MEMORY):
        return "out_of_memory", words
    if code == 0:
        return "crash", "ended with exit code 0 and without a record"
    return ("error" if words else "crash"), words or f"exit code {code} without a word"


def last_words(log: Path, offset: int) -> str:
    """The line of a child's log that says why it ended: the last one that begins as our errors do, else the last."""
    try:
        with open(log, "rb") as handle:
            size = handle.seek(0, 2)
            handle.seek(max(offset, size - _TAIL))
            lines = handle.read().decode("utf-8", "replace").replace("\r", "\n").splitlines()
    except OSError:
        return ""
    lines = [" ".join(line.split()) for line in lines if line.strip()]
    ours = [line for line in lines if line.startswith(("error: ", "the cell failed: "))]
    return (ours or lines or [""])[-1].removeprefix("error: ").removeprefix("the cell failed: ")[:500]


def write_record(plan: Plan, item: Item, cell_id: str | None, kind: str, reason: str) -> None:
    """Leave a failed record for a cell that could not write its own (killed, or ended at its time limit).

    Without a cell_id (it ended before its data was read) there is nothing a record could be named by: the attempts'
    file then is all there is.
    """
    if cell_id is None or kind in ("refused", "error", "too_large"):
        return
    try:
        known = records.find(plan.records, cell_id)
        if known is not None and known.status == "failed" and known.reason == reason:
            return  # its own
    except UserError:
        return  # a record that cannot be read is not ours to replace
    composed = compose.compose(list(item.words), quick.put_together)
    cell = Cell.from_config(composed.values)
    record = records.CellRecord(
        schema=records.SCHEMA,
        status="failed",
        cell_id=cell_id,
        experiment=plan.experiment,
        label=cell.label,
        cell=cell.canonical(),
        recipe=plain(cell.recipe),
        sources=composed.sources,
        metric=cell.task.metric,
        provenance={
            "git": provenance.git_state(),
            "versions": provenance.versions(),
            "command": [w for w in item.words if not w.startswith(provenance.PATHS)],
            "trainer": plain(cell.trainer),
            "failure": {"kind": kind, "written_by": "the launcher"},
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        },
        reason=reason,
    )
    record.write(plan.records)


def smaller(item: Item, micro: int | None, evaluation: int | None) -> tuple[int, int] | None:
    """(micro-batch, evaluation batch) of half the size per process; None when the micro-batch is one example."""
    composed = compose.compose(list(item.words), quick.put_together)
    trainer = Cell.from_config(composed.values).trainer
    now = micro or trainer.micro_batch_size or -(-trainer.batch_size // item.processes)
    if now <= 1:
        return None
    return -(-now // 2), max(1, (evaluation or trainer.eval_batch_size) // 2)

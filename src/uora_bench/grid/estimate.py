"""How long a cell will take and how much memory: from the records of like cells, never guessed.

Training time scales with the number of examples seen, evaluation with the number of epochs; the median over the records
is taken. Like: the same method, task and backbone; else the same task and backbone; else the same backbone, by its rate
of examples.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uora_bench.config.cell import Cell
from uora_bench.errors import UserError
from uora_bench.grid.model import Item
from uora_bench.records.record import CellRecord, OldRecord, read_record, record_paths


@dataclass(frozen=True)
class _Past:
    method: str
    task: str
    backbone: str
    setup: float
    train: float
    evaluation: float
    examples: float
    epochs: float
    rows: int
    memory: int | None
    device: str


class Estimator:
    """Estimates from ``records``; of like cells those of the commonest device count."""

    def __init__(self, records: Iterable[CellRecord]) -> None:
        self.past = [p for p in map(_past, records) if p is not None]
        self._rows: dict[str, int] = {p.task: p.rows for p in self.past}
        self._groups: dict[tuple[str, ...], list[_Past]] = {}
        for p in self.past:
            for key in ((p.method, p.task, p.backbone), (p.task, p.backbone), (p.backbone,)):
                self._groups.setdefault(key, []).append(p)
        self._known: dict[tuple[Any, ...], tuple[float | None, int | None, str]] = {}

    def fill(self, item: Item, cell: Cell | None) -> Item:
        """``item`` with its estimate, where there is a like cell."""
        if cell is None:
            return item
        t = cell.trainer
        same = (
            cell.method.name,
            cell.task.name,
            cell.backbone.public_name,
            t.epochs,
            t.max_steps,
            t.batch_size,
            t.evaluate,
        )
        if same not in self._known:
            self._known[same] = self._estimate(cell)
        seconds, memory, basis = self._known[same]
        return replace(item, seconds=seconds, memory_bytes=memory, basis=basis)

    def _estimate(self, cell: Cell) -> tuple[float | None, int | None, str]:
        method, task, backbone = cell.method.name, cell.task.name, cell.backbone.public_name
        rows = self._rows.get(task)
        levels = (
            ((method, task, backbone), "method, task and backbone"),
            ((task, backbone), "task and backbone"),
            ((backbone,), "backbone"),
        )
        for key, what in levels:
            like = self._groups.get(key)
            if not like or (len(key) == 1 and rows is None):
                continue
            like, where = _on_one_device(like)
            t = cell.trainer
            size = rows if rows is not None else like[0].rows
            examples = t.max_steps * t.batch_size if t.max_steps else t.epochs * size
            epochs = max(1.0, examples / size)
            looks = epochs if t.evaluate == "each_epoch" else 1.0
            seconds = statistics.median(
                p.setup + p.train * examples / p.examples + p.evaluation * looks / p.epochs for p in like
            )
            memories = [p.memory for p in like if p.memory is not None]
            count = f"{len(like)} record{'s' if len(like) > 1 else ''}"
            return seconds, max(memories, default=None), f"{count} of this {what}, {where}"
        return None, None, ""


def _on_one_device(like: list[_Past]) -> tuple[list[_Past], str]:
    """The records of the device that most of them were made on: a mixture would describe none."""
    devices = [p.device for p in like]
    device = max(dict.fromkeys(devices), key=devices.count)
    return [p for p in like if p.device == device], device


def _past(record: CellRecord) -> _Past | None:
    seconds, rate, train = record.seconds, record.examples_per_second, record.splits.get("train")
    if record.status != "done" or seconds is None or not rate or train is None:
        return None
    cell, gpus = record.cell, record.provenance.hardware.gpus
    return _Past(
        cell["method"]["name"],
        cell["task"]["name"],
        cell["backbone"]["name"],
        seconds.setup,
        seconds.train,
        seconds.eval,
        rate * seconds.train,
        float(len(record.epochs)),
        train.rows,
        record.peak_memory_bytes,
        gpus[0] if gpus else "CPU",
    )


def elsewhere(results: Path, but: str) -> Iterator[CellRecord]:
    """Every record below ``results`` that is not of experiment ``but``; what cannot be read is not ours to refuse.

    Raises:
        OldRecord: for one of schema 1.
    """
    root = results / "records"
    for folder in sorted(root.iterdir()) if root.is_dir() else []:
        for path in record_paths(folder) if folder.name != but else ():
            try:
                yield read_record(path)
            except OldRecord:
                raise
            except UserError:
                continue

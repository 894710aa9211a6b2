"""Published numbers: `results/paper/*.csv`, read strictly. They are shown next to our own, never among them.

A file has the columns of `COLUMNS`; a value without a source does not come in. Numbers were read in the sources named,
by the confidence given; what a paper does not say is in no file (`results/paper/README.md` lists what is unknown).
"""

from __future__ import annotations

import csv
import fnmatch
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from uora_bench.errors import UserError, nearest

COLUMNS = (
    "paper", "method", "table", "backbone", "task", "metric", "value", "std", "trainable_params", "source",
    "confidence",
)  # fmt: skip
CONFIDENCE = ("high", "medium", "low")


@dataclass(frozen=True)
class Published:
    """One published number, in the unit it was printed in.

    ``std``: the number after ± in the source; ``printed``: both with the source's digits.
    """

    paper: str
    method: str
    table: str
    backbone: str
    task: str
    metric: str
    value: float
    std: float | None
    trainable_params: str
    source: str
    confidence: str
    printed: str = ""

    @property
    def text(self) -> str:
        """``62.0 ± 1.2``: as printed where that is known."""
        return self.printed or f"{self.value:g}" + (f" ± {self.std:g}" if self.std is not None else "")


class Library:
    """All published numbers, by paper and table."""

    def __init__(self, numbers: Iterable[Published]) -> None:
        self.numbers = tuple(numbers)
        self._tables: dict[tuple[str, str], list[Published]] = {}
        for number in self.numbers:
            self._tables.setdefault((number.paper, number.table), []).append(number)

    def table(self, paper: str, table: str) -> tuple[Published, ...]:
        """The numbers of one table.

        Raises:
            UserError: when there is none.
        """
        found = self._tables.get((paper, table))
        if found is None:
            names = [" ".join(key) for key in self._tables]
            raise UserError(f"no published number of '{paper} {table}' is known{nearest(f'{paper} {table}', names)}")
        return tuple(found)


def find_published(
    numbers: Iterable[Published], method: str, backbone: str | None, task: str, metric: str | None
) -> Published | None:
    """The number of ``method`` on ``task``.

    ``backbone`` and ``metric`` (with ``*`` for anything) narrow it where they are given.

    Raises:
        UserError: when several numbers fit: the table's specification does not say which is meant.
    """
    found = [
        n
        for n in numbers
        if n.method == method
        and n.task == task
        and (backbone is None or n.backbone == backbone)
        and (metric is None or fnmatch.fnmatchcase(n.metric, metric))
    ]
    if len(found) > 1:
        fits = ", ".join(sorted({f"{n.backbone}/{n.metric}" for n in found}))
        raise UserError(f"{len(found)} published numbers of {method} on {task} fit ({fits}); name backbone and metric")
    return found[0] if found else None


def read_published(folder: Path) -> Library:
    """Every number in ``folder``/*.csv.

    Raises:
        UserError: for a folder without a file, other columns, a row without a source or with a value that is no number.
    """
    files = sorted(folder.glob("*.csv")) if folder.is_dir() else []
    if not files:
        raise UserError(f"no published numbers in '{folder}'; it has to hold the CSV files of results/paper/")
    return Library(number for path in files for number in read_published_file(path))


def read_published_file(path: Path) -> list[Published]:
    """The numbers of one file; raises as `read_published`."""
    with open(path, encoding="utf-8", newline="") as handle:
        rows = csv.DictReader(handle)
        if tuple(rows.fieldnames or ()) != COLUMNS:
            raise UserError(f"'{path}' must have the columns {','.join(COLUMNS)}, it has {rows.fieldnames}")
        return [_number(row, f"{path.name} line {rows.line_num}") for row in rows]


def _number(row: dict[str, str], where: str) -> Published:
    if None in row or None in row.values():
        raise UserError(f"{where} has another number of fields than its heading")
    for key in ("paper", "method", "table", "backbone", "task", "metric", "value"):
        if not row[key].strip():
            raise UserError(f"{where} has no {key}")
    if not row["source"].strip():
        raise UserError(f"{where} ({row['method']}, {row['task']}) has no source; a number without one is not used")
    if row["confidence"] not in CONFIDENCE:
        raise UserError(f"{where} has confidence '{row['confidence']}'{nearest(row['confidence'], CONFIDENCE)}")
    numbers: dict[str, float | None] = {}
    for key in ("value", "std"):
        try:
            numbers[key] = float(row[key]) if row[key] else None
        except ValueError:
            numbers[key] = math.nan
        if not math.isfinite(numbers[key] or 0.0):
            raise UserError(f"{where}: {key} '{row[key]}' is no number")
    value = numbers["value"]
    assert value is not None
    texts = {k: row[k] for k in COLUMNS if k not in ("value", "std")}
    printed = row["value"] + (f" ± {row['std']}" if row["std"] else "")
    return Published(**texts, value=value, std=numbers["std"], printed=printed)

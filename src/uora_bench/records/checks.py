"""What a record's open parts (the cell, the scores) have to hold, so that whoever reads it later can rely on it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from uora_bench.config.cell import MetricSpec
from uora_bench.config.metrics import SCORES
from uora_bench.errors import UserError
from uora_bench.util.schema import convert

DEEPEST = 30  # levels of lists and mappings in each other; records have about ten
_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")
# what is read of a cell by name -> its type
_CELL: Mapping[str, Any] = {
    "method.name": str, "method.version": int, "method.options": dict[str, Any],
    "task.name": str, "task.splits": dict[str, Any], "task.splits.train": str, "task.splits.dev": str,
    "task.splits.test": str | None, "task.splits.extra": dict[str, str],
    "task.source.benchmark": str, "task.source.dataset": str,
    "task.metric": dict[str, Any], "task.options": dict[str, Any],
    "backbone.name": str, "backbone.target_modules": dict[str, Any],
    "trainer": dict[str, Any], "trainer.epochs": int | None, "seed": int,
}  # fmt: skip
_MAY_LACK: Mapping[str, Any] = {
    "task.splits.test": None, "task.splits.extra": {}, "init_from": None, "weights": None, "files": None,
    "micro_batch_size": None, "metric": None,
}  # fmt: skip
_ABOUT: Mapping[str, Any] = {
    "init_from": str | None, "weights": str | None, "files": str | None, "micro_batch_size": int | None,
    "metric": str | None,
}  # fmt: skip


def check_json(text: str, data: Any, level: int = DEEPEST) -> None:
    """Raise `ValueError` for ``data``, parsed from ``text``, that cannot be printed or walked through."""
    if level == DEEPEST and _SURROGATE.search(text):  # half of a character, unless its other half follows
        json.dumps(data, ensure_ascii=False).encode("utf-8")
    if not level:
        raise ValueError(f"it is nested more than {DEEPEST} levels deep")
    for value in data.values() if isinstance(data, dict) else data:
        if isinstance(value, (dict, list)):
            check_json(text, value, level - 1)


def check_cell(cell: Mapping[str, Any]) -> None:
    """Raise `UserError` for a cell without what its name, its key and its row in a table are made of."""
    for path, hint in {**_CELL, **_ABOUT}.items():
        where: Any = cell
        for part in path.split("."):
            if isinstance(where, Mapping) and part in where:
                where = where[part]
            elif path in _MAY_LACK:
                where = _MAY_LACK[path]
                break
            else:
                raise UserError(f"'cell.{path}' is missing")
        convert(hint, where, f"cell.{path}")


def check_scores(metric: MetricSpec, scores: Iterator[Mapping[str, Any]], needs_primary: bool) -> None:
    """Raise `UserError` where one of ``scores`` (metric -> value) lacks a number that its metric always gives.

    ``needs_primary``: or lacks the primary value.
    """
    known = {metric.primary, *SCORES.get(metric.name, ())}
    for values in scores:
        if needs_primary and metric.primary not in values:
            raise UserError(f"the score '{metric.primary}' is missing")
        for name in known & values.keys():
            convert(float, values[name], f"the score '{name}'")

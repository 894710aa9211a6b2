"""``when:`` of an experiment's file: each must be able to hold of a cell; a misspelt one is no silent nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from uora_bench.config import registry
from uora_bench.errors import UserError, nearest
from uora_bench.grid import preset
from uora_bench.grid.preset import Experiment


def check_conditions(experiment: Experiment, rows: Sequence[Mapping[str, Any]]) -> None:
    """Raise `UserError` for a ``when`` (or ``also``) that names a key or a value that no row has.

    ``rows``: all of the grid, before any is left out, and those that the command line asks for. Conditions of a table
    see axes alone, never what is ``set``.
    """
    axes = {"task", "seed", *experiment.axes, *(key for include in experiment.include for key in include)}
    every = {key for row in rows for key in row}
    for where, when, keys in _conditions(experiment, axes, every):
        for key, wanted in when.items():
            if key not in keys:
                hint = nearest(key, keys)
                raise UserError(f"experiment {experiment.name}: {where}: no axis of the grid is called '{key}'{hint}")
            held = [row[key] for row in rows if key in row]
            held += registry.choices(key) if held and key in registry.GROUPS else []  # of a wider grid
            for option in wanted if isinstance(wanted, list) else [wanted]:
                known = any(preset.same(key, value, option) for value in held) or (held and option is None)
                if not known and held:
                    names = sorted({str(value) for value in held})
                    raise UserError(
                        f"experiment {experiment.name}: {where}: {key} is never '{option}'{nearest(str(option), names)}"
                    )


def _conditions(
    experiment: Experiment, axes: set[str], every: set[str]
) -> Iterator[tuple[str, Mapping[str, Any], set[str]]]:
    """(where it stands, the condition, the keys that it may name)."""
    for number, rule in enumerate(experiment.rules, start=1):
        yield f"rule {number}", rule.when, every
    for number, start in enumerate(experiment.starts, start=1):
        yield f"start {number}", start.when, every
    if experiment.table is None:
        return
    for row in experiment.table.rows:
        yield f"row '{row.label}' of the table", row.when, axes
        yield f"row '{row.label}' of the table", row.also, axes
    for block in experiment.table.blocks:
        yield f"block '{block.label}' of the table", block.when, axes
    for column in experiment.table.columns:
        yield f"column '{column.label}' of the table", {"task": column.task}, axes
    for note in experiment.table.notes:
        yield f"a note of the table ({note.text[:30]}…)", note.when, axes

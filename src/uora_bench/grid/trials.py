"""The trials of a search's grid: which cells are one trial, and which settings tell the trials of a row apart."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from uora_bench.config.compose import own_key
from uora_bench.errors import UserError
from uora_bench.grid import preset
from uora_bench.grid.diff import settings_of
from uora_bench.grid.expand import Grid, Planned
from uora_bench.grid.search_spec import SearchSpec
from uora_bench.util.inside import is_folder_name

_OF_RECIPES = ("method.", "task.", "trainer.")
_OF_DATA = (  # keys of a task that say which rows there are and what is in them, which no recipe holds
    "path", "encoding", "separator", "source", "columns", "label", "labels", "target", "answer", "choices",
    "splits", "split", "split_seed", "missing", "metric", "sample_train", "sample_dev", "sample_test", "sample_seed",
    "image_column", "label_column", "shuffle_seed",
)  # fmt: skip
_LABELS = ("task", "seed", "experiment_name", "data.root", "results.dir", "runs.dir", "tracker", "force")
_RATES = ("trainer.lr_adapter", "trainer.lr_head")
_RECIPE = re.compile(r"(?!_)[\w.+ -]{1,100}")  # a part of its name; files that begin with _ are building blocks


@dataclass(frozen=True)
class PlannedTrial:
    """One setting of the searched keys, and its cells, one a seed."""

    settings: dict[str, Any]
    cells: tuple[Planned, ...]


def trials_of(grid: Grid, spec: SearchSpec) -> dict[tuple[tuple[str, ...], str], list[PlannedTrial]]:
    """The trials of every row (its values of ``spec.row``) on every task.

    The settings of a trial are the keys that vary within its row, also where a cell takes one by default; of a row with
    one trial those that vary in other rows, or its rates.
    """
    found: dict[tuple[tuple[str, ...], str], dict[str, list[Planned]]] = {}
    for planned in grid.items:
        if planned.cell is not None:
            row = tuple(str(value) for value in names(planned, spec).values())
            own = found.setdefault((row, planned.cell.task.name), {})
            own.setdefault(json.dumps(_given(planned, spec), sort_keys=True, default=str), []).append(planned)
    varied = {key: _varied([_given(cells[0], spec) for cells in own.values()]) for key, own in found.items()}
    given = {key for own in found.values() for cells in own.values() for key in cells[0].row}
    rates = [key for key in _RATES if key in given] or list(_RATES)
    elsewhere = list(dict.fromkeys(key for keys in varied.values() for key in keys)) or rates
    return {
        key: [PlannedTrial(_settings(cells[0], varied[key] or elsewhere, spec), tuple(cells)) for cells in own.values()]
        for key, own in found.items()
    }


def _given(planned: Planned, spec: SearchSpec) -> dict[str, Any]:
    kept = {k: v for k, v in planned.row.items() if k not in spec.row and k not in _LABELS}
    return {k: preset.read_value(k, v) for k, v in kept.items()}


def _varied(every: list[dict[str, Any]]) -> list[str]:
    keys = dict.fromkeys(key for one in every for key in one)
    return [key for key in keys if len({str(one.get(key)) for one in every}) > 1]


def _settings(planned: Planned, keys: Iterable[str], spec: SearchSpec) -> dict[str, Any]:
    given, found = _given(planned, spec), dict[str, Any]()
    for key in keys:
        if key in given:
            found[key] = given[key]
        elif planned.cell is not None:
            flat = settings_of(planned.canonical)
            own = configured(key, planned.cell.method.name)
            found |= {key: flat[own]} if own in flat else {}
    return found


def configured(key: str, method: str) -> str:
    """``key`` of a grid by the name that it has in the configuration of a cell: ``peft.r`` is ``method.fields.r``."""
    return own_key(key, method, "")


def names(planned: Planned, spec: SearchSpec) -> dict[str, Any]:
    """What tells the row of ``planned`` apart: its value of every key of ``spec.row``."""
    return {key: preset.read_value(key, planned.row[key]) for key in spec.row if key in planned.row}


def is_of_recipes(key: str) -> bool:
    """Whether a recipe may hold ``key``, a name of the configuration: not what says which data a cell has."""
    group, _, own = key.partition(".")
    return key.startswith(_OF_RECIPES) and not (group == "task" and own.partition(".")[0] in _OF_DATA)


def recipe_name(planned: Planned, spec: SearchSpec, search: str) -> str:
    """The name of the recipe of the row of ``planned``; raises `UserError` for one that no file can have."""
    assert planned.cell is not None
    name, own = spec.recipe or search, names(planned, spec)
    for key, value in own.items():
        name = name.replace(f"{{{key}}}", str(value))
    if not all(_RECIPE.fullmatch(part) and is_folder_name(part) for part in name.split("/")):
        known = ", ".join(f"{{{key}}}" for key in own) or "none"
        raise UserError(f"search.recipe: {name!r} is no name of a recipe; write words, and of the row's keys {known}")
    return f"{planned.cell.method.name}/{name}"

"""From a request to cells: the preset's rows and the command line's axes, multiplied, composed and named.

An impossible pair (a vision task on a text backbone) is kept with its reason, to be shown and skipped; any other
mistake (an unknown key, a wrong type) is the whole grid's and ends it.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uora_bench.config import groups as group_files
from uora_bench.config import registry
from uora_bench.config.cell import Cell, Settings
from uora_bench.config.compose import compose
from uora_bench.config.ids import key_of
from uora_bench.config.preflight import preflight
from uora_bench.errors import ImpossiblePair, UserError
from uora_bench.grid import preset
from uora_bench.grid.conditions import check_conditions
from uora_bench.grid.preset import Experiment
from uora_bench.grid.request import GridRequest, read_request, word
from uora_bench.grid.search_spec import combinations, is_range

FIRST = ("backbone", "method", "task", "recipe", "trainer", "tracker")  # groups come before keys in a command line


@dataclass(frozen=True)
class Planned:
    """One cell of the grid.

    ``cell`` is None, and ``reason`` says why, where the pair cannot be. ``canonical``: what `Cell.canonical` says of
    it; ``key`` names the cell and, where there is one, the row it starts from.
    """

    key: str
    overrides: tuple[str, ...]
    row: dict[str, Any]
    cell: Cell | None
    settings: Settings | None
    canonical: dict[str, Any]
    reason: str = ""
    after: str | None = None


@dataclass(frozen=True)
class Grid:
    """All cells of a request, each once, in the order of its axes."""

    experiment: Experiment
    items: tuple[Planned, ...]
    varied: tuple[str, ...]  # the keys that have more than one value, without the seed
    duplicates: int  # rows that were the same cell as one before


def expand(words: list[str]) -> Grid:
    """The grid that ``words`` ask for (see `request.read_request`).

    Raises:
        UserError: for a mistake in a word, an axis without values, or when no cell is left.
    """
    return expand_request(read_request(words))


def expand_request(request: GridRequest) -> Grid:
    """The grid of ``request``; without ``experiment=`` the axes alone are the grid."""
    if request.experiment is None:
        name = request.axes.get("experiment_name", ["scratch"])[0]
        experiment = Experiment(name, {})
    else:
        experiment = preset.load_experiment(request.experiment)
    rows = list(_rows(experiment, request.axes))
    if request.experiment is not None:
        check_conditions(experiment, [*_rows(experiment, {}), *rows] if request.axes else rows)
    for rule in experiment.exclude:
        left = [row for row in rows if not preset.matches(row, rule)]
        if len(left) == len(rows) and not _narrowed(rule, request.axes):
            raise UserError(f"experiment {experiment.name}: exclude {rule} matches no row")
        rows = left
    if not rows:
        raise UserError(f"the grid of experiment {experiment.name} is empty: nothing is left of its rows")
    items, duplicates = _composed(experiment, rows, request.axes)
    if not any(item.cell is not None for item in items):
        raise UserError(f"no cell of this grid can be: {items[0].reason}")
    seen: dict[str, set[str]] = {}
    for row in rows:
        for key, value in row.items():
            seen.setdefault(key, set()).add(str(value))
    varied = [k for k, v in seen.items() if k not in ("seed", *_FIXED) and len(v | _absent(k, rows)) > 1]
    return Grid(experiment, items, tuple(varied), duplicates)


_FIXED = ("method", "task", "backbone")


def _absent(key: str, rows: list[dict[str, Any]]) -> set[str]:
    return set() if all(key in row for row in rows) else {""}


def _narrowed(rule: dict[str, Any], axes: dict[str, list[str]]) -> bool:
    return any(key in axes for key in rule)


def _rows(experiment: Experiment, asked: dict[str, list[str]]) -> Iterator[dict[str, Any]]:
    """Every row once per combination.

    What was asked for on the command line replaces the preset's values of an axis and narrows those a row of
    ``include`` names.
    """
    axes = {k: preset.values(k, v) for k, v in experiment.axes.items()}
    axes |= {k: v for k, v in asked.items() if k in axes}
    rest = {k: v for k, v in asked.items() if k not in axes}
    fixed = {k: [v] for k, v in experiment.set.items() if k not in asked}
    if experiment.axes or not experiment.include:
        yield from combinations(axes | rest | fixed, experiment.search)
    for include in experiment.include:
        own: dict[str, list[Any]] = {}
        narrowed = list[str]()
        for key, given in include.items():
            if given is None and key in axes:
                own[key] = []
                continue
            found = preset.values(key, given)
            if key in asked and any(map(is_range, found)):
                narrowed.append(key)  # once its points are drawn
            elif key in asked:
                found = [v for v in found if any(preset.same(key, v, w) for w in asked[key])]
                if not found:
                    break
            own[key] = found
        else:
            merged = {k: v for k, v in (axes | fixed | rest | own).items() if v}
            for row in combinations(merged, experiment.search):
                if all(preset.matches(row, {key: asked[key]}) for key in narrowed):
                    yield row


def _composed(
    experiment: Experiment, rows: Iterable[dict[str, Any]], asked: dict[str, list[str]]
) -> tuple[tuple[Planned, ...], int]:
    items: dict[str, Planned] = {}
    duplicates = 0
    by_row: dict[tuple[tuple[str, str], ...], str] = {}
    starts: list[tuple[dict[str, Any], dict[str, Any]]] = []
    rows = list(rows)
    known = {group: set(registry.choices(group)) for group in group_files.NODES}
    group_files.prepare({g: str(row[g]) for g, names in known.items() if str(row.get(g)) in names} for row in rows)
    for row in rows:
        start = next((s for s in experiment.starts if preset.matches(row, s.when)), None)
        more = [rule.set for rule in experiment.rules if preset.matches(row, rule.when)]
        full = dict(row)
        for values in more:
            full |= {k: v for k, v in values.items() if k not in asked}
        planned = _plan_row(experiment.name, full)
        if start is not None and planned.cell is not None:
            starts.append((row, {**row, **start.like}))
            planned = _with(planned, key=_started(planned.key, {**row, **start.like}))
        if planned.key in items:
            _check_files(items[planned.key], planned)
            duplicates += 1
            by_row[_frozen(row)] = planned.key
            continue
        items[planned.key] = planned
        by_row[_frozen(row)] = planned.key
    for row, like in starts:
        key, first = by_row.get(_frozen(row)), by_row.get(_frozen(like))
        if key is None:
            continue
        if first is None or items[first].cell is None:
            shown = ", ".join(f"{k}={v}" for k, v in like.items())
            items[key] = _with(items[key], cell=None, reason=f"the row it starts from is not in the grid: {shown}")
        else:
            items[key] = _with(items[key], after=first)
    return tuple(items.values()), duplicates


def _check_files(one: Planned, other: Planned) -> None:
    """Raise `UserError` where two rows that a plan takes for one cell name other files of the user's own."""
    for key, path in (("task.path", _data_path), ("task.metric.name", _script_path)):
        first, second = path(one), path(other)
        if first is not None and second is not None and first.resolve() != second.resolve():
            raise UserError(
                f"{key}: '{first}' and '{second}' have one name, by which plans and records know them; give one "
                "another name, or each an experiment_name of its own"
            )


def _data_path(planned: Planned) -> Path | None:
    files = planned.cell.task.source.files if planned.cell is not None else None
    return None if files is None else Path(files.path)


def _script_path(planned: Planned) -> Path | None:
    return planned.cell.task.metric.script if planned.cell is not None else None


def _plan_row(name: str, row: dict[str, Any]) -> Planned:
    groups = [k for k in FIRST if k in row]
    keys = [*groups, *(k for k in row if k not in groups)]
    words = [word(k, row[k]) for k in keys]
    if "experiment_name" not in row:
        words.append(f"experiment_name={name}")
    seed = str(row.get("seed", ""))
    try:
        # cells of one row differ in nothing else, and composing is what takes time
        if seed.isdecimal() and str(int(seed)) == seed:
            first, settings, known = _resolved(tuple(w for w in words if not w.startswith("seed=")))
            cell, canonical = replace(first, seed=int(seed)), {**known, "seed": int(seed)}
        else:
            cell, settings, canonical = _resolved(tuple(words))
    except ImpossiblePair as error:
        key = hashlib.sha256(" ".join(words).encode()).hexdigest()[:16]
        return Planned(key, tuple(words), row, None, None, {}, str(error))
    key = key_of(canonical)
    apart = {k: str(row[k]) for k in _APART if k in row}
    if apart:
        key = hashlib.sha256(f"{key} {apart}".encode()).hexdigest()[:16]
    return Planned(key, tuple(words), row, cell, settings, canonical)


# what may make another cell, and only a look at files or at the method tells
_APART = ("backbone.path", "init_from", "trainer.micro_batch_size")


@functools.lru_cache(maxsize=4096)
def _resolved(words: tuple[str, ...]) -> tuple[Cell, Settings, dict[str, Any]]:
    composed = compose(list(words))
    preflight(composed.cell, library=False)
    return composed.cell, composed.settings, composed.cell.canonical()


def _started(key: str, like: dict[str, Any]) -> str:
    """The name of a cell that starts from the adapter of another row."""
    return hashlib.sha256(f"{key} from {_frozen(like)}".encode()).hexdigest()[:16]


def _frozen(row: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((k, str(v)) for k, v in row.items()))


def _with(planned: Planned, **changes: Any) -> Planned:
    return replace(planned, **changes)

"""A search and what came of it: the rows of its grid, their trials with the scores in the records, and the choice.

`Search` is what ``results/searches/<name>.json`` holds. It follows from the grid and the records alone, so that the
same records give the same bytes, however often the search was stopped.
"""

from __future__ import annotations

import json
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from uora_bench.config.split_parts import may_share_rows, split_parts
from uora_bench.errors import UserError, nearest
from uora_bench.grid import diff, preset
from uora_bench.grid.expand import Grid, Planned
from uora_bench.grid.search_spec import SearchSpec
from uora_bench.records.record import CellRecord
from uora_bench.util.inside import is_folder_name
from uora_bench.util.json_file import read_json, sha256_of, write_json

SCHEMA = 1
FOLDER = "searches"  # below results.dir
_OF_A_ROW = ("method", "backbone")  # what a recipe is of
_RECIPE = re.compile(r"(?!_)[\w.+ -]{1,100}")  # a part of its name; files that begin with _ are building blocks
_LABELS = ("task", "seed", "experiment_name", "data.root", "results.dir", "runs.dir", "tracker", "force")


@dataclass(frozen=True)
class Trial:
    """One setting of the searched keys.

    ``cells`` and ``scores`` by seed; ``score``: their mean in points (the unit of tables), None where a cell failed or
    was not run.
    """

    settings: dict[str, Any]
    cells: dict[int, str] = field(default_factory=dict)
    scores: dict[int, float] = field(default_factory=dict)
    score: float | None = None
    status: Literal["done", "failed", "missing"] = "missing"
    reason: str = ""


@dataclass(frozen=True)
class SearchRow:
    """The trials of one row on one task.

    ``judge``: the part of the data that scores them; ``steps``: training steps of all its cells; ``chosen``: the
    settings of the choice, None where no trial is done; ``edge``: keys whose chosen value is the lowest or highest that
    was tried; ``plateau``: by key the lowest and highest value that is within ``search.within`` points of the best,
    everything else like the best's.
    """

    row: dict[str, Any]
    method: str
    backbone: str
    task: str
    recipe: str
    judge: str
    metric: str
    higher_is_better: bool
    trials: tuple[Trial, ...]
    steps: int = 0
    chosen: dict[str, Any] | None = None
    best: float | None = None
    edge: tuple[str, ...] = ()
    plateau: dict[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The values that tell the row from others."""
        return " ".join(str(value) for value in self.row.values())

    @property
    def label(self) -> str:
        """The row's name and its task."""
        return f"{self.name} on {self.task}"


@dataclass(frozen=True)
class Search:
    """A search with all its trials; ``sha256`` is of everything else in it."""

    schema: int
    name: str
    search: SearchSpec
    rows: tuple[SearchRow, ...]
    sha256: str = ""

    @property
    def source(self) -> str:
        """What a recipe gives as the source of a value that the search chose."""
        return f"search {self.name} {self.sha256[:16]}"

    @property
    def missing(self) -> int:
        """Trials with a cell that was not run."""
        return sum(trial.status == "missing" for row in self.rows for trial in row.trials)

    def write(self, results: Path) -> Path:
        """Write ``results/searches/<name>.json``, whole or not at all."""
        return write_json(results / FOLDER / f"{self.name}.json", self)


def read_search(path: Path) -> Search:
    """The search in ``path``.

    Raises:
        UserError: for a file that is no search of this version, or that was changed after it was written.
    """
    again = "run uora-bench search again"
    found = read_json(path, Search, SCHEMA, "search", again)
    if found.sha256 != sha256_of(found):
        raise UserError(f"the search '{path}' is not as it was written; {again}")
    return found


def earlier_hash(results: Path, name: str) -> str | None:
    """The sha256 of the search ``name`` that is below ``results``.

    None where there is none, or not as it was written.
    """
    path = results / FOLDER / f"{name}.json"
    try:
        return read_search(path).sha256 if path.is_file() else None
    except UserError:
        return None


def check_search(grid: Grid) -> SearchSpec:
    """The search of ``grid``, a whole one.

    Raises:
        UserError: for an experiment without one, unequal trials that nothing explains, a judge that trains or that
            tables report, and more steps than the budget.
    """
    name, spec = grid.experiment.name, grid.experiment.search
    if spec is None:
        raise UserError(f"experiment={name} has no `search:`; docs/searches.md says how one is written")
    rows = _groups(grid, spec)
    _check_rows(grid, spec)
    for (_, task), trials in rows.items():
        for planned in (one for cells in trials.values() for one in cells):
            _check_judge(planned, task)
            recipe_name(planned, spec, name)
    counts = {f"{' '.join(key)} on {task}": len(trials) for (key, task), trials in rows.items()}
    odd = {label: count for label, count in counts.items() if count != spec.trials}
    if odd and not spec.unequal:
        label, count = next(iter(odd.items()))
        raise UserError(
            f"search {name}: {label} has {count} trials, not {spec.trials}; give every row as many, or say why in "
            "search.unequal"
        )
    if spec.steps is not None:
        _check_steps(name, spec.steps, rows)
    return spec


_Groups = dict[tuple[tuple[str, ...], str], dict[str, list[Planned]]]


def _groups(grid: Grid, spec: SearchSpec) -> _Groups:
    """(row, task) -> settings as text -> its cells, one a seed."""
    found: _Groups = {}
    for planned in grid.items:
        if planned.cell is not None:
            row = tuple(str(preset.read_value(key, planned.row[key])) for key in spec.row if key in planned.row)
            own = found.setdefault((row, planned.cell.task.name), {})
            own.setdefault(json.dumps(_settings(planned, spec), sort_keys=True, default=str), []).append(planned)
    return found


def _settings(planned: Planned, spec: SearchSpec) -> dict[str, Any]:
    kept = {k: v for k, v in planned.row.items() if k not in spec.row and k not in _LABELS}
    return {k: preset.read_value(k, v) for k, v in kept.items()}


def _check_rows(grid: Grid, spec: SearchSpec) -> None:
    """Raise `UserError` for keys of ``spec.row`` that no row has, and where a row would mix methods or backbones."""
    keys = dict.fromkeys(key for planned in grid.items for key in planned.row)
    for key in spec.row:
        if key not in (*keys, *_OF_A_ROW):
            raise UserError(f"search.row: no row of {grid.experiment.name} has '{key}'{nearest(key, keys)}")
    for key in _OF_A_ROW:
        values = dict.fromkeys(str(planned.row[key]) for planned in grid.items if key in planned.row)
        if key not in spec.row and len(values) > 1:
            raise UserError(
                f"search.row has no '{key}', so that trials of {' and '.join(list(values)[:2])} would be one row's; a "
                f"{key} is compared, not chosen: add {key}"
            )


def _check_judge(planned: Planned, task: str) -> None:
    """Raise `UserError` where the part that scores the trials trains them, or is what tables report."""
    assert planned.cell is not None
    train, dev, test = (getattr(planned.cell.task.splits, role) for role in ("train", "dev", "test"))
    fix = "set task.splits.train='train[:80%]' and task.splits.dev='train[80%:]', both in % or both in rows"
    if may_share_rows(dev, train):
        raise UserError(f"a search must not be judged by {dev} of {task}, which {train} trains on; {fix}")
    names, of_train = ({part.name for part in split_parts(text)} for text in (dev, train))
    outside = not names <= of_train and (test is None or any(name.startswith("test") for name in names))
    if outside or (test is not None and may_share_rows(dev, test)):
        raise UserError(f"a search must not be judged by {dev} of {task}, which tables report; {fix}")


def _check_steps(name: str, most: int, rows: _Groups) -> None:
    for (key, task), trials in rows.items():
        cells = [planned.cell for own in trials.values() for planned in own if planned.cell is not None]
        limits = [cell.trainer.max_steps for cell in cells]
        if None in limits:
            raise UserError(f"search {name}: a budget in steps (search.steps) needs trainer.max_steps in every trial")
        if (total := sum(limit or 0 for limit in limits)) > most:
            raise UserError(f"search {name}: {' '.join(key)} on {task} takes {total} steps; search.steps is {most}")


def search_of(grid: Grid, records: Sequence[CellRecord]) -> Search:
    """What ``records`` say of the trials of ``grid``."""
    spec, matcher = check_search(grid), diff.Matcher(diff.Records(records))
    rows = []
    for (_, task), trials in _groups(grid, spec).items():
        own = [[matcher.record(p, p.cell) for p in cells if p.cell is not None] for cells in trials.values()]
        every = [_settings(cells[0], spec) for cells in trials.values()]
        varied = [k for k in dict.fromkeys(k for one in every for k in one) if len({str(s.get(k)) for s in every}) > 1]
        varied = varied or list(every[0])
        found = tuple(
            _trial({k: s[k] for k in varied if k in s}, [p.cell.seed for p in cells if p.cell], runs, spec)
            for s, cells, runs in zip(every, trials.values(), own, strict=True)
        )
        first = next(iter(trials.values()))[0]
        assert first.cell is not None
        cell = first.cell
        row = SearchRow(
            _names(first, spec),
            cell.method.name,
            cell.backbone.name,
            task,
            recipe_name(first, spec, grid.experiment.name),
            cell.task.splits.dev,
            cell.task.metric.primary,
            cell.task.metric.higher_is_better,
            found,
            sum(r.epochs[-1].step for runs in own for r in runs if r is not None and r.epochs),
        )
        rows.append(_chosen(row, spec))
    search = Search(SCHEMA, grid.experiment.name, spec, tuple(rows))
    return replace(search, sha256=sha256_of(search))


def _names(planned: Planned, spec: SearchSpec) -> dict[str, Any]:
    """What tells the row of ``planned`` apart: its value of every key of ``spec.row``."""
    return {key: preset.read_value(key, planned.row[key]) for key in spec.row if key in planned.row}


def recipe_name(planned: Planned, spec: SearchSpec, search: str) -> str:
    """The name of the recipe of the row of ``planned``; raises `UserError` for one that no file can have."""
    assert planned.cell is not None
    name = spec.recipe or search
    for key, value in _names(planned, spec).items():
        name = name.replace(f"{{{key}}}", str(value))
    if not all(_RECIPE.fullmatch(part) and is_folder_name(part) for part in name.split("/")):
        known = ", ".join(f"{{{key}}}" for key in spec.row)
        raise UserError(f"search.recipe: {name!r} is no name of a recipe; write words, and of the row's keys {known}")
    return f"{planned.cell.method.name}/{name}"


def _trial(settings: dict[str, Any], seeds: list[int], runs: Sequence[CellRecord | None], spec: SearchSpec) -> Trial:
    cells = {seed: run.cell_id for seed, run in zip(seeds, runs, strict=True) if run is not None}
    scores = {}
    for seed, run in zip(seeds, runs, strict=True):
        result = run.scores.get(spec.rule) if run is not None else None
        value = result.scores.get("dev", {}).get(run.metric.primary) if run is not None and result is not None else None
        if run is not None and value is not None:
            scores[seed] = round(float(value) * run.metric.scale, 6)
    failed = next((run.reason or "" for run in runs if run is not None and run.status == "failed"), None)
    if failed is not None:
        return Trial(settings, cells, scores, None, "failed", failed)
    if len(cells) < len(seeds):
        return Trial(settings, cells, scores)
    if len(scores) < len(seeds):
        return Trial(settings, cells, scores, None, "failed", f"no score under the rule {spec.rule}")
    return Trial(settings, cells, scores, statistics.fmean(scores.values()), "done")


def _chosen(row: SearchRow, spec: SearchSpec) -> SearchRow:
    """``row`` with its choice: of equals the smallest values, key by key."""
    sign = 1.0 if row.higher_is_better else -1.0
    done = sorted((t for t in row.trials if t.score is not None), key=lambda t: _order(t.settings))
    if not done:
        return row
    best = max(done, key=lambda t: sign * (t.score or 0.0))
    assert best.score is not None
    near = [t for t in done if t.score is not None and abs(best.score - t.score) <= spec.within]
    chosen = best if spec.choose == "best" else near[0]
    edge, plateau = [], {}
    for key, value in chosen.settings.items():
        if _is_number(value):
            tried = sorted(t.settings[key] for t in _peers(row.trials, chosen, key))
            if value in (tried[0], tried[-1]):
                edge.append(key)
            plateau[key] = _around(best, [t for t in _peers(row.trials, best, key) if t.score is not None], key, near)
    return replace(row, chosen=chosen.settings, best=best.score, edge=tuple(edge), plateau=plateau)


def _order(settings: Mapping[str, Any]) -> list[tuple[bool, float, str]]:
    return [(not _is_number(v), float(v) if _is_number(v) else 0.0, str(v)) for _, v in sorted(settings.items())]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _peers(trials: Sequence[Trial], like: Trial, key: str) -> list[Trial]:
    """The trials that differ from ``like`` in ``key`` alone; all, where there are none: points that were drawn."""
    rest = {k: v for k, v in like.settings.items() if k != key}
    numbers = [t for t in trials if _is_number(t.settings.get(key))]
    alike = [t for t in numbers if {k: v for k, v in t.settings.items() if k != key} == rest]
    return alike if len(alike) > 1 else numbers


def _around(best: Trial, peers: Sequence[Trial], key: str, near: Sequence[Trial]) -> tuple[float, float]:
    """The lowest and highest value of ``key`` around the best's between which every trial is ``near`` the best."""
    ordered = sorted(peers, key=lambda t: t.settings[key])
    low = high = ordered.index(best)
    while low > 0 and ordered[low - 1] in near:
        low -= 1
    while high + 1 < len(ordered) and ordered[high + 1] in near:
        high += 1
    return float(ordered[low].settings[key]), float(ordered[high].settings[key])

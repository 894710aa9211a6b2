"""A search and what came of it: the rows of its grid, their trials with the scores in the records, and the choice.

`Search` is what ``results/searches/<name>.json`` holds. It follows from the grid and the records alone, so that the
same records give the same bytes, however often the search was stopped.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from uora_bench.errors import UserError
from uora_bench.grid import diff
from uora_bench.grid.expand import Grid
from uora_bench.grid.search_spec import SearchSpec
from uora_bench.grid.trials import PlannedTrial, names, recipe_name, trials_of
from uora_bench.records.record import CellRecord
from uora_bench.util.json_file import read_json, sha256_of, write_json

SCHEMA = 1
FOLDER = "searches"  # below results.dir


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
    def chosen_score(self) -> float | None:
        """The score of the choice, which is ``best`` unless the smallest values near it were chosen."""
        return next((trial.score for trial in self.trials if trial.settings == self.chosen), None)

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


def remarks(row: SearchRow) -> list[str]:
    """What is to be known of the choice of ``row``: where it lies among what was tried, and whether trials differ."""
    found, scores = [], [trial.score for trial in row.trials if trial.score is not None]
    if row.chosen_score != row.best:
        found.append(f"the best trial has {row.best:.2f}")
    if len(scores) > 1 and len(set(scores)) == 1:
        found.append(f"all {len(scores)} scores are equal, the smallest values were taken")
    if row.edge:
        found.append(f"at the edge of what was tried: {', '.join(edge_of(row, key) for key in row.edge)}")
    return found


def edge_of(row: SearchRow, key: str) -> str:
    """``key`` of the choice of ``row``, and which end of the values that were tried it is."""
    tried = [trial.settings[key] for trial in row.trials if _is_number(trial.settings.get(key))]
    ends = [word for word, end in (("lowest", min(tried)), ("highest", max(tried))) if (row.chosen or {})[key] == end]
    return f"{' and '.join(ends)} {key}".strip()


def search_of(grid: Grid, records: Sequence[CellRecord]) -> Search:
    """What ``records`` say of the trials of ``grid``, which `search_checks.check_search` has found fair."""
    spec, matcher = grid.experiment.search, diff.Matcher(diff.Records(records))
    assert spec is not None
    rows = []
    for (_, task), trials in trials_of(grid, spec).items():
        own = [[matcher.record(p, p.cell) for p in trial.cells if p.cell is not None] for trial in trials]
        found = tuple(_trial(trial, runs, spec) for trial, runs in zip(trials, own, strict=True))
        first = trials[0].cells[0]
        assert first.cell is not None
        cell = first.cell
        done = next((run for runs in own for run in runs if run is not None and run.status == "done"), None)
        metric = cell.task.metric if done is None else done.metric  # of rows of one's own the data decide
        row = SearchRow(
            names(first, spec),
            cell.method.name,
            cell.backbone.name,
            task,
            recipe_name(first, spec, grid.experiment.name),
            cell.task.splits.dev,
            metric.primary,
            metric.higher_is_better,
            found,
            sum(r.epochs[-1].step for runs in own for r in runs if r is not None and r.epochs),
        )
        rows.append(_chosen(row, spec))
    search = Search(SCHEMA, grid.experiment.name, spec, tuple(rows))
    return replace(search, sha256=sha256_of(search))


def _trial(trial: PlannedTrial, runs: Sequence[CellRecord | None], spec: SearchSpec) -> Trial:
    settings, seeds = trial.settings, [planned.cell.seed for planned in trial.cells if planned.cell is not None]
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
            if tried[0] < tried[-1] and value in (tried[0], tried[-1]):
                edge.append(key)
            plateau[key] = _around(best, _peers(row.trials, best, key), key, near)
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

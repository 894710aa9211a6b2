"""What tables say of searches: how many trials chose a row's rate, how good the best of k is, and where it lies."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from uora_bench.config.compose import COMMAND_LINE
from uora_bench.grid.diff import settings_of
from uora_bench.grid.race import FOLDER as RACES
from uora_bench.grid.race import Lane, Race, read_race
from uora_bench.grid.search import FOLDER, Search, SearchRow, edge_of, read_search
from uora_bench.grid.search import remarks as remarks_of
from uora_bench.grid.table_spec import Rule
from uora_bench.grid.trials import configured, is_of_recipes
from uora_bench.records.record import CellRecord, find_record
from uora_bench.report import aggregate, markdown
from uora_bench.report.aggregate import Costs
from uora_bench.report.collect import Run, finished
from uora_bench.util.words import count

Kept = TypeVar("Kept")
Number = TypeVar("Number", int, float)
_RATES = ("trainer.lr_adapter", "trainer.lr_head")
_DRAWS = 2000  # bootstrap samples of trials


def of_results(runs: Sequence[Run]) -> list[Search]:
    """The searches in the results that ``runs`` are of, by name."""
    return _beside(runs, FOLDER, read_search)


def _beside(runs: Sequence[Run], folder: str, reader: Callable[[Path], Kept]) -> list[Kept]:
    """All that ``reader`` reads in the ``folder`` of the results that ``runs`` are of."""
    places = [root / folder for root in sorted({run.folder.parent.parent for run in runs if run.folder is not None})]
    # all files are put in place whole, so that the time of the folder tells of every change
    return [one for place in places if place.is_dir() for one in _read_all(place, place.stat().st_mtime_ns, reader)]


@functools.lru_cache(maxsize=64)
def _read_all(folder: Path, changed: int, reader: Callable[[Path], Any]) -> list[Any]:
    return [reader(path) for path in sorted(folder.glob("*.json"))]


def behind(run: Run) -> tuple[Search, SearchRow] | None:
    """The search that chose a setting of a finished cell, and its row.

    The row is that of the cell's task, else of the first task of its recipe. None where no setting is from a search,
    its file has changed or is missing, or the search chose otherwise.
    """
    found = named(run)
    return found if found is not None and _as_chosen(run, *found) else None


def named(run: Run) -> tuple[Search, SearchRow] | None:
    """As `behind`, whatever the search chose."""
    labels = [source for source in run.record.sources.values() if source.startswith("search")]
    if not labels:
        return None
    for search in of_results([run]):
        # recipes that are older than searches as files say no more than "search"
        if "search" not in labels and search.source not in labels:
            continue
        rows = [row for row in search.rows if row.recipe == run.record.recipe["name"]]
        if rows:  # variants of a method may share a recipe
            rows = [row for row in rows if _is_row(run, row)] or rows
            return search, next((row for row in rows if row.task == run.task), rows[0])
    return None


def _is_row(run: Run, row: SearchRow) -> bool:
    cell = settings_of(run.record.cell)
    own = {key: configured(key, row.method) for key in row.row if key not in ("method", "backbone")}
    return all(str(cell.get(name)) == str(row.row[key]) for key, name in own.items())


def _as_chosen(run: Run, search: Search, row: SearchRow) -> bool:
    """Whether what ``run`` says is from ``search`` is what it chose: somebody may have changed the recipe since.

    Recipes older than searches as files are believed: ranks that were searched apart are one row there.
    """
    cell, sources = settings_of(run.record.cell), run.record.sources
    return all(cell.get(key) == value for key, value in (row.chosen or {}).items() if sources.get(key) == search.source)


def budget(run: Run) -> dict[str, str]:
    """How the learning rate of a finished cell was come by, for people: the facts of ``UC02``."""
    sources = run.record.sources
    alone = run.record.counts is not None and not run.record.counts.adapter  # a head without an adapter
    rate = next((sources[key] for key in (_RATES[1:] if alone else _RATES) if key in sources), None)
    if rate == COMMAND_LINE:
        return {"": "rate set by hand"}
    if rate is not None and rate.startswith("fixed in search"):
        return {"": "rate set by hand in its search"}
    if rate is not None and rate.startswith("search"):
        found = named(run)
        if found is None:
            return {"": "rate from a search without a file"}
        row = found[1]
        if not _as_chosen(run, *found):
            return {"": "rate that its search did not choose"}
        trial = trial_of(run, *found)
        elsewhere = [row.task] if row.task != run.task else []
        if trial is not None and not _one_model(trial[0].cell, run.record.cell):
            elsewhere.append(f"the backbone {trial[0].cell['backbone']['name']}")
        on = f" on {' and '.join(elsewhere)}" if elsewhere else ""
        unlike = _unlike(run, row, trial[0]) if trial is not None else ""
        return {"": f"rate chosen from {len(row.trials)} trials{on}{unlike}"}
    if rate is None:
        return {"": "rate not searched: the default of the suite"}
    published = run.record.recipe["status"] == "published"
    return {"": "rate as published" if published else "rate of the recipe, not searched"}


def trial_of(run: Run, search: Search, row: SearchRow) -> tuple[CellRecord, Path] | None:
    """The record of a finished trial of ``row``, beside that of ``run``, and its folder; None where there is none."""
    if run.folder is None:
        return None
    folder = run.folder.parent / search.name
    changed = folder.stat().st_mtime_ns if folder.is_dir() else 0  # as in `_beside`
    done = (trial for trial in row.trials if trial.status == "done")
    records = (_record(folder, changed, cell) for trial in done for cell in trial.cells.values())
    return next(((record, folder) for record in records if record is not None), None)


@functools.lru_cache(maxsize=256)
def _record(folder: Path, changed: int, cell_id: str) -> CellRecord | None:
    return find_record(folder, cell_id)


def _unlike(run: Run, row: SearchRow, trial: CellRecord) -> str:
    """Settings that all trials of ``row`` were given and that the cell has otherwise, but for its data; the precision.

    ``trainer.precision=auto`` is another one on another processor.
    """
    ours, theirs = settings_of(run.record.cell), settings_of(trial.cell)
    given = [key for key, source in trial.sources.items() if source == COMMAND_LINE]
    keys = [key for key in given if is_of_recipes(key) or key.startswith("backbone.")]
    other = {f"{key}={theirs[key]}" for key in keys if key not in row.trials[0].settings
             and key in ours and key in theirs and ours[key] != theirs[key]}  # fmt: skip
    if trial.precision != run.record.precision and None not in (trial.precision, run.record.precision):
        other -= {f"trainer.precision={theirs.get('trainer.precision')}"}
        other.add(f"trainer.precision={trial.precision}")
    return f" with {', '.join(sorted(other))}" if other else ""


def _one_model(cell: dict[str, Any], other: dict[str, Any]) -> bool:
    weights = {cell.get("weights"), other.get("weights")} - {None}
    return bool(cell["backbone"]["name"] == other["backbone"]["name"] and len(weights) < 2)


def costs(runs: Sequence[Run]) -> Costs:
    """The costs of the finished cells of one row, and of the searches that chose their rates."""
    spent = [(run.task, *_spent(run)) for run in finished(runs)]
    return replace(
        aggregate.costs(runs),
        searched=aggregate.usual((task, seconds) for task, seconds, _ in spent),
        searched_flops=aggregate.usual((task, flops) for task, _, flops in spent),
    )


def _spent(run: Run) -> tuple[float | None, int | None]:
    """Seconds of training and evaluation, and FLOPs of training, of all trials of the search behind ``run``.

    None where a trial's record does not say, or no search chose.
    """
    found = behind(run)
    if found is None or run.folder is None:
        return None, None
    folder = run.folder.parent / found[0].name
    changed = folder.stat().st_mtime_ns if folder.is_dir() else 0  # as in `_beside`
    return _trials(folder, changed, tuple(cell for trial in found[1].trials for cell in trial.cells.values()))


@functools.lru_cache(maxsize=256)
def _trials(folder: Path, changed: int, cells: tuple[str, ...]) -> tuple[float | None, int | None]:
    records = [find_record(folder, cell) for cell in cells]
    seconds = [None if r is None or r.seconds is None else r.seconds.train + r.seconds.eval for r in records]
    flops = [None if r is None or r.work is None else r.work.training for r in records]
    return _total(seconds), _total(flops)


def _total(values: Sequence[Number | None]) -> Number | None:
    known = [value for value in values if value is not None]
    return sum(known[1:], known[0]) if known and len(known) == len(values) else None


def at_edge(runs: Sequence[Run]) -> str:
    """Whether the choice behind the cells of one row lies at the edge of what was tried; "" where it does not."""
    edges = dict[str, None]()
    for run in finished(runs):
        found = behind(run)
        if found is not None and (keys := [key for key in found[1].edge if key in _RATES]):
            edges[f"{', '.join(edge_of(found[1], key) for key in keys)} on {found[1].task}"] = None
    return f"optimum at the edge of the space of its search: {'; '.join(edges)}" if edges else ""


def remarks(runs: Sequence[Run], rule: Rule) -> list[str]:
    """What a table says of the cells of one row in one column: an optimum at the edge, a race and where it stopped.

    ``rule``: of the table; a race by another one decided nothing of its scores.
    """
    edge = at_edge(runs)
    cells = {run.cell_id: run for run in finished(runs)}
    own = [(race, lane) for race, lane in races(runs) if race.rule == rule and cells.keys() & set(lane.cells)]
    texts = [race_text(race, lane, _records_missing(next(iter(cells.values())), lane)) for race, lane in own]
    return ([edge] if edge else []) + texts


def _records_missing(run: Run, lane: Lane) -> int:
    """How many cells behind the verdict of ``lane`` have no record beside that of ``run``."""
    if (folder := run.folder) is None:
        return 0
    changed = folder.stat().st_mtime_ns  # as in `_beside`
    return sum(_record(folder, changed, cell) is None for cell in (*lane.cells, *lane.reference))


def races(runs: Sequence[Run]) -> list[tuple[Race, Lane]]:
    """The lanes of all races in the results that ``runs`` are of."""
    return [(race, lane) for race in _beside(runs, RACES, read_race) for lane in race.lanes]


def race_text(race: Race, lane: Lane, missing: int = 0) -> str:
    """Where a lane stopped, and what follows for the numbers of its row; ``missing``: records behind its verdict."""
    against = " ".join(f"{key}={value}" for key, value in race.race.reference.items())
    margin = "" if race.race.margin is None else f", margin {race.race.margin:g}"
    stopped = f"{lane.verdict} after {lane.seeds} of {lane.planned} seeds"
    counts = "no verdict yet" if lane.verdict == "racing" else "this verdict counts"
    if missing:
        counts = f"{count(missing, 'record')} behind it missing, so that it does not count until the race goes on"
    return (
        f"raced against {against} (α {race.race.alpha:g}{margin}): {stopped}; {counts}, "
        "a p of these seeds is not corrected for the looks"
    )


def expected_best(scores: Sequence[float], higher_is_better: bool = True) -> list[tuple[float, float, float]]:
    """The expected best of k trials, k = 1 … n, drawn with replacement from the n ``scores``, in their unit.

    With a 95 % interval: percentiles over trials drawn again.

    The estimator is that of Dodge et al. 2019 (arXiv 1909.03004, equation 3). It is biased for k near n, and the
    interval is too narrow for few trials.
    """
    sign, values = (1.0 if higher_is_better else -1.0), np.asarray(scores, dtype=float)
    drawn = np.random.default_rng(0).choice(values * sign, size=(_DRAWS, len(values)))
    found = []
    for k in range(1, len(values) + 1):
        low, high = np.percentile(_best_of(drawn, k), [2.5, 97.5])
        mean = float(_best_of(values[None] * sign, k)[0])
        found.append((sign * mean, float(min(sign * low, sign * high)), float(max(sign * low, sign * high))))
    return found


def _best_of(samples: np.ndarray, k: int) -> np.ndarray:
    """The mean of the largest of ``k`` draws, of each row of ``samples``."""
    shares = (np.arange(samples.shape[1] + 1) / samples.shape[1]) ** k
    return np.asarray(np.sort(samples, axis=1) @ np.diff(shares))


def scores_of(row: SearchRow) -> list[float]:
    """The scores of all trials of ``row`` in points; a failed one counts as the worst of the others."""
    done = [trial.score for trial in row.trials if trial.score is not None]
    worst = (min if row.higher_is_better else max)(done, default=0.0)
    return [worst if trial.score is None else trial.score for trial in row.trials] if done else []


def render_search(search: Search) -> str:
    """A search as Markdown: a line for every row and task."""
    lines = [
        f"# Search {search.name}",
        "",
        f"Made by `uora-bench search`; all trials are in `{search.name}.json` (sha256 `{search.sha256[:16]}`). Scores "
        f"are of the part that judged, under the rule `{search.search.rule}`. Expected best of k trials, drawn at "
        "random from these: Dodge et al. 2019, with a 95 % interval over trials (docs/searches.md).",
        "",
    ]
    if search.search.unequal:
        lines += [f"**UC02**, unequal numbers of trials: {search.search.unequal}.", ""]
    rows = []
    for row in search.rows:
        failed = sum(trial.status == "failed" for trial in row.trials)
        chosen = ", ".join(f"{key} {value}" for key, value in (row.chosen or {}).items()) or "–"
        best = "–" if row.chosen_score is None else f"{row.chosen_score:.2f}"
        curve = "; ".join(
            f"{k}: {mean:.2f} [{low:.2f}, {high:.2f}]"
            for k, (mean, low, high) in enumerate(expected_best(scores_of(row), row.higher_is_better), start=1)
            if k in (1, 2, 3, 4, 5, 10, 20, 50) or k == len(row.trials)
        )
        near = ", ".join(
            f"{key} {low:g} to {high:g}" if low < high else f"{key} {low:g} alone"
            for key, (low, high) in row.plateau.items()
        )
        counts = [str(len(row.trials)), str(failed), str(row.steps)]
        own = [curve or "–", near or "–", "; ".join(remarks_of(row)) or "–"]
        rows.append([row.name, row.task, row.judge, *counts, chosen, best, *own])
    of_words = ["expected best of k", f"within {search.search.within:g} of the best", "remarks"]
    heading = ["row", "task", "judge", "trials", "failed", "steps of all", "choice", "score", *of_words]
    return "\n".join([*lines, *markdown.grid(heading, rows, ["row", "task", "judge", "choice", *of_words])]) + "\n"

"""Which record belongs to which cell of a grid: the first step of every table, figure and page.

A cell of the grid is found by `ids.key_of`, as `plan` finds it, so that a record made with other settings is never
taken for it. Nothing is loaded or looked for outside ``results/``, but for the data files of a cell that has records of
several data.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uora_bench.config import ids, metrics, plugins, registry
from uora_bench.config.cell import MetricSpec
from uora_bench.config.data_source import OWN_ROWS
from uora_bench.errors import UserError, nearest
from uora_bench.grid import diff, expand, preset
from uora_bench.grid.data_files import DataFiles
from uora_bench.grid.preset import Experiment
from uora_bench.grid.request import GridRequest
from uora_bench.records.record import CellRecord, read_records, record_paths
from uora_bench.report import grades
from uora_bench.util.inside import is_folder_name

_NOT_SCIENCE = ("experiment_name", "data.root", "results.dir", "runs.dir", "tracker", "force", "dry_run")


@dataclass(frozen=True)
class Run:
    """One cell: where it is in the grid, and its record where there is one.

    ``status`` missing: nothing was recorded yet, failed: ``reason`` says why.
    """

    task: str
    seed: int
    row: dict[str, Any]  # the keys that tell this row from others
    metric: MetricSpec
    splits: Mapping[str, Any]  # role -> what the data set calls it (or None)
    status: str = "missing"  # done | failed | missing
    reason: str = ""
    recorded: CellRecord | None = None
    overrides: tuple[str, ...] = ()  # the command line of the cell
    cell_id: str | None = None  # None: nothing was recorded yet
    folder: Path | None = None  # of the record

    @property
    def record(self) -> CellRecord:
        """The record of a cell that has one."""
        assert self.recorded is not None
        return self.recorded

    def score(self, rule: str, split: str, metric: str) -> float | None:
        """The score under a selection rule, in the metric's own unit; None where the record has none."""
        found = self._scores(rule, split).get(metric)
        return float(found) if isinstance(found, (int, float)) else None

    def absent(self, rule: str, split: str, metric: str) -> str:
        """Why a finished cell has no such score, as its metric said; "" where it said nothing."""
        return str(self._scores(rule, split).get("absent", {}).get(metric, ""))

    def _scores(self, rule: str, split: str) -> Mapping[str, Any]:
        result = self.recorded.scores.get(rule) if self.recorded is not None else None
        return result.scores.get(split, {}) if result is not None else {}


def finished(runs: Iterable[Run]) -> list[Run]:
    """Those of ``runs`` that have a finished record."""
    return [run for run in runs if run.status == "done"]


@dataclass(frozen=True)
class Collection:
    """The cells of one experiment with their records.

    ``orphans``: records in its folder that belong to no cell of the grid (made with other settings, or by hand);
    ``aside``: notes about records of other data.
    """

    experiment: Experiment
    runs: tuple[Run, ...]
    orphans: tuple[str, ...]
    aside: tuple[str, ...] = ()

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks of the cells, each once, in their order."""
        return tuple(dict.fromkeys(run.task for run in self.runs))


def collect(request: GridRequest, results: Path) -> Collection:
    """The cells that ``request`` asks for, with their records below ``results``.

    An experiment without a preset is the records of its folder.

    Raises:
        UserError: for an unknown experiment, a mistake in the grid, or record files that cannot be read.
    """
    given = request.axes.get("experiment_name", [""])[0]
    name = request.experiment or given
    own = preset.is_file(name)
    folder = results / "records" / (given or (preset.load_experiment(name).name if own else name))
    if not is_folder_name(folder.name) or folder.parent != results / "records":
        raise UserError(f"experiment={name!r} must be a plain folder name, e.g. experiment=minilm_glue")
    records = diff.Records(read_records(folder))
    if not own and name not in registry.choices("experiment"):
        return _without_preset(name, records, folder)
    experiment, planned_cells, shown = _cells(request, name)
    mine = _row_keys(experiment, request)
    matcher, runs, used = diff.Matcher(records), {}, set()
    choice = _Choice(records, planned_cells, given=request.axes.get("data.root", [None])[0])
    for planned in sorted(planned_cells, key=lambda p: p.after is not None):
        cell = planned.cell
        if cell is None:
            continue
        row = {k: preset.read_value(k, v) for k, v in planned.row.items() if k in mine}
        run = Run(cell.task.name, cell.seed, row, cell.task.metric, vars(cell.task.splits), overrides=planned.overrides)
        candidates = matcher.candidates(planned, cell)
        of_cell = [entry.record for entry in candidates]
        used |= {one.cell_id for one in of_cell}
        done = [one for one in of_cell if one.status == "done"]
        found = choice.record(planned, done) if done else of_cell[0] if of_cell else None
        if found is not None:
            run = with_record(run, found, folder)
            if found.status == "done":
                matcher.done[planned.key] = found.cell_id
        if planned.key in shown:
            runs[planned.key] = run
    orphans = tuple(f.record.cell_id for f in records.found if f.record.cell_id not in used)
    return Collection(experiment, tuple(runs[p.key] for p in planned_cells if p.key in runs), orphans, choice.told())


@dataclass
class _Choice:
    """Which record stands for a cell that has several of different data. ``given``: data.root, where it was named."""

    records: diff.Records
    planned: Sequence[expand.Planned]
    given: str | None
    _files: DataFiles = field(default_factory=DataFiles)
    _aside: dict[str, list[str]] = field(default_factory=dict)  # why -> cell_ids

    def record(self, planned: expand.Planned, done: Sequence[CellRecord]) -> CellRecord:
        """The one of ``done`` (the last written first) that is of the data as it is now.

        Where no file of it can be looked at, the one of the data that most cells have a record of.
        """
        if len({_data(one) for one in done}) < 2 or planned.cell is None:
            return done[0]
        root = self.given or (planned.settings.data_root if planned.settings is not None else None)
        cell = planned.cell
        now = [one for one in done if self._files.changed(cell, root, one) == []]
        cells = self._cells_of_data()
        chosen = now[0] if now else max(done, key=lambda one: cells[cell.task.name, _data(one)])
        why = "the data files as they are now" if now else "the data that most cells have a record of"
        self._aside.setdefault(why, []).extend(o.cell_id for o in done if _data(o) != _data(chosen))
        return chosen

    def told(self) -> tuple[str, ...]:
        """Lines for people: records that are not shown."""
        return tuple(
            f"Some cells have records of several versions of the data: those of {why} are shown; not shown: "
            f"{', '.join(sorted(ids))}."
            for why, ids in self._aside.items()
        )

    def _cells_of_data(self) -> Counter[tuple[str, tuple[tuple[str, str], ...]]]:
        """(task, data) -> how many cells of the grid have a finished record of it."""
        return Counter(
            (planned.cell.task.name, data)
            for planned in self.planned
            if planned.cell is not None
            for data in {
                _data(f.record)
                for f in self.records.by_key.get(ids.key_of(planned.canonical), ())
                if f.record.status == "done"
            }
        )


def _data(record: CellRecord) -> tuple[tuple[str, str], ...]:
    """What tells the data of a record from others: its files where they are known, else its rows."""
    known = record.provenance
    return tuple(sorted((known.data_rows or known.data_files or known.data).items()))


def with_record(run: Run, record: CellRecord, folder: Path) -> Run:
    """``run`` with its record, and with the grades that lie beside it in ``folder``.

    A metric that the data decides is the one that the record found.
    """
    done = record.status == "done"
    own = done and record.cell["task"].get("source", {}).get("benchmark") == OWN_ROWS
    scored = {role for result in record.scores.values() for role in result.scores} if own else set()
    there = {role: name if role in scored else None for role, name in run.splits.items() if role in ("dev", "test")}
    return replace(
        run,
        # which parts a file of the user's own has is known once it was read
        splits={**run.splits, **there} if own else run.splits,
        metric=record.metric if done and run.metric.name == metrics.AUTO else run.metric,
        status=record.status,
        reason=record.reason or "",
        recorded=grades.graded(record, folder) if done else record,
        cell_id=record.cell_id,
        folder=folder,
    )


def run_of(record: CellRecord, row: dict[str, Any], folder: Path) -> Run:
    """A record in ``folder`` as a cell of no grid."""
    task, overrides = record.cell["task"], record.provenance.command
    run = Run(task["name"], record.cell["seed"], row, record.metric, task["splits"], overrides=overrides)
    return with_record(run, record, folder)


def _cells(request: GridRequest, name: str) -> tuple[Experiment, list[expand.Planned], set[str]]:
    """The preset, all its cells and what else is asked for, and the keys of the cells to be shown.

    All, because a cell that is shown may start from one that is not.
    """
    whole = expand.expand_request(replace(request, experiment=name, axes={}, options={}))
    asked = {k: v for k, v in request.axes.items() if k not in _NOT_SCIENCE}
    if not asked:
        return whole.experiment, list(whole.items), {p.key for p in whole.items}
    cells = {p.key: p for p in whole.items if not preset.matches(p.row, asked)}
    shown = {p.key: p for p in whole.items if preset.matches(p.row, asked)}
    try:
        shown |= {p.key: p for p in expand.expand_request(request).items if p.cell is not None}
    except UserError:
        if not shown:
            raise
    return whole.experiment, list((cells | shown).values()), set(shown)


def _row_keys(experiment: Experiment, request: GridRequest) -> set[str]:
    """The keys that make rows: those the preset varies and those of the command line; never what a rule sets."""
    keys = set(experiment.axes) | set(request.axes)
    for include in experiment.include:
        keys |= set(include)
    return keys - {"seed", "task", *_NOT_SCIENCE}


def _without_preset(name: str, records: diff.Records, folder: Path) -> Collection:
    if not records.found:
        root = folder.parent
        known = {p.name for p in root.iterdir() if record_paths(p)} if root.is_dir() else set()
        names = sorted(known | set(registry.choices("experiment")))
        raise UserError(
            f"no experiment and no records called '{name}'{plugins.absent(name, names)}{nearest(name, names)}"
        )
    flat = [_settings(entry) for entry in records.found]
    varied = _varied(records.found, flat)
    runs: list[Run] = []
    taken: set[tuple[str, str, int]] = set()
    for entry, settings in zip(records.found, flat, strict=True):
        row = {k: settings.get(k) for k in ("method", "backbone", *varied) if k in settings}
        record, cell, task = entry.record, entry.record.cell, entry.record.cell["task"]
        key = (str(row), task["name"], cell["seed"])
        if key in taken:
            row["record"] = record.cell_id[:8]  # alike in all that has a name
        taken.add(key)
        runs.append(run_of(record, row, folder))
    runs.sort(key=lambda r: (str(r.row), r.task, r.seed))
    planned = any(run.record.provenance.launch is not None for run in runs if run.recorded is not None)
    lost = f"No experiment is called {name} here: rows and columns follow from the records. Give its file "
    lost += "(experiment=FILE.yaml), or the folder of its plug-in, for its title, rows and margin."
    return Collection(Experiment(name, {}), tuple(runs), (), (lost,) if planned else ())


def _settings(entry: diff.Found) -> dict[str, Any]:
    """All that may tell a record from another one of its folder."""
    cell = entry.record.cell
    apart = {
        "init_from": entry.started_from,
        "weights": cell.get("weights"),
        "files": cell.get("files"),
        "micro_batch_size": cell.get("micro_batch_size"),
        "data": entry.record.provenance.data.get("dev"),
    }
    names = {"method": cell["method"]["name"], "backbone": cell["backbone"]["name"]}
    return {**entry.flat, **{k: v for k, v in apart.items() if v is not None}, **names}


def _varied(found: Iterable[diff.Found], flat: Iterable[Mapping[str, Any]]) -> list[str]:
    """The settings that differ between records of one method on one task: what a row's name has to say."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for entry, settings in zip(found, flat, strict=True):
        cell = entry.record.cell
        alike = cell["method"]["name"], cell["task"]["name"], cell["backbone"]["name"]
        groups.setdefault(alike, []).append(settings)
    keys: dict[str, None] = {}
    for own in groups.values():
        for key in sorted({k for settings in own for k in settings}):
            if len({str(settings.get(key)) for settings in own}) > 1:
                keys[key] = None
    return list(keys)

"""Which record belongs to which cell of a grid: the first step of every table, figure and page.

A cell of the grid is found by `cell.key_of`, as `plan` finds it, so that a record made with other settings is never
taken for it. Records are read as plain JSON; nothing is hashed, loaded or looked for outside ``results/``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from uora_bench import registry
from uora_bench.cell import MetricSpec, key_of
from uora_bench.errors import UserError, nearest
from uora_bench.plan import diff, grid, preset
from uora_bench.plan.preset import Experiment
from uora_bench.plan.request import Request
from uora_bench.report import grades
from uora_bench.schema import build

_NO_ROW = ("seed", "task", "experiment_name", "data.root", "results.dir", "runs.dir", "tracker", "force")


@dataclass(frozen=True)
class Run:
    """One cell: its place in the grid, and its record where there is one. ``record`` is the JSON of
    `record.CellRecord`; ``status`` missing: nothing was recorded yet, failed: ``reason`` says why."""

    task: str
    seed: int
    row: dict[str, Any]  # the keys that tell this row from others
    metric: MetricSpec
    has_test: bool  # else dev is all there is to score
    status: str = "missing"  # done | failed | missing
    reason: str = ""
    record: dict[str, Any] = field(default_factory=dict)
    words: tuple[str, ...] = ()  # the command line of the cell

    @property
    def cell_id(self) -> str | None:
        found: str | None = self.record.get("cell_id")
        return found

    def score(self, rule: str, split: str, metric: str) -> float | None:
        """The score under a selection rule, in the metric's own unit; None where the record has none."""
        found = self.record.get("scores", {}).get(rule, {}).get("scores", {}).get(split, {}).get(metric)
        return float(found) if isinstance(found, (int, float)) else None


@dataclass(frozen=True)
class Collection:
    """The cells of one experiment with their records; ``strangers``: records in its folder that are of no cell of
    the grid (made with other settings, or by hand)."""

    experiment: Experiment
    runs: tuple[Run, ...]
    strangers: tuple[str, ...]

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(run.task for run in self.runs))


def collect(request: Request, results: Path) -> Collection:
    """The cells that ``request`` asks for, with their records below ``results``. An experiment without a preset is the
    records of its folder.

    Raises:
        UserError: for an unknown experiment, a mistake in the grid, or record files that cannot be read.
    """
    name = request.experiment or request.axes.get("experiment_name", [""])[0]
    folder = results / "records" / name
    records = diff.load(folder)
    diff.check_readable(records, folder)
    if name not in registry.choices("experiment"):
        return _without_preset(name, records, results)
    cells = grid.of(request)
    mine = _row_keys(cells.experiment, request)
    runs: dict[str, Run] = {}
    done: dict[str, str] = {}
    for planned in sorted(cells.items, key=lambda p: p.after is not None):
        if planned.cell is None:
            continue
        row = {k: preset.read_value(k, v) for k, v in planned.row.items() if k in mine}
        task = planned.cell.task
        run = Run(task.name, planned.cell.seed, row, task.metric, task.splits.test is not None, words=planned.words)
        found = _match(planned, records, done.get(planned.after or ""))
        if found is not None:
            raw = grades.graded(found.raw, folder) if found.status == "done" else found.raw
            run = replace(run, status=found.status, reason=found.reason, record=raw)
            if found.status == "done":
                done[planned.key] = found.cell_id
        runs[planned.key] = run
    used = {run.cell_id for run in runs.values()}
    strangers = tuple(f.cell_id for f in records.found if f.cell_id not in used)
    return Collection(cells.experiment, tuple(runs[p.key] for p in cells.items if p.key in runs), strangers)


def _row_keys(experiment: Experiment, request: Request) -> set[str]:
    """The keys that make rows: those the preset varies and those of the command line; never what a rule sets."""
    keys = set(experiment.axes) | set(request.axes)
    for include in experiment.include:
        keys |= set(include)
    return keys - set(_NO_ROW)


def _match(planned: grid.Planned, records: diff.Records, begins: str | None) -> diff.Found | None:
    """The record of ``planned``: a finished one before a failed one, the last written first."""
    found = []
    for entry in records.by_key.get(key_of(planned.canonical), ()):
        if entry.micro_batch_size not in (None, planned.cell and planned.cell.trainer.micro_batch_size):
            continue
        if entry.started_from == (begins if planned.after is not None else None):
            found.append(entry)
    found.sort(key=lambda f: (f.status == "done", str(f.raw["provenance"].get("finished"))), reverse=True)
    return found[0] if found else None


def _without_preset(name: str, records: diff.Records, results: Path) -> Collection:
    if not records.found:
        root = results / "records"
        known = {p.name for p in root.iterdir() if p.is_dir()} if root.is_dir() else set()
        raise UserError(
            f"no experiment and no records called '{name}'{nearest(name, known | set(registry.choices('experiment')))}"
        )
    flat = [
        {**f.flat, "method": f.cell["method"]["name"], "backbone": f.cell["backbone"]["name"]} for f in records.found
    ]
    varied = _varied(records.found, flat)
    runs = []
    for entry, settings in zip(records.found, flat, strict=True):
        row = {k: settings.get(k) for k in ("method", "backbone", *varied) if k in settings}
        task = entry.cell["task"]
        has_test = task["splits"]["test"] is not None
        metric = build(MetricSpec, entry.raw["metric"], "metric")
        raw = grades.graded(entry.raw, results / "records" / name) if entry.status == "done" else entry.raw
        run = Run(task["name"], entry.cell["seed"], row, metric, has_test, entry.status, entry.reason, raw)
        runs.append(replace(run, words=entry.command))
    runs.sort(key=lambda r: (str(r.row), r.task, r.seed))
    return Collection(Experiment(name, "", "", {}), tuple(runs), ())


def _varied(found: Iterable[diff.Found], flat: Iterable[Mapping[str, Any]]) -> list[str]:
    """The settings that differ between records of one method on one task: what a row's name has to say."""
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for entry, settings in zip(found, flat, strict=True):
        place = entry.cell["method"]["name"], entry.cell["task"]["name"], entry.cell["backbone"]["name"]
        groups.setdefault(place, []).append(settings)
    keys: dict[str, None] = {}
    for alike in groups.values():
        for key in sorted({k for settings in alike for k in settings}):
            if len({str(settings.get(key)) for settings in alike}) > 1:
                keys[key] = None
    return list(keys)

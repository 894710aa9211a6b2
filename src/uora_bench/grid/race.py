"""Racing: seeds are added to a row until its comparison with the reference row is decided, or the seeds end.

After n of N seeds the n paired differences of a row on a task are looked at: a two-sided t-test (better, worse), and
with a margin two one-sided ones (equivalent within it). A look may err with what it spends of α, α*(n/N) − α*((n−1)/N)
over the number of comparisons; α*(t) = α ln(1 + (e − 1) t), the Pocock-type function of Lan and DeMets (1983,
Biometrika 70). Looks and comparisons are put together by the union bound, which asks nothing of how they depend on each
other; the t-test asks that differences of one row are independent over seeds and normal.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Gt, Lt

from uora_bench.errors import UserError, nearest
from uora_bench.grid import diff, preset
from uora_bench.grid.expand import Grid, Planned
from uora_bench.grid.table_spec import Rule, TableSpec
from uora_bench.records.record import CellRecord
from uora_bench.util.json_file import read_json, sha256_of, write_json
from uora_bench.util.schema import plain

SCHEMA = 5
FOLDER = "races"  # below results.dir
FIRST = 2  # seeds before the first look
Verdict = Literal["better", "worse", "equivalent", "undecided", "racing", "failed"]


@dataclass(frozen=True)
class RaceSpec:
    """``launcher.race``.

    ``reference``: the values that name the reference row, as ``race.reference.method=lora``; ``alpha``: chance of one
    false verdict or more among all; ``margin``: δ in points, within which rows are equivalent (None: a row without a
    difference takes all its seeds).
    """

    reference: dict[str, Any]
    alpha: Annotated[float, Gt(0), Lt(1)] = 0.05
    margin: Annotated[float, Gt(0)] | None = None


@dataclass(frozen=True)
class Lane:
    """One row on one task.

    ``seeds``: how many it took to the verdict, of ``planned``; ``difference``: of the mean from the reference's on the
    same seeds, in points, better upwards; ``cells``: of the row on those seeds, and ``reference`` of the reference;
    ``order``: all planned seeds, as they are looked at; ``settings``: a hash of those of the row and of the reference.
    """

    row: str
    task: str
    verdict: Verdict
    seeds: int
    planned: int
    difference: float | None = None
    cells: tuple[str, ...] = ()
    reference: tuple[str, ...] = ()
    order: tuple[int, ...] = ()
    settings: str = ""


@dataclass(frozen=True)
class Race:
    """All verdicts of a raced grid, as ``results/races/<name>.json`` has them from its first round on.

    ``rule``: the selection rule whose scores are compared; ``sha256`` is of everything else in it.
    """

    schema: int
    name: str
    race: RaceSpec
    rule: Rule
    lanes: tuple[Lane, ...] = field(default_factory=tuple)
    sha256: str = ""

    def write(self, results: Path) -> Path:
        """Write ``results/races/<name>.json``, whole or not at all."""
        return write_json(race_path(results, self.name), replace(self, sha256=sha256_of(self)))


def race_path(results: Path, name: str) -> Path:
    """The file of the race ``name``."""
    return results / FOLDER / f"{name}.json"


def read_race(path: Path) -> Race:
    """The race in ``path``.

    Raises:
        UserError: for a file that is none of this version, or that was changed after it was written.
    """
    remedy = "delete it and sweep again: verdicts follow from the records"
    found = read_json(path, Race, SCHEMA, "race", remedy)
    if found.sha256 != sha256_of(found):
        raise UserError(f"the race '{path}' is not as it was written; {remedy}")
    return found


def shown(race: Race) -> list[str]:
    """Where every lane of ``race`` stands, for people."""
    lines = []
    for lane in race.lanes:
        by = "" if lane.difference is None else f" ({lane.difference:+.2f} points)"
        lines.append(f"race: {lane.row} on {lane.task}: {lane.verdict} after {lane.seeds} of {lane.planned} seeds{by}")
    return lines


def check_design(race: Race, results: Path) -> None:
    """Raise `UserError` where the race of this name began with other settings.

    Settings: reference, alpha, margin, selection rule, rows, seeds. With others its rounds would no longer share one
    alpha.
    """
    path = race_path(results, race.name)
    if not path.is_file():
        return
    before, now = (_design(one) for one in (read_race(path), race))
    if other := next((key for key in now if now[key] != before[key]), None):
        raise UserError(
            f"race {race.name} began with {other} {_shown(before[other])}, not {_shown(now[other])}; what is changed "
            f"once scores were seen keeps no alpha: race as it began, or delete '{path}' and say so beside its verdicts"
        )


def _design(race: Race) -> dict[str, Any]:
    lanes = sorted((f"{lane.row} on {lane.task}", lane.order) for lane in race.lanes)
    seeds = dict.fromkeys(" ".join(map(str, order)) for _, order in lanes)
    settings = [f"{lane.row} on {lane.task} ({lane.settings})" for lane in race.lanes]
    design = {**plain(race.race), "rule": race.rule, "rows": [row for row, _ in lanes], "seeds": list(seeds)}
    return {**design, "settings of the rows": sorted(settings)}


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key}={one}" for key, one in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def spent(alpha: float, seeds: int, planned: int) -> float:
    """What the look after ``seeds`` of ``planned`` seeds may spend of ``alpha``; the first one has all until then."""

    def until(n: int) -> float:
        return alpha * math.log1p((math.e - 1) * n / planned)

    return until(seeds) - (until(seeds - 1) if seeds > FIRST else 0.0)


def look(differences: np.ndarray, level: float, margin: float | None) -> np.ndarray:
    """Verdicts (…) at ``level`` from paired ``differences`` (…, n), higher is better.

    1, −1, 0 (equivalent within ``margin``) or NaN (undecided). The sign may be wrong with probability ``level``, or
    half of it where the true difference is not zero; "equivalent" with the other half. Equal differences are undecided:
    scores are counts of items, so two seeds often give the same one, and their spread would be underestimated.
    """
    from scipy.special import stdtr

    n = differences.shape[-1]
    mean, spread = differences.mean(-1), differences.std(-1, ddof=1) / math.sqrt(n)
    spread = np.where(spread <= 1e-9 * np.abs(mean), np.nan, spread)  # equal but for the last digits of a float
    with np.errstate(divide="ignore", invalid="ignore"):
        tail = 2 * stdtr(n - 1, -np.abs(mean / spread))
        found = np.where(tail <= level, np.sign(mean), np.nan)
        if margin is not None:
            outside = stdtr(n - 1, -(margin - np.abs(mean)) / spread)
            found = np.where((outside <= level / 2) & (np.abs(mean) < margin) & np.isnan(found), 0.0, found)
    return found


_WORDS: dict[float, Verdict] = {1.0: "better", -1.0: "worse", 0.0: "equivalent"}


def race_of(grid: Grid, spec: RaceSpec, records: Sequence[CellRecord]) -> tuple[Race, set[str]]:
    """Where the race stands by ``records`` alone, and the keys of the cells that it needs next.

    Raises:
        UserError: for a reference that is no row, or several, of a task, and where no row has two seeds or more.
    """
    rows = _lanes(grid)
    references = {key: own for key, own in rows.items() if preset.matches(_row(own), spec.reference)}
    if not references:
        shown = ", ".join(f"{k}={v}" for k, v in spec.reference.items())
        key = next(iter(spec.reference), "method")
        there = dict.fromkeys(str(_row(own)[key]) for own in rows.values() if key in _row(own))
        near = nearest(str(spec.reference.get(key, "")), there)
        raise UserError(
            f"launcher.race.reference: no row has {shown or 'nothing'}{near}; write launcher.race.reference.{key}=… "
            f"with one of {', '.join(there) or 'the keys that tell rows apart'}"
        )
    by_task = {task: own for (_, task), own in references.items()}
    if len(by_task) < len(references):
        raise UserError("launcher.race.reference names several rows; add the keys that tell them apart")
    others = {key: own for key, own in rows.items() if key not in references}
    shared = {key: [seed for seed in sorted(own) if seed in by_task.get(key[1], {})] for key, own in others.items()}
    racing = {key: seeds for key, seeds in shared.items() if len(seeds) >= FIRST}
    if not racing:
        raise UserError(f"launcher.race: no row shares {FIRST} seeds or more with the reference; give more seeds")
    score, lanes, wanted = _Scores(grid, records), list[Lane](), set[str]()
    for (label, task), seeds in racing.items():
        own, theirs = others[label, task], by_task[task]
        lane, needed = _lane(label, task, [(own[s], theirs[s]) for s in seeds], score, spec, len(racing))
        lanes.append(lane)
        wanted |= needed
    # what has nobody to race with is run as it would be without a race
    alone = [one for key, own in others.items() for s, one in own.items() if s not in racing.get(key, ())]
    wanted |= {planned.key for planned in alone if score.of(planned) is None}
    return Race(SCHEMA, grid.experiment.name, spec, score.rule, tuple(lanes)), wanted


def _lane(
    label: str, task: str, pairs: list[tuple[Planned, Planned]], score: _Scores, spec: RaceSpec, family: int
) -> tuple[Lane, set[str]]:
    found, cells, theirs = list[float](), list[str](), list[str]()
    verdict: Verdict = "racing"
    for n, pair in enumerate(pairs, start=1):
        values = [score.of(planned) for planned in pair]
        if any(value == "failed" for value in values):
            verdict = "failed"  # which seeds fail may depend on the scores: such a row has no verdict
        numbers = [value for value in values if isinstance(value, float)]
        if len(numbers) < len(values):
            break
        found.append(numbers[0] - numbers[1])
        cells.append(score.ids[pair[0].key])
        theirs.append(score.ids[pair[1].key])
        if n >= FIRST:
            level = spent(spec.alpha, n, len(pairs)) / family
            verdict = _WORDS.get(float(look(np.array(found), level, spec.margin)), "racing")
            if verdict != "racing":
                break
    if len(found) == len(pairs) and verdict == "racing":
        verdict = "undecided"
    mean = round(float(np.mean(found)), 6) if found else None
    order = tuple(own.cell.seed for own, _ in pairs if own.cell is not None)
    settings = _settings(planned for pair in pairs[:1] for planned in pair)
    lane = Lane(label, task, verdict, len(found), len(pairs), mean, tuple(cells), tuple(theirs), order, settings)
    if verdict != "racing":
        return lane, set()
    return lane, {planned.key for pair in pairs[: max(FIRST, len(found) + 1)] for planned in pair}


def _settings(cells: Iterable[Planned]) -> str:
    """A hash of what the cells are, but for their seeds."""
    known = [{k: v for k, v in planned.canonical.items() if k != "seed"} for planned in cells]
    return hashlib.sha256(json.dumps(known, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _lanes(grid: Grid) -> dict[tuple[str, str], dict[int, Planned]]:
    """(row, task) -> seed -> its cell."""
    rows: dict[tuple[str, str], dict[int, Planned]] = {}
    for planned in grid.items:
        if planned.cell is not None:
            own = [f"{key}={planned.row[key]}" for key in grid.varied if key in planned.row]
            label = " ".join([planned.cell.method.name, planned.cell.backbone.public_name, *own])
            rows.setdefault((label, planned.cell.task.name), {})[planned.cell.seed] = planned
    return rows


def _row(cells: Mapping[int, Planned]) -> dict[str, Any]:
    return next(iter(cells.values())).row


class _Scores:
    """Scores of planned cells in points, higher is better.

    Under the rule of the experiment's table, of test where the task has one.
    """

    def __init__(self, grid: Grid, records: Sequence[CellRecord]) -> None:
        self.rule: Rule = (grid.experiment.table or TableSpec()).rule
        self.matcher = diff.Matcher(diff.Records(records))
        self.ids: dict[str, str] = {}

    def of(self, planned: Planned) -> float | str | None:
        """The score; "failed", or None where there is no record yet."""
        cell = planned.cell
        assert cell is not None
        record = self.matcher.record(planned, cell)
        if record is None:
            return None
        result, metric = record.scores.get(self.rule), record.metric
        tested = cell.task.splits.test is not None
        if cell.task.source.files is not None and result is not None:  # a file of one's own may have no test rows
            tested = "test" in result.scores
        split = "test" if tested and self.rule != "heldout_dev" else "dev"
        value = result.scores.get(split, {}).get(metric.primary) if result is not None else None
        self.ids[planned.key] = record.cell_id
        if record.status != "done" or value is None:
            return "failed"
        return float(value) * metric.scale * (1 if metric.higher_is_better else -1)

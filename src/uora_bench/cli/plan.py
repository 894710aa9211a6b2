"""``uora-bench plan experiment=NAME [axis=v1,v2 …]``: a grid, compared with the records there are, and estimated."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from uora_bench.cli import keys
from uora_bench.cli.parser import Command, Given, Key
from uora_bench.errors import UserError
from uora_bench.util.log import LOG

if TYPE_CHECKING:
    from rich.console import Console

    from uora_bench.config.cell import Cell
    from uora_bench.grid.expand import Grid
    from uora_bench.grid.launch.local import LocalOptions
    from uora_bench.grid.request import GridRequest

KEYS = (
    Key("status", "how submitted cells stand, from any shell that has Slurm's commands", flag=True),
    Key("collect", "what became of submitted cells, kept as records of failures", flag=True),
    Key("watch", "show it anew every few seconds while cells run, here or elsewhere", flag=True),
    Key("memory", "trace a training step of every row for the memory it takes", flag=True),
)
ABOUT = (
    "Several values make an axis, and replace a preset's: a,b   range(0,5)   glob(glue/*) or glue/*. One value is the "
    "same in every cell. Any key of a cell may be an axis.",
    "launcher=print shows the table and writes plan.json; local is a queue over the GPUs of this machine, or its "
    "cores; slurm submits job arrays. Keys of a launcher: configs/launcher/",
)
CODES = {1: "some cells failed", 75: "Slurm still holds some (collect)"}
RESUME = "run the same command again to resume"


def passed(launcher: str) -> tuple[Key, ...]:
    """The keys that a grid takes, with ``launcher`` as the default of that key."""
    return (
        keys.EXPERIMENT,
        Key("launcher", "what runs it, or a file of yours", launcher, ("print", "local", "slurm")),
        Key("launcher.*", "an option of the launcher, e.g. launcher.minutes=60"),
        *keys.CELL,
        keys.TRACKER,
        keys.DATA_ROOT,
        keys.RESULTS,
        keys.RUNS,
        keys.EXPERIMENT_NAME,
        keys.FORCE,
        keys.ANY,
    )


def act(given: Given, launcher: str = "print") -> int:
    """Plan what ``given`` asks for, and run it where a launcher is to."""
    from rich.console import Console

    from uora_bench.config.preflight import check_places
    from uora_bench.grid import build, race, request, show
    from uora_bench.grid.model import OPEN
    from uora_bench.metrics import lacking

    status, collect, watched, trace = (given.flag(key) for key in ("status", "collect", "watch", "memory"))
    wanted = request.read_request(given.passed, launcher)
    if trace and (status or collect or wanted.launcher != "print"):
        raise UserError("memory=true traces before anything runs; give it without a launcher, status and collect")
    if watched and (status or collect or trace or wanted.launcher != "print"):
        raise UserError("watch=true looks at what another shell or Slurm runs; give it alone, without a launcher")
    if wanted.options and wanted.launcher == "print":
        raise UserError(
            f"launcher.{next(iter(wanted.options))} is for running, and launcher=print only prints; drop it, or set "
            "launcher=local or launcher=slurm"
        )
    console = Console(soft_wrap=False, width=None if sys.stdout.isatty() else 140)
    if status or collect:
        from uora_bench.grid.launch import slurm

        return slurm.report(wanted, collect, console)
    if watched:
        from uora_bench.grid import watch

        watch.watch(lambda: build.beside_slurm(wanted)[0], console)
        return 0
    if wanted.launcher == "slurm":
        from uora_bench.grid.launch import slurm

        return slurm.command(wanted, console)
    from uora_bench.grid.launch import local

    options = local.read_options(wanted.options) if wanted.launcher == "local" else None
    plan, cells, notes = build.beside_slurm(wanted, options.processes if options is not None else None)
    if cells.duplicates:
        notes.append(show.duplicates(cells.duplicates))
    to_run = {one.key for one in plan.items if one.state in OPEN}
    scored = {one.cell.task.metric.name for one in cells.items if one.cell and one.key in to_run}
    notes += [f"note: {value} will be missing: {reason}" for name in scored for value, reason in lacking(name).items()]
    if options is not None and options.race is not None:  # a mistake in it is said before anything is shown
        race.race_of(cells, options.race, [])
    if options is not None:  # a node of a cluster may have folders of its own
        found = [(one.settings, one.cell.task) for one in cells.items if one.settings and one.cell]
        places = {(s.data_root, s.init_from, t.source.benchmark, str(t.to_load)): (s, t) for s, t in found}
        for settings, task in places.values():
            check_places(settings, task)
    if trace:
        from uora_bench.grid.memory import fill
        from uora_bench.training import memory

        known = {planned.key: planned.cell for planned in cells.items}

        def trace_one(cell: Cell) -> int:
            LOG.info(f"tracing {cell.label}")
            return memory.predict(cell).peak

        plan, untraced = fill(plan, known, trace_one)
        notes += untraced
    if options is None and (kept := race.race_path(Path(plan.results_dir), cells.experiment.name)).is_file():
        notes += race.shown(race.read_race(kept))
    path = plan.write()
    show.show(plan, [*notes, f"plan: {path}"], console, cells.experiment.note)
    if options is None:
        return 0
    if options.race is not None:
        return _race(wanted, cells, options, console)
    return local.run(plan, options, console)


def _race(wanted: GridRequest, cells: Grid, options: LocalOptions, console: Console) -> int:
    """Run the rounds of a race until every row has its verdict.

    Where it stands is read from the records each time, so that a race that was stopped goes on to the same verdicts. A
    cell that failed in an earlier call is run again.
    """
    from dataclasses import replace

    from uora_bench.grid import build, model, race
    from uora_bench.grid.launch import local
    from uora_bench.records.record import read_records

    assert options.race is not None
    code, before, tried = 0, set[str](), set[str]()
    while True:
        plan, _, _ = build.beside_slurm(wanted, options.processes)
        final = [i for i in plan.in_state("failed") if i.key in tried or not options.rerun_failed]
        there = {item.cell_id for item in [*plan.in_state("done"), *final]}  # a stale record decides nothing
        records = [record for record in read_records(plan.records) if record.cell_id in there]
        found, needed = race.race_of(cells, options.race, records)
        race.check_design(found, Path(plan.results_dir))
        path = found.write(Path(plan.results_dir))
        items = tuple(item for item in plan.items if item.key in needed)
        left = {item.key for item in items if item.state in (*model.OPEN, "running")}
        if not left or left == before:  # the same ones again: they failed without a record
            break
        before = left
        tried |= left
        code = max(code, local.run(replace(plan, items=items), options, console))
    for line in race.shown(found):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    console.print(f"race: {path}", highlight=False, soft_wrap=True)
    return max(code, int(any(lane.verdict == "failed" for lane in found.lanes)))


COMMAND = Command(
    "plan",
    "a grid of cells: what is done, what the rest will take",
    act,
    RESUME,
    keys=KEYS,
    passed=passed("print"),
    lists=("experiment",),
    about=ABOUT,
    examples=(
        "plan experiment=vera_table2 task=glue/rte seed=0,1",
        "plan experiment=quickstart memory=true",
        "plan experiment=quickstart watch=true",
        "plan experiment=quickstart collect=true",
    ),
    codes=CODES,
)

"""From a request to a `Plan`: expand, compare, estimate, order."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from uora_bench.config.cell import Cell
from uora_bench.config.preflight import preflight
from uora_bench.errors import UserError, nearest
from uora_bench.grid import diff, expand, model, power
from uora_bench.grid.estimate import Estimator, elsewhere
from uora_bench.grid.expand import Grid, Planned
from uora_bench.grid.model import Plan
from uora_bench.grid.request import GridRequest
from uora_bench.records.attempts import attempts_folder
from uora_bench.records.record import read_records


def build(
    request: GridRequest, processes: int | None = None, queued: Mapping[str, str] | None = None
) -> tuple[Plan, Grid]:
    """The plan of ``request``.

    ``queued``: what a cluster holds, by key; ``processes``: per cell, where not the preset's.

    Raises:
        UserError: for a mistake in the grid, or records that cannot be read.
    """
    cells = expand.expand_request(request)
    if not request.axes:  # of fewer rows than the preset's the reference may be left out
        _check_reference(cells)
    settings = next(p.settings for p in cells.items if p.settings is not None)
    name, results, runs = settings.experiment_name, Path(settings.results_dir), Path(settings.runs_dir)
    own = read_records(results / "records" / name)
    folder = attempts_folder(runs, name)
    compared = diff.Comparison(diff.Records(own), folder, runs / name, queued or {})
    count = processes or cells.experiment.processes
    # what others start from first: a start is only known once its own state is
    items = [
        compared.item(planned, _label(planned, cells), _row(planned, cells), _seed(planned), count)
        for planned in sorted(cells.items, key=lambda p: p.after is not None)
    ]
    if settings.force:
        items = [model.with_state(i, "stale", "force=true") if i.state == "done" else i for i in items]
    by_key = {p.key: p.cell for p in cells.items}
    _ask_libraries(by_key[item.key] for item in items if item.state in model.OPEN)
    everywhere = [*own, *elsewhere(results, name)]
    past = Estimator(everywhere)
    items = model.in_launch_order(past.fill(item, by_key[item.key]) for item in items)
    title = cells.experiment.title or "a grid of the command line"
    spec = cells.experiment.table
    sees = power.power_of([p.cell for p in cells.items if p.cell is not None], spec, everywhere)
    margin = spec.declared if spec is not None else None
    return Plan(model.SCHEMA, name, title, str(results), str(runs), tuple(items), margin, sees), cells


def _check_reference(cells: Grid) -> None:
    """Raise `UserError` for a reference row of the table that there will not be: found out now, not after all cells."""
    spec = cells.experiment.table
    if spec is None or spec.reference is None:
        return
    # a row that the preset does not name is called by its method and what else tells it apart
    methods = dict.fromkeys(p.cell.method.name for p in cells.items if p.cell is not None)
    named = [row.label for row in spec.rows]
    if spec.reference not in named and (not methods.keys() & {spec.reference.split(" ")[0]}):
        raise UserError(
            f"the table's reference '{spec.reference}' is no row of it{nearest(spec.reference, [*named, *methods])}; "
            "give the label of a row, or table.rows with one that has it"
        )


def _ask_libraries(cells: Iterable[Cell | None]) -> None:
    """Raise `UserError` for options that the library behind a method refuses, and for missing rows of the user's own.

    Each set of options and each set of rows is checked once.
    """
    asked: dict[str, Cell] = {
        str((c.method, c.backbone.quantisation, c.task if c.task.source.files else None)): c
        for c in cells
        if c is not None
    }
    for cell in asked.values():
        preflight(cell)


def beside_slurm(request: GridRequest, processes: int | None = None) -> tuple[Plan, Grid, list[str]]:
    """`build`, with what Slurm holds of this experiment where some of it was submitted; and notes for the reader."""
    from uora_bench.grid import slurm_queue

    plan, cells = build(request, processes)
    runs, name = Path(plan.runs_dir), plan.experiment
    if not slurm_queue.submitted(slurm_queue.folder(runs, name)):
        return plan, cells, []
    try:
        held = slurm_queue.queued(runs, name)
    except UserError as error:
        return plan, cells, [f"what Slurm holds of it is not known: {error}"]
    return (*build(request, processes, held), [])


def _own(planned: Planned, cells: Grid) -> list[str]:
    return [f"{k}={planned.row[k]}" for k in cells.varied if k in planned.row]


def _row(planned: Planned, cells: Grid) -> str:
    if planned.cell is None:
        names = [str(planned.row.get(k, "")) for k in ("method", "task", "backbone")]
    else:
        names = [planned.cell.method.name, planned.cell.task.name, planned.cell.backbone.public_name]
    return " ".join([*(n for n in names if n), *_own(planned, cells)])


def _label(planned: Planned, cells: Grid) -> str:
    return f"{_row(planned, cells)} seed={_seed(planned)}"


def _seed(planned: Planned) -> int:
    return planned.cell.seed if planned.cell is not None else 0

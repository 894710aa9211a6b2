"""Which figures there are, and their files: `results/figures/<name>.svg`, `.png` and `.csv`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uora_bench.errors import UserError, nearest
from uora_bench.grid.request import GridRequest
from uora_bench.grid.table_spec import Rule
from uora_bench.report import collect, table, write
from uora_bench.report.collect import Collection
from uora_bench.report.figure_spec import FigureSpec, RenderedFigure
from uora_bench.report.figures import alpha, canvas, costs, curves, published, refreshes
from uora_bench.report.kinds import RecordKind, owner
from uora_bench.report.model import Table
from uora_bench.util import atomic
from uora_bench.util.words import count

_MODULES = (costs, curves, refreshes, alpha, published)


def figure_specs(table: Table, collection: Collection) -> list[FigureSpec]:
    """What `rendered_figures` draws, without the pictures (and without matplotlib)."""
    if not any(run.status == "done" for run in collection.runs):
        return []
    return [spec for module in _MODULES for spec in module.figure_specs(table)]


def rendered_figures(table: Table, collection: Collection) -> list[RenderedFigure]:
    """Every figure that the records of one experiment allow; one with nothing to draw is left out.

    Raises:
        UserError: where matplotlib is not installed and there is something to draw.
    """
    return [canvas.render(spec) for spec in figure_specs(table, collection)]


def command(
    name: str | None, check: bool, results: Path, rule: Rule | None = None, kinds: Sequence[RecordKind] = ()
) -> int:
    """Write the figures of ``name`` or of all experiments with finished records, or (``check``) compare the CSV files
    that lie there (the pictures depend on matplotlib's version) with what the records give. ``kinds``: of records other
    than trained cells.

    Raises:
        UserError: for an unknown experiment, without matplotlib, and for a difference that ``check`` found.
    """
    every = write.every_name(results, rule, kinds)
    known = [*every, *write.TRIALS]
    if name is not None and name not in known:
        raise UserError(f"no experiment '{name}' with records{nearest(name, known)}")
    folder = results / "figures" if rule is None else results / "figures" / rule
    found: list[tuple[Path, FigureSpec]] = []
    library = write.published_library()
    for experiment in [name] if name else every:
        bundled = write.is_bundled(experiment, kinds)
        if check and not bundled:
            continue
        place, kind = folder if bundled else folder / write.OWN, owner(experiment, kinds)
        if kind is not None:
            found += [(place, spec) for spec in kind.figures_of(experiment, results)]
            continue
        collection = collect.collect(GridRequest(experiment, "print"), results)
        if any(run.status == "done" for run in collection.runs):
            specs = figure_specs(table.build(collection, library, rule), collection)
            found += [(place, spec) for spec in specs]
        elif name:
            raise UserError(f"'{name}' has no finished record in '{results / 'records'}'; run some of its cells first")
    if check:
        # the pictures are bytes of one version of matplotlib
        expected = {folder / f"{spec.name}.{kind}": None for _, spec in found for kind in ("svg", "png")}
        data = {folder / f"{spec.name}.csv": spec.data for _, spec in found}
        write.check({**expected, **data}, "figures", alone=name is None)
        print(f"{count(len(found), 'figure')} in {folder}: all as the records give them")
        return 0
    if not found and not any((results / "records").glob("*/*.json")):
        raise write.nothing_recorded(results)
    if found:
        canvas.require()
    for place, spec in found:
        for path in _write(canvas.render(spec), place):
            print(f"{path} ({path.stat().st_size:,} bytes)", flush=True)
    print(f"{count(len(found), 'figure')} in {folder}")
    return 0


def _write(rendered: RenderedFigure, folder: Path) -> list[Path]:
    """The three files of one figure, each there whole or not at all."""

    def write_picture(path: Path) -> None:
        path.write_bytes(rendered.png)

    paths = [folder / f"{rendered.name}.{kind}" for kind in ("svg", "png", "csv")]
    atomic.write_text(paths[0], rendered.svg)
    atomic.write_file(paths[1], write_picture)
    atomic.write_text(paths[2], rendered.data)
    return paths

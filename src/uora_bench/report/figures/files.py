"""Which figures there are, and their files: `results/figures/<name>.svg`, `.png` and `.csv`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from uora_bench.errors import UserError, nearest
from uora_bench.grid.request import Request
from uora_bench.report import collect, table, theory, write
from uora_bench.report.collect import Collection
from uora_bench.report.figures import alpha, beside, canvas, costs, curves, refreshes
from uora_bench.report.figures.sketch import Drawing, Sketch
from uora_bench.report.spec import Rule
from uora_bench.report.table import Table
from uora_bench.util import atomic

_MODULES = (costs, curves, refreshes, alpha, beside)


def sketches(table: Table, collection: Collection) -> list[Sketch]:
    """What `drawings` would draw, without the pictures (and without matplotlib)."""
    if not any(run.status == "done" for run in collection.runs):
        return []
    return [sketch for module in _MODULES for sketch in module.sketches(table)]


def drawings(table: Table, collection: Collection) -> list[Drawing]:
    """Every figure that the records of one experiment allow; one with nothing to draw is left out.

    Raises:
        UserError: where matplotlib is not installed and there is something to draw.
    """
    return [canvas.render(sketch) for sketch in sketches(table, collection)]


def command(name: str | None, check: bool, results: Path, rule: Rule | None = None) -> int:
    """Write the figures of ``name`` or of all experiments with finished records, or (``check``) compare the CSV files
    that lie there (the pictures depend on matplotlib's version) with what the records give.

    Raises:
        UserError: for an unknown experiment, without matplotlib, and for a difference that ``check`` found.
    """
    own = theory.names(results) if rule is None else []  # nothing was chosen by a rule where nothing was trained
    known = [*write.experiments(results), *write.TRIALS, *own]
    if name is not None and name not in known:
        raise UserError(f"no experiment '{name}' with records{nearest(name, known)}")
    folder = results / "figures" if rule is None else results / "figures" / rule
    found: list[Sketch] = []
    library = write.library()
    for experiment in [name] if name else [*write.experiments(results), *own]:
        if theory.is_theory(experiment):
            found += theory.sketches_of(experiment, results)
            continue
        collection = collect.collect(Request(experiment, "print"), results)
        if any(run.status == "done" for run in collection.runs):
            found += sketches(table.build(collection, library, rule), collection)
        elif name:
            raise UserError(f"'{name}' has no finished record in '{results / 'records'}'; run some of its cells first")
    if check:
        _check(found, folder, whole=name is None)
        print(f"{len(found)} figures in {folder} are what the records give")
        return 0
    if found:
        canvas.require()
    for sketch in found:
        for path in _write(canvas.render(sketch), folder):
            print(f"{path} ({path.stat().st_size:,} bytes)", flush=True)
    print(f"{len(found)} figures in {folder}")
    return 0


def _write(drawing: Drawing, folder: Path) -> list[Path]:
    """The three files of one figure, each there whole or not at all."""
    paths = [folder / f"{drawing.name}.{kind}" for kind in ("svg", "png", "csv")]
    atomic.write_text(paths[0], drawing.svg)
    atomic.write(paths[1], lambda path: _bytes(path, drawing.png))
    atomic.write_text(paths[2], drawing.data)
    return paths


def _bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _check(found: Iterable[Sketch], folder: Path, whole: bool) -> None:
    wrong = []
    known = set()
    for sketch in found:
        csv, *pictures = (folder / f"{sketch.name}.{kind}" for kind in ("csv", "svg", "png"))
        known |= {csv, *pictures}
        if not csv.is_file() or csv.read_text("utf-8") != sketch.data:
            wrong.append(csv)
        wrong += [path for path in pictures if not path.is_file()]
    if wrong:
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise UserError(f"'{wrong[0]}'{more} is not what the records give; run `make figures` and commit the result")
    left = sorted(p for p in folder.iterdir() if p.is_file() and p not in known) if whole and folder.is_dir() else []
    if left:
        raise UserError(f"'{left[0]}' ({len(left)} such) is no figure of the records; remove it")

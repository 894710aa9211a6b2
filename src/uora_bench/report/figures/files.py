"""Which figures there are, and their files: `results/figures/<name>.svg`, `.pdf` and `.csv`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from uora_bench.errors import UserError, nearest
from uora_bench.grid import preset
from uora_bench.grid.request import GridRequest
from uora_bench.grid.table_spec import Rule
from uora_bench.records.record import TRIALS, record_paths
from uora_bench.report import collect, table, write
from uora_bench.report.figure_spec import FigureSpec
from uora_bench.report.figures import alpha, best_of, canvas, costs, curves, published, refreshes
from uora_bench.report.kinds import RecordKind, owner
from uora_bench.report.model import Table
from uora_bench.util import atomic
from uora_bench.util.words import count

_MODULES = (costs, curves, refreshes, alpha, published, best_of)
FORMATS = ("svg", "pdf", "png")


def figure_specs(table: Table) -> list[FigureSpec]:
    """Every figure that the records of one experiment allow, not drawn yet (and without matplotlib).

    One with nothing to draw is left out.
    """
    return [spec for module in _MODULES for spec in module.figure_specs(table)]


def drawn_figures(table: Table, folder: Path) -> list[tuple[FigureSpec, str]]:
    """The figures of one experiment with their SVG: the one in ``folder`` where it shows the same, else drawn.

    Raises:
        UserError: where matplotlib is not installed and there is something to draw.
    """
    found = []
    for spec in figure_specs(table):
        path = folder / f"{spec.name}.svg"
        svg = path.read_bytes() if _shows(spec, path) else canvas.render(spec)["svg"]
        found.append((spec, svg.decode("utf-8")))
    return found


def _shows(spec: FigureSpec, path: Path) -> bool:
    """Whether the SVG there is the picture of ``spec``."""
    return path.is_file() and f">{spec.digest}<" in path.read_text("utf-8")


def command(
    name: str | None,
    check: bool,
    results: Path,
    rule: Rule | None = None,
    kinds: Sequence[RecordKind] = (),
    formats: Sequence[str] = ("svg", "pdf"),
    force: bool = False,
) -> int:
    """Draw the figures of ``name``, or of all experiments with finished records, whose files are out of date.

    ``force``: all of them; ``check``: only report whether there are any. ``kinds``: of records other than trained
    cells; ``formats``: some of `FORMATS` (SVG is always included).

    Raises:
        UserError: for an unknown experiment or format, without matplotlib, and for a difference that ``check`` found.
    """
    for kind in formats:
        if kind not in FORMATS:
            raise UserError(f"no format '{kind}'{nearest(kind, FORMATS)}; there are {', '.join(FORMATS)}")
    folder = results / "figures" if rule is None else results / "figures" / rule
    found = _wanted(name, results, rule, kinds, folder, check)
    current = [not force and _shows(spec, place / f"{spec.name}.svg") for place, spec in found]
    if check:
        files = {folder / f"{spec.name}.csv": spec.data for _, spec in found}
        pictures = [path for place, spec in found for path in _there(spec, place)]
        write.check({**files, **dict.fromkeys(pictures)}, "figures", alone=name is None)
        old = [spec.name for (_, spec), same in zip(found, current, strict=True) if not same]
        if old:
            raise UserError(f"'{folder / old[0]}.svg' differs from the records; run `uora-bench figures`")
        print(f"{count(len(found), 'figure')} in {folder}: all up to date")
        return 0
    if not found and not any(record_paths(results / "records" / one) for one in write.every_name(results, rule, kinds)):
        raise write.nothing_recorded(results)
    drawn = 0
    for (place, spec), same in zip(found, current, strict=True):
        paths = {place / f"{spec.name}.{kind}" for kind in ("svg", *formats)}
        missing = sorted(path for path in (paths if same else paths | set(_there(spec, place)))
                          if not (same and path.is_file()))  # fmt: skip
        pictures_of = canvas.render(spec, [path.suffix[1:] for path in missing]) if missing else {}
        for path in missing:
            atomic.write_file(path, partial(_put, pictures_of[path.suffix[1:]]))
            print(f"{path} ({path.stat().st_size:,} bytes)", flush=True)
        atomic.write_text(place / f"{spec.name}.csv", spec.data)
        drawn += bool(missing)
    rest = f", {len(found) - drawn} unchanged" if drawn < len(found) else ""
    print(f"{count(len(found), 'figure')} in {folder}, {drawn} drawn{rest}")
    return 0


def _wanted(
    name: str | None, results: Path, rule: Rule | None, kinds: Sequence[RecordKind], folder: Path, check: bool
) -> list[tuple[Path, FigureSpec]]:
    """The figures of ``name``, or of all, with the folder of each; own experiments are not part of a ``check``."""
    every = write.every_name(results, rule, kinds)
    known = [*every, *TRIALS]
    if name is not None and name not in known and not preset.is_file(name):
        raise UserError(f"no experiment '{name}' with records{nearest(name, known)}")
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
        if collect.finished(collection.runs):
            found += [(place, spec) for spec in figure_specs(table.build(collection, library, rule))]
        elif name:
            raise UserError(f"'{name}' has no finished record in '{results / 'records'}'; run some of its cells first")
    return found


def _there(spec: FigureSpec, folder: Path) -> list[Path]:
    """The pictures of ``spec`` in any format that are there."""
    return [path for kind in FORMATS if (path := folder / f"{spec.name}.{kind}").is_file()]


def _put(content: bytes, path: Path) -> None:
    path.write_bytes(content)

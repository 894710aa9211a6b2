"""Theory cells (`uora_bench.theory`) as tables and figures, by the same model, writers and canvas as other cells."""

from __future__ import annotations

from pathlib import Path

from uora_bench.errors import UserError
from uora_bench.grid.request import Request
from uora_bench.report.figures.sketch import Sketch
from uora_bench.report.published import Library
from uora_bench.report.table import Table
from uora_bench.report.theory.collect import is_theory, names, studies

__all__ = ["explain", "is_theory", "make", "names", "sketches_of", "studies", "tables_of"]


def tables_of(name: str, results: Path, library: Library | None) -> list[Table]:
    """The tables of one folder of theory records; none for a folder without a finished one.

    Raises:
        UserError: for a folder that is not there, or a record that cannot be read.
    """
    from uora_bench.report.theory import tables

    return [one for study in studies(name, results) if study.done for one in tables.of(study, library)]


def make(request: Request, results: Path, library: Library | None) -> Table:
    """The one table of ``experiment=theory_…``.

    Raises:
        UserError: for other words beside it, or a folder that holds several studies.
    """
    name = str(request.experiment)
    if request.axes:
        word = next(iter(request.axes))
        raise UserError(f"'{word}=' does not narrow a table of theory; `uora-bench theory` takes parameters")
    found = tables_of(name, results, library)
    if not found:
        others = sum(len(study.orphans) for study in studies(name, results))
        raise UserError(
            f"'{name}' has no table: its {others} record(s) are of other settings than the preset's; run them with "
            "experiment_name=theory_mine for a table of their own"
        )
    if len(found) != 1:
        what = ", ".join(one.name for one in found)
        raise UserError(f"'{name}' makes {what}; write all with `uora-bench tables`")
    return found[0]


def sketches_of(name: str, results: Path) -> list[Sketch]:
    """The figures of one folder of theory records, without the pictures; raises as `tables_of`."""
    from uora_bench.report.theory import figures

    return [sketch for study in studies(name, results) for sketch in figures.sketches(study)]


def explain(table: Table, words: list[str], results: Path) -> list[str]:
    """What is behind one number of a theory table; raises `UserError` for words that name none."""
    from uora_bench.report.theory import explained

    return explained.lines(table, words, results)

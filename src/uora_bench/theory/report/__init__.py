"""Theory cells as tables and figures, by the same model, writers and canvas as other cells.

This module is a `uora_bench.report.kinds.RecordKind`; the command line hands it to the report.
"""

from __future__ import annotations

import shlex
from pathlib import Path

from uora_bench.errors import UserError
from uora_bench.grid.request import GridRequest
from uora_bench.report.figure_spec import FigureSpec
from uora_bench.report.model import Entry, Score, Table
from uora_bench.report.published import Library
from uora_bench.theory.presets import PREFIX
from uora_bench.theory.report import figures, studies, tables
from uora_bench.theory.report.studies import is_bundled, names, owns

__all__ = ["explain", "figures_of", "is_bundled", "names", "owns", "table_of", "tables_of"]


def tables_of(name: str, results: Path, library: Library | None) -> list[Table]:
    """The tables of one folder of theory records; none for a folder without a finished one.

    Raises:
        UserError: for a folder that is not there, or a record that cannot be read.
    """
    return [tables.table_of(study, library) for study in studies.studies(name, results) if study.done]


def table_of(request: GridRequest, results: Path, library: Library | None) -> Table:
    """The one table of ``experiment=theory_…``.

    Raises:
        UserError: for other overrides next to it, or a folder that holds several studies.
    """
    name = str(request.experiment)
    if request.axes:
        word = next(iter(request.axes))
        raise UserError(f"'{word}=' does not narrow a table of theory; `uora-bench theory` takes parameters")
    found = tables_of(name, results, library)
    if not found:
        others = sum(len(study.orphans) for study in studies.studies(name, results))
        raise UserError(
            f"'{name}' has no table: its {others} record(s) are of other settings than the preset's; run them with "
            "experiment_name=theory_mine for a table of their own"
        )
    if len(found) != 1:
        what = ", ".join(one.name for one in found)
        raise UserError(f"'{name}' makes {what}; write all with `uora-bench tables`")
    return found[0]


def figures_of(name: str, results: Path) -> list[FigureSpec]:
    """The figures of one folder of theory records, without the pictures; raises as `tables_of`."""
    return [spec for study in studies.studies(name, results) for spec in figures.figure_specs(study)]


def explain(title: str, column: Score, entry: Entry, results: Path) -> list[str]:
    """What is behind one number of a theory table: the records and the commands that make them."""
    ours = entry.ours
    value = "empty" if ours.value is None else f"{ours.value:.{column.decimals + 2}f}"
    spread = "" if ours.std is None else f" ± {ours.std:.{column.decimals + 2}f}"
    lines = [f"{title}: {value}{spread}", f"  {column.metric}, {column.split}, × {column.scale:g}"]
    if entry.published is not None:
        lines.append(f"  published: {entry.published.text} ({entry.published.source}, {entry.published.confidence})")
    for run in ours.runs:
        path = next(iter(sorted((results / "records").glob(f"{PREFIX}*/{run.cell_id}.json"))), None)
        lines += [f"  seed {run.seed}: {path}", f"    uora-bench theory {shlex.join(run.overrides)}"]
    return lines

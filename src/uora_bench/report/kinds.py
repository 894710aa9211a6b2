"""Records of another kind than trained cells, as the writers of tables and figures see them.

Nothing in `uora_bench.report` knows such a kind. The command line hands over those that there are, such as
`uora_bench.theory.report`: a module that has these functions is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from uora_bench.grid.request import GridRequest
from uora_bench.report.figure_spec import FigureSpec
from uora_bench.report.model import Entry, Score, Table
from uora_bench.report.published import Library


class RecordKind(Protocol):
    """What makes the tables and figures of one kind of records. Names are those of folders of records."""

    def owns(self, name: str | None) -> bool:
        """Whether a folder (or a table) of that name is of this kind."""

    def names(self, results: Path) -> list[str]:
        """The folders of this kind that hold records."""

    def is_bundled(self, name: str) -> bool:
        """Whether the folder is that of an experiment of the package, rather than of a user's own."""

    def tables_of(self, name: str, results: Path, library: Library | None) -> list[Table]:
        """The tables of one folder."""

    def table_of(self, request: GridRequest, results: Path, library: Library | None) -> Table:
        """The one table that a command asks for."""

    def figures_of(self, name: str, results: Path) -> list[FigureSpec]:
        """The figures of one folder, not drawn yet."""

    def explain(self, title: str, column: Score, entry: Entry, results: Path) -> list[str]:
        """The lines about one number, the first with its ``title`` and value.

        They say what it is, and how its records are made.
        """


def owner(name: str | None, kinds: Sequence[RecordKind]) -> RecordKind | None:
    """The one of ``kinds`` that a folder (or table) of that name is of; None for trained cells."""
    return next((kind for kind in kinds if kind.owns(name)), None)

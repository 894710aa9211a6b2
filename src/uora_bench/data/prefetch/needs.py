"""What the cells of a command line need from the Hub: models at a revision, and splits of data sets. No torch here."""

from __future__ import annotations

import shlex
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from uora_bench.config.cell import Cell, Settings
from uora_bench.config.data_source import IMAGE_FOLDER, OWN_ROWS
from uora_bench.config.split_parts import split_names
from uora_bench.data.prefetch.converted import ConvertedModel
from uora_bench.data.prefetch.models import Model
from uora_bench.data.prefetch.rows import Rows
from uora_bench.errors import UserError
from uora_bench.util import package_folder

_ELSEWHERE = ("generated", IMAGE_FOLDER, OWN_ROWS)  # rows that are made, or the user's own


@dataclass(frozen=True)
class PrefetchRequest:
    """What the folder ``root`` must contain.

    ``label``: name of the experiment or cell in the manifest; ``command``: the command that downloads it.
    """

    root: Path
    models: tuple[Model | ConvertedModel, ...]
    rows: tuple[Rows, ...]
    label: str
    command: str

    @property
    def needs(self) -> list[Model | ConvertedModel | Rows]:
        """All of them, the small ones first."""
        return [*self.rows, *self.models]


def needs_of(cells: Iterable[tuple[Cell, Settings]], overrides: list[str]) -> PrefetchRequest:
    """What ``cells`` need, which ``overrides`` describe.

    Raises:
        UserError: for cells that name no ``data.root``, or several.
    """
    pairs = list(cells)
    roots = {settings.data_root for _, settings in pairs}
    if roots == {None} or len(roots) != 1:
        raise UserError(
            "name the folder to fill: data.root=<folder> (in a checkout also make prefetch DATA_ROOT=<folder>)"
        )
    root = str(roots.pop())
    given = [word for word in overrides if not word.startswith("data.root=")]
    command = shlex.join(["uora-bench", "prefetch", *given, f"data.root={root}"])
    models = dict.fromkeys(need for cell, _ in pairs for need in models_of(cell))
    rows = dict.fromkeys(need for cell, _ in pairs for need in rows_of(cell))
    return PrefetchRequest(Path(root), tuple(models), tuple(rows), " ".join(given) or "the default cell", command)


def models_of(cell: Cell) -> Iterable[Model | ConvertedModel]:
    """The model that ``cell`` takes from the Hub or from where it was converted, if it takes one."""
    backbone = cell.backbone
    if backbone.path is None and backbone.converted_by is not None:
        yield ConvertedModel(backbone.name, backbone.converted_by)
    elif backbone.path is None and backbone.id is not None and package_folder.folder(backbone.package) is None:
        yield Model(backbone.id, backbone.revision)


def rows_of(cell: Cell) -> Iterable[Rows]:
    """The splits that ``cell`` takes from a folder of data or the Hub."""
    source = cell.task.source
    if source.benchmark in _ELSEWHERE:
        return
    for name in split_names(cell.task.to_load.values()):
        yield Rows(source, name)

"""Where a run is and what its files say: folder, resolved configuration, weights, record. No torch in here."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uora_bench.config.cell import Cell, Settings
from uora_bench.config.run_folders import cells_below, full_id
from uora_bench.errors import UserError, nearest
from uora_bench.execution.configuration import ADAPTER, CONFIGURATION, HEAD, Configuration, Native, read_configuration
from uora_bench.records.attempts import CHECKPOINTS
from uora_bench.records.record import CellRecord, find_record, record_path
from uora_bench.training.checkpoint import BEST
from uora_bench.util.inside import inside

WEIGHTS = ("last", "best")
HALF = ("float16", "bfloat16")


@dataclass(frozen=True)
class Source:
    """A run folder, or a folder of ``format=native``. ``settings``: where the run's own files were."""

    folder: Path
    configuration: Configuration
    cell: Cell
    settings: Settings

    @property
    def cell_id(self) -> str:
        """The id of the cell, as its record has it."""
        return self.configuration.cell_id

    @property
    def values(self) -> dict[str, Any]:
        """The composed configuration of the cell, nested by group."""
        return self.configuration.values

    @property
    def native(self) -> Native | None:
        """What a native export says of itself; None for a run folder."""
        return self.configuration.native if self.configuration.native.weights is not None else None

    @property
    def experiment(self) -> str:
        """The experiment whose folder has the run and the record."""
        return self.settings.experiment_name

    def weight_files(self, weights: str) -> list[Path]:
        """The files that hold ``weights`` (last | best).

        Raises:
            UserError: when they are not there, saying what to do.
        """
        if weights not in WEIGHTS:
            raise UserError(f"weights={weights}: there is no such choice{nearest(weights, WEIGHTS)}")
        both = [self.folder / ADAPTER, self.folder / HEAD]
        if self.native:
            if weights == "best" and self.native.weights != "best":
                raise UserError(
                    f"'{self.folder}' holds the last epoch's weights only; weights=best needs the run folder"
                )
            wanted = both
        else:
            # best.pt is there from the first epoch on, but what is best is known when the run has ended
            wanted = both if weights == "last" else [*both, self.folder / CHECKPOINTS / BEST]
        absent = [path for path in wanted if not path.is_file()]
        if absent and absent[0].name == BEST:
            raise UserError(f"'{self.folder}' lacks checkpoints/{BEST}; weights=last is there")
        if absent:
            raise UserError(
                f"cell {self.cell_id} has not finished (no {absent[0].name} in '{self.folder}'): run it again to resume"
            )
        return both if self.native or weights == "last" else [wanted[-1]]

    def record(self, results: str | None = None) -> CellRecord:
        """The finished record, from ``<results>/records/<experiment>/`` (default: the run's ``results.dir``).

        Raises:
            UserError: when there is none, or one of a failure.
        """
        folder = Path(results or self.settings.results_dir) / "records" / self.experiment
        found = find_record(folder, self.cell_id)
        if found is None:
            raise UserError(
                f"no record '{record_path(folder, self.cell_id)}', and without it no model card; results.dir=<folder> "
                "names the folder that holds records/"
            )
        if found.status != "done":
            raise UserError(f"cell {self.cell_id} failed ({found.reason}); run it again before exporting it")
        return found


def find_run(name: str, runs: str, experiment: str | None = None) -> Path:
    """The run folder that ``name`` (a folder, or how a cell_id under ``<runs>/*/`` begins) stands for.

    Raises:
        UserError: when nothing fits, or several experiments have the cell.
    """
    if Path(name).is_dir():
        return Path(name)
    root = Path(runs)
    if not root.is_dir():
        raise UserError(
            f"'{name}' is no folder, and there is no '{runs}' to look for a cell_id in; set runs.dir=<folder>"
        )
    experiments = sorted(f.name for f in root.iterdir() if f.is_dir() and f.name[0] != ".")
    if experiment is not None:
        if experiment not in experiments:
            raise UserError(f"experiment={experiment}: '{runs}' has no such{nearest(experiment, experiments)}")
        experiments = [experiment]
    cells = {e: cells_below(root / e) for e in experiments}
    known = sorted({c for names in cells.values() for c in names})
    found = full_id(name, known)
    holders = [e for e in experiments if found in cells[e]]
    if len(holders) > 1:
        raise UserError(
            f"cell {found} is in several experiments ({', '.join(holders)}); take one with experiment=<name>"
        )
    if found is None:
        raise UserError(
            f"'{name}' is neither a run folder nor a cell_id under '{runs}'"
            f"{nearest(name, known) or ', which is empty; run a cell first, or set runs.dir=<folder>'}"
        )
    return root / holders[0] / found


def read_source(folder: Path) -> Source:
    """What ``folder`` says of itself.

    Raises:
        UserError: when it is no folder of a run or a native export, or one that this version cannot read.
    """
    found = read_configuration(folder)
    try:
        if found.native.weights not in (None, *WEIGHTS):
            raise UserError(f"native.weights={found.native.weights}{nearest(str(found.native.weights), WEIGHTS)}")
        cell, settings = Cell.from_config(found.values), Settings.from_config(found.values)
        for name in (found.cell_id, settings.experiment_name):  # folders are named after them
            inside(folder, name)
    except (UserError, KeyError, TypeError, AttributeError, RecursionError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise UserError(
            f"'{folder / CONFIGURATION}' does not fit this version of uora_bench: {what}; use the commit that the "
            "record names"
        ) from None
    return Source(folder, found, cell, settings)

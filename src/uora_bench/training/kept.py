"""What the models of single epochs predicted, in the run folder until the record is written."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from uora_bench.config.cell import MetricSpec
from uora_bench.errors import UserError
from uora_bench.records.record import EpochScores
from uora_bench.records.selection import kept_epochs
from uora_bench.util import atomic, sealed

if TYPE_CHECKING:
    import numpy as np

    from uora_bench.tasks.base import Task


@dataclass(frozen=True)
class KeptPredictions:
    """The predictions of cell ``cell_id`` in its folder ``run``; epochs are counted from 1."""

    run: Path
    cell_id: str

    @property
    def folder(self) -> Path:
        """Where the predictions of each epoch are."""
        return self.run / "predictions"

    def texts(self, role: str, epoch: int) -> Path:
        """The file of the texts that the model of ``epoch`` wrote for a split."""
        return self.run / "outputs" / f"{role}.epoch{epoch}.txt"

    def save(self, task: Task, role: str, epoch: int, predictions: np.ndarray) -> None:
        """Keep what `evaluation.predict` gave for a split, and as lines what are texts."""
        import numpy as np

        def writer(path: Path) -> None:
            with open(path, "wb") as handle:  # a path would be given another suffix
                np.save(handle, predictions, allow_pickle=False)
            sealed.seal(path, self.cell_id)

        atomic.write_file(self._file(role, epoch), writer)
        lines = task.outputs(predictions)
        if lines is not None:
            atomic.write_text(self.texts(role, epoch), "".join(f"{line}\n" for line in lines))

    def load(self, role: str, epoch: int) -> np.ndarray:
        """What `save` was given; raises `UserError` when it is not there or damaged."""
        import numpy as np

        path = self._file(role, epoch)
        if (problem := sealed.seal_problem(path, self.cell_id)) is not None:
            raise UserError(f"those of epoch {epoch} on {role} cannot be read: {problem}")
        loaded: np.ndarray = np.load(path, allow_pickle=False)
        return loaded

    def remove_others(self, epochs: Sequence[EpochScores], metric: MetricSpec) -> None:
        """Remove the predictions of ``epochs`` that no selection rule will ever choose."""
        wanted = {self._file(role, epoch) for epoch, role in kept_epochs(epochs, metric)}
        for path in set(self.folder.glob("*.npy")) - wanted:
            path.unlink()

    def remove(self) -> None:
        """Remove all of them; the texts stay."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _file(self, role: str, epoch: int) -> Path:
        return self.folder / f"{role}.epoch{epoch}.npy"

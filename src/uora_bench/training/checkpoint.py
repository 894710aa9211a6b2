"""Checkpoints of a run: the only writer of model and optimizer state in ``runs/``.

``last.pt`` is everything a run needs to go on as if it had not stopped, ``previous.pt`` the one before it, ``best.pt``
the adapter and head of the best epoch. Each is written whole or not at all, and ends with the cell's id and a checksum
(`util.sealed`): what was damaged since, or belongs to another cell, is never gone on from.
"""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uora_bench.errors import UserError
from uora_bench.records.attempts import LAST, PREVIOUS, has_checkpoint
from uora_bench.util import atomic, sealed
from uora_bench.util.log import LOG

BEST = "best.pt"


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints of one cell in ``folder``."""

    folder: Path
    cell_id: str

    @property
    def some(self) -> bool:
        """Whether there is a state to go on from, good or not."""
        return has_checkpoint(self.folder)

    def save_last(self, state: dict[str, Any]) -> None:
        """Write ``state`` (tensors and plain values) as ``last.pt``; the one that was there becomes ``previous.pt``."""

        def writer(path: Path) -> None:
            self._write(path, state)
            if (self.folder / LAST).is_file():  # a kill from here on leaves the previous one, which is as good
                os.replace(self.folder / LAST, self.folder / PREVIOUS)

        atomic.write_file(self.folder / LAST, writer)
        LOG.debug(f"checkpoint written: {self.folder / LAST}")

    def save_best(self, state: dict[str, Any]) -> None:
        """Write ``state`` as ``best.pt``."""
        atomic.write_file(self.folder / BEST, lambda path: self._write(path, state))

    def latest(self) -> tuple[dict[str, Any] | None, str]:
        """The newest intact state, on the CPU, and a line to log; (None, "") when none was ever written.

        The line has its step, and what is wrong with a newer one.

        Raises:
            UserError: when there are checkpoints and none can be gone on from.
        """
        problems = []
        for name in (LAST, PREVIOUS):
            if not (self.folder / name).exists():
                continue
            try:
                state = self.read(name)
            except UserError as error:
                problems.append(str(error))
                continue
            steps = state["history"]["steps"] if isinstance(state.get("history"), dict) else "?"
            where = f"resuming from {name}, step {steps}"
            return state, f"note: {problems[0]}; {where}" if problems else where
        if problems:
            raise UserError(f"{'; '.join(problems)}; force=true starts over")
        return None, ""

    def read(self, name: str) -> dict[str, Any]:
        """The state in the file ``name``, on the CPU.

        Raises:
            UserError: when it is not there, damaged, or of another cell.
        """
        import torch

        path = self.folder / name
        problem = sealed.seal_problem(path, self.cell_id)
        if problem is None:
            try:
                return dict(torch.load(path, map_location="cpu", weights_only=True))
            except Exception as error:  # noqa: BLE001 - whatever it is, there is no state in it
                problem = " ".join(str(error).split())[:200]
        raise UserError(f"cannot use the checkpoint '{path}': {problem}")

    def remove_states(self) -> None:
        """Remove what only a run that goes on needs; ``best.pt`` stays."""
        for name in (LAST, PREVIOUS):
            (self.folder / name).unlink(missing_ok=True)

    def _write(self, path: Path, state: dict[str, Any]) -> None:
        import torch

        torch.save(state, path)
        sealed.seal(path, self.cell_id)


@contextmanager
def restoring(folder: Path) -> Iterator[None]:
    """Inside, whatever does not fit while a whole state is put back is one line."""
    try:
        yield
    except (KeyError, ValueError, TypeError, AttributeError, IndexError, RuntimeError, UserError) as error:
        what = f"it has no {error}" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        raise UserError(
            f"the checkpoint in '{folder}' does not fit this run: {what}; resume with the version that wrote it, or "
            "start over with force=true"
        ) from error


def random_state() -> dict[str, Any]:
    """The state of every global random stream of this process, as plain values and tensors."""
    import numpy as np
    import torch

    kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - libraries draw from it
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(kind), [int(k) for k in keys], int(position), int(has_gauss), float(cached)],
        "python": [version, list(internal), gauss],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put a `random_state` back."""
    import numpy as np
    import torch

    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, np.asarray(keys, dtype=np.uint32), position, has_gauss, cached))  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))

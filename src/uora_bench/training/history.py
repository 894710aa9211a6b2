"""What training leaves behind, and how a checkpoint carries it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from uora_bench.records.record import EpochScores


class Tracker(Protocol):
    """What takes the numbers of a run as they come."""

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Record ``values`` at optimizer step ``step``."""

    def log_again(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> None:
        """Record what earlier starts logged, as (step, values): some of it may have been lost with them."""


@dataclass
class History:
    """What training leaves behind. A checkpoint holds `schema.plain` of it, and `restored` reads that."""

    epochs: list[EpochScores] = field(default_factory=list)
    steps: int = 0
    examples: int = 0
    tokens: int = 0
    best_epoch: int | None = None
    best_score: float | None = None
    restarts: int = 0
    peaks: dict[str, int] = field(default_factory=dict)  # phase -> bytes
    seconds: dict[str, float] = field(default_factory=dict)
    lowest_dev_loss: float | None = None  # of the looks of early stopping
    looks_waited: int = 0  # since it was lowest
    stopped: int | None = None  # the step at which early stopping ended the run
    logged: list[tuple[int, dict[str, float]]] = field(default_factory=list)  # (step, what the tracker was told)

    @classmethod
    def restored(cls, data: Mapping[str, Any]) -> History:
        """The history that ``data`` was made of; its numbers are taken as they are, so that no byte changes."""
        return cls(**{**data, "epochs": [_epoch(entry) for entry in data["epochs"]]})

    def note(self, values: Mapping[str, Any]) -> None:
        """Keep what the tracker is told now, as plain numbers: a start that is killed may take it with it."""
        self.logged.append((self.steps, {k: v if type(v) is int else float(v) for k, v in values.items()}))

    def ended(self, total: int) -> bool:
        """Whether a run of ``total`` steps is over."""
        return self.steps == total or self.stopped is not None

    def check(self, position: int, per_epoch: int, total: int) -> None:
        """Raise `ValueError` for a history that cannot be of this run.

        ``total``: steps of the run; ``position``: steps done in an epoch of ``per_epoch``.
        """
        done = len(self.epochs) * per_epoch + position
        if not 0 <= position <= per_epoch or self.steps != min(done, self.stopped or total):
            raise ValueError(f"it is at step {self.steps}, {position} steps after {len(self.epochs)} epochs")


def _epoch(data: Mapping[str, Any]) -> EpochScores:
    return EpochScores(**{**data, "halves": data["halves"] and tuple(data["halves"])})

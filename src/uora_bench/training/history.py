"""What training leaves behind, and how a checkpoint carries it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from uora_bench.records.record import EpochScores


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

    @classmethod
    def restored(cls, data: Mapping[str, Any]) -> History:
        """The history that ``data`` was made of; its numbers are taken as they are, so that no byte changes."""
        return cls(**{**data, "epochs": [_epoch(entry) for entry in data["epochs"]]})


def _epoch(data: Mapping[str, Any]) -> EpochScores:
    return EpochScores(**{**data, "halves": data["halves"] and tuple(data["halves"])})

"""What every tracker does, and what it is told of a run."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from uora_bench.util.log import LOG


@dataclass(frozen=True)
class RunFacts:
    """What a tracker shows of a cell beside its curves."""

    cell_id: str
    label: str
    experiment: str
    method: str
    task: str
    backbone: str
    config: Mapping[str, Any]  # settings of the cell, recipe, precision, parameter counts, commit

    @property
    def tags(self) -> list[str]:
        """Method, task, backbone and experiment, to filter by. W&B takes 64 characters a tag."""
        return [tag[:64] for tag in dict.fromkeys((self.method, self.task, self.backbone, self.experiment))]


class Tracker:
    """Records nothing; the base of the others."""

    def log(self, values: Mapping[str, Any], step: int) -> None:
        """Record ``values`` at optimizer step ``step``."""

    def log_again(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> None:
        """Record what earlier starts logged, as (step, values): some of it may have been lost with them."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """Record final values."""

    def finish(self, failed: bool = False) -> None:
        """Close the run; always called."""


class GuardedTracker(Tracker, ABC):
    """A run of a library that never takes the cell down with it: its first error is printed, then it is silent."""

    name: ClassVar[str]

    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, values: Mapping[str, Any], step: int) -> None:
        self._try(lambda: self._log(values, step))

    def log_again(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> None:
        for step, values in rows:
            self.log(values, step)

    def summary(self, values: Mapping[str, Any]) -> None:
        self._try(lambda: self._summary(values))

    def finish(self, failed: bool = False) -> None:
        self._try(lambda: self._finish(failed))

    def _try(self, act: Callable[[], None]) -> None:
        if self._run is None:
            return
        try:
            act()
        except Exception as error:  # noqa: BLE001 - whatever it is, the record is what counts
            LOG.warning(f"{self.name} stopped recording: {' '.join(str(error).split())[:200]}")
            self._run = None

    @abstractmethod
    def _log(self, values: Mapping[str, Any], step: int) -> None:
        """As `Tracker.log`; may raise."""

    @abstractmethod
    def _summary(self, values: Mapping[str, Any]) -> None:
        """As `Tracker.summary`; may raise."""

    @abstractmethod
    def _finish(self, failed: bool) -> None:
        """As `Tracker.finish`; may raise."""

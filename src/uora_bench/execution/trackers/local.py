"""Trackers that need no server and no account: trackio (its calls are W&B's) and TensorBoard."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import shutil
import sys
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from uora_bench.config.cell import TrackerConfig
from uora_bench.errors import UserError
from uora_bench.execution.trackers.base import GuardedTracker, RunFacts, Tracker
from uora_bench.util.words import clause

TENSORBOARD_FOLDER = "tensorboard"  # in the run folder


class TrackioTracker(GuardedTracker):
    """A run of trackio, in the database of its project."""

    name = "trackio"

    def __init__(self, run: Any, known: Collection[tuple[int, str]]) -> None:
        super().__init__(run)
        self._known = frozenset(known)  # (step, key) of earlier starts: trackio appends, and would have them twice
        self._step = 0

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        self._step = step
        new = {key: value for key, value in values.items() if (step, key) not in self._known}
        if new:
            self._run.log(new, step=step)

    def _summary(self, values: Mapping[str, Any]) -> None:
        self._run.log({f"summary/{key}": value for key, value in values.items()}, step=self._step)

    def _finish(self, failed: bool) -> None:
        import trackio

        with contextlib.redirect_stdout(sys.stderr):
            trackio.finish()  # of the library: run.finish() alone is done again when the process ends


class TensorBoardTracker(GuardedTracker):
    """Event files of one start. A resumed cell writes them anew, as it tells all rows again."""

    name = "TensorBoard"

    def __init__(self, run: Any) -> None:
        super().__init__(run)
        self._step = 0

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        self._step = step
        for key, value in values.items():
            self._run.add_scalar(key, value, step)

    def _summary(self, values: Mapping[str, Any]) -> None:
        for key, value in values.items():
            if isinstance(value, (int, float)):
                self._run.add_scalar(f"summary/{key}", value, self._step)
            else:
                self._run.add_text(f"summary/{key}", str(value), self._step)

    def _finish(self, failed: bool) -> None:
        self._run.close()


def start_trackio(config: TrackerConfig, facts: RunFacts, folder: Path, resumed: bool) -> Tracker:
    """Open the run ``<label> <cell_id>`` of trackio's project ``config.project``; ``resumed`` continues it.

    Raises:
        UserError: where trackio is not installed, or does not start.
    """
    _check_installed("trackio")
    with contextlib.redirect_stdout(sys.stderr):  # it prints; standard output is for results
        import trackio
        from trackio.sqlite_storage import SQLiteStorage

        name = f"{facts.label} {facts.cell_id}"
        plain = json.loads(json.dumps(dict(facts.config), default=str))
        try:
            run = trackio.init(
                project=config.project,
                name=name,
                group=facts.experiment,
                config={**plain, "tags": facts.tags},
                resume="allow" if resumed else "never",
                embed=False,
                auto_log_gpu=False,
                auto_log_cpu=False,
            )
            stored = SQLiteStorage.get_logs(config.project, name, run_id=run.id) if resumed else []
            known = {(int(row["step"]), key) for row in stored for key in row}
        except Exception as error:  # noqa: BLE001 - a full disk, a damaged database, an odd TRACKIO_… variable
            said = " ".join(str(error).split())[:200]
            raise UserError(f"trackio does not start: {clause(said)}; correct it, or use tracker=none") from None
    return TrackioTracker(run, known)


def start_tensorboard(config: TrackerConfig, facts: RunFacts, folder: Path, resumed: bool) -> Tracker:
    """Open event files in ``<folder>/tensorboard``; those of earlier starts are removed, as their rows are told again.

    Raises:
        UserError: where tensorboard is not installed, or does not start.
    """
    _check_installed("tensorboard")
    from torch.utils.tensorboard import SummaryWriter

    place = folder / TENSORBOARD_FOLDER
    shutil.rmtree(place, ignore_errors=True)
    about = {"cell_id": facts.cell_id, "experiment": facts.experiment, "tags": facts.tags, **facts.config}
    _leave_to_us("tensorboard.summary.writer.event_file_writer")
    try:
        writer = SummaryWriter(log_dir=str(place))
        writer.add_text("config", f"```json\n{json.dumps(about, indent=1, default=str, ensure_ascii=False)}\n```")
    except OSError as error:
        raise UserError(
            f"TensorBoard does not start: {error.strerror} ({place}); correct it, or use tracker=none"
        ) from None
    return TensorBoardTracker(writer)


def _leave_to_us(module: str) -> None:
    """Print no traceback of a thread of ``module``: the error comes back at the next call, and is said in one line."""
    before = threading.excepthook

    def hook(what: Any) -> None:
        if type(what.thread).__module__ != module:
            before(what)

    threading.excepthook = hook


def _check_installed(module: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise UserError(f"tracker={module} needs {module}: pip install 'uora_bench[{module}]', or use tracker=none")

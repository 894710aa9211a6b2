"""Experiment trackers: Weights & Biases, or nothing. Runs on the main process only and never waits for a person.

Run id = cell_id, so a resumed cell continues the same run. Online when a key is configured and the server answers in
time, offline otherwise; `wandb sync` sends an offline run later.
"""

from __future__ import annotations

import netrc
import os
import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from uora_bench.config.cell import TrackerConfig
from uora_bench.errors import UserError


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


class _Wandb(Tracker):
    """A W&B run that never takes the cell down with it: its first error is printed, then it is silent."""

    def __init__(self, run: Any) -> None:
        self._run = run

    def log(self, values: Mapping[str, Any], step: int) -> None:
        self._try(lambda run: run.log(dict(values), step=step))

    def log_again(self, rows: Sequence[tuple[int, Mapping[str, Any]]]) -> None:
        """As `Tracker.log_again`; a server leaves out the steps that it has."""
        for step, values in rows:
            self.log(values, step)

    def summary(self, values: Mapping[str, Any]) -> None:
        self._try(lambda run: run.summary.update(dict(values)))

    def finish(self, failed: bool = False) -> None:
        self._try(lambda run: run.finish(exit_code=1 if failed else 0))

    def _try(self, act: Callable[[Any], Any]) -> None:
        if self._run is None:
            return
        try:
            act(self._run)
        except Exception as error:  # noqa: BLE001 - whatever it is, the record is what counts
            print(f"W&B stopped recording: {' '.join(str(error).split())[:200]}", file=sys.stderr)
            self._run = None


def start(
    config: TrackerConfig,
    cell_id: str,
    label: str,
    experiment: str,
    facts: Mapping[str, Any],
    folder: Path,
    resumed: bool = False,
) -> Tracker:
    """Open the run of a cell in ``folder``; ``facts`` are shown as its configuration.

    ``resumed`` continues the run of that id on the server; otherwise a new run takes its place.

    Raises:
        UserError: for ``tracker.mode=online`` without a key, or when the server does not answer in ``tracker.timeout``;
            when W&B does not start offline either.
    """
    wish = os.environ.get("WANDB_MODE", "online")
    if config.name == "none" or wish == "disabled":
        return Tracker()
    why = _why_offline(config.mode, wish)
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    arguments: dict[str, Any] = {
        "project": config.project,
        "entity": config.entity,
        "id": cell_id,
        "name": label,
        "group": experiment,
        "config": dict(facts),
        "dir": str(folder),
    }

    def settings() -> Any:
        # without finish_timeout a run whose server went away would wait for it at the end, for ever
        bounds: dict[str, Any] = {"init_timeout": config.timeout, "finish_timeout": max(60.0, config.timeout)}
        return wandb.Settings(**bounds, silent=True, console="off", disable_git=True)

    if why is None:
        try:
            resume: Any = "allow" if resumed else None
            return _Wandb(wandb.init(mode="online", resume=resume, settings=settings(), **arguments))
        except Exception as error:  # noqa: BLE001 - wandb raises several types for "no server"
            first = str(error).splitlines()[0] if str(error) else type(error).__name__
            if config.mode == "online":
                raise UserError(
                    f"W&B does not answer ({first}); use tracker.mode=auto, offline, or tracker=none"
                ) from None
            why = f"the server does not answer ({first})"
            wandb.teardown()  # the id is taken in this process otherwise
            for failed in (folder / "wandb").glob("run-*"):
                shutil.rmtree(failed, ignore_errors=True)
    runs = f"{shlex.quote(str(folder))}/wandb/offline-run-*"
    print(f"W&B: going on offline, {why}; send the curves later: wandb sync --yes {runs}", file=sys.stderr)
    try:
        return _Wandb(wandb.init(mode="offline", settings=settings(), **arguments))
    except Exception as error:  # noqa: BLE001 - pydantic's, of a WANDB_… variable with an odd value, and others
        said = " ".join(str(error).split())[:200]
        raise UserError(f"W&B does not start: {said}; correct its WANDB_… variables, or use tracker=none") from None


def _why_offline(mode: str, wish: str) -> str | None:
    """Why a run of ``tracker.mode`` is not even tried online (``wish``: of WANDB_MODE); None: it is.

    Raises:
        UserError: for ``online`` without a key.
    """
    if mode == "online":
        if not has_key():
            raise UserError(
                "tracker.mode=online needs a key: run `wandb login`, or use tracker.mode=offline or tracker=none"
            )
        return None
    if mode == "offline":
        return "as tracker.mode=offline says"
    if wish != "online":
        return f"as WANDB_MODE={wish} says"
    return None if has_key() else "as no key is configured (`wandb login` does it; tracker=none records no curves)"


def has_key() -> bool:
    """Whether a W&B key is configured, by environment or in the netrc file (where ``wandb login`` puts it)."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai").split("//")[-1].split("/")[0]
    try:
        return netrc.netrc(os.environ.get("NETRC")).authenticators(host) is not None
    except (OSError, netrc.NetrcParseError, UnicodeDecodeError):
        return False

"""Weights & Biases.

Online when a key is configured and the server answers in time, offline otherwise; ``wandb sync`` sends an offline run
later.
"""

from __future__ import annotations

import netrc
import os
import shlex
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uora_bench.config.cell import TrackerConfig
from uora_bench.errors import UserError
from uora_bench.execution.trackers.base import GuardedTracker, RunFacts, Tracker
from uora_bench.util.log import LOG
from uora_bench.util.words import clause


class WandbTracker(GuardedTracker):
    """A W&B run. Its id is the cell_id, so a resumed cell continues the same run."""

    name = "W&B"

    def _log(self, values: Mapping[str, Any], step: int) -> None:
        self._run.log(dict(values), step=step)  # of rows told again a server leaves out the steps that it has

    def _summary(self, values: Mapping[str, Any]) -> None:
        self._run.summary.update(dict(values))

    def _finish(self, failed: bool) -> None:
        self._run.finish(exit_code=1 if failed else 0)


def start(config: TrackerConfig, facts: RunFacts, folder: Path, resumed: bool) -> Tracker:
    """Open the run of a cell in ``folder``.

    ``resumed`` continues the run of that id on the server; otherwise a new run takes its place.

    Raises:
        UserError: for ``tracker.mode=online`` without a key, or when the server does not answer in ``tracker.timeout``;
            when W&B does not start offline either.
    """
    wish = os.environ.get("WANDB_MODE", "online")
    if wish == "disabled":
        return Tracker()
    why = _why_offline(config.mode, wish)
    os.environ.setdefault("WANDB_SILENT", "true")
    import wandb

    arguments: dict[str, Any] = {
        "project": config.project,
        "entity": config.entity,
        "id": facts.cell_id,
        "name": facts.label,
        "group": facts.experiment,
        "job_type": facts.method,
        "tags": facts.tags,
        "config": dict(facts.config),
        "dir": str(folder),
    }

    def settings() -> Any:
        # without finish_timeout a run whose server went away would wait for it at the end, for ever
        bounds: dict[str, Any] = {"init_timeout": config.timeout, "finish_timeout": max(60.0, config.timeout)}
        return wandb.Settings(**bounds, silent=True, console="off", disable_git=True)

    if why is None:
        try:
            resume: Any = "allow" if resumed else None
            return WandbTracker(wandb.init(mode="online", resume=resume, settings=settings(), **arguments))
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
    LOG.warning(f"W&B: recording offline, {why}; upload the curves later: wandb sync --yes {runs}")
    try:
        return WandbTracker(wandb.init(mode="offline", settings=settings(), **arguments))
    except Exception as error:  # noqa: BLE001 - pydantic's, of a WANDB_… variable with an odd value, and others
        said = " ".join(str(error).split())[:200]
        raise UserError(
            f"W&B does not start: {clause(said)}; correct its WANDB_… variables, or use tracker=none"
        ) from None


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

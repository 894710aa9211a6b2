"""Experiment trackers: Weights & Biases, trackio, TensorBoard, or none.

They run on the main process only, never wait for a person, and never end a cell. The record does not depend on them.
"""

from __future__ import annotations

from pathlib import Path

from uora_bench.config.cell import TrackerConfig
from uora_bench.execution.trackers.base import RunFacts, Tracker

__all__ = ["RunFacts", "Tracker", "start"]


def start(config: TrackerConfig, facts: RunFacts, folder: Path, resumed: bool = False) -> Tracker:
    """Open the run of a cell; ``folder`` is its run folder.

    ``resumed`` continues the run of that cell_id; otherwise a new run takes its place.

    Raises:
        UserError: where the tracker cannot start: its library is missing, or ``tracker.mode=online`` has no key or
            gets no answer of the server within ``tracker.timeout`` seconds.
    """
    if config.name == "none":
        return Tracker()
    if config.name == "wandb":
        from uora_bench.execution.trackers import wandb_run

        return wandb_run.start(config, facts, folder, resumed)
    from uora_bench.execution.trackers import local

    begin = local.start_trackio if config.name == "trackio" else local.start_tensorboard
    return begin(config, facts, folder, resumed)

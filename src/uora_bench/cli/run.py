"""``uora-bench [run] key=value …``: one cell, from the command line to its record."""

from __future__ import annotations

import sys
import time

from uora_bench.cli import exits, keys
from uora_bench.cli.listing import describe
from uora_bench.cli.parser import Command, Given, Key
from uora_bench.util.log import LOG


def _act(given: Given) -> int:
    started = time.perf_counter()
    from uora_bench.config import plugins, synonyms
    from uora_bench.config.compose import compose
    from uora_bench.data import offline
    from uora_bench.util import launched
    from uora_bench.util.leaving import no_silent_end
    from uora_bench.util.signals import StopRequest

    launched.check_environment()
    stop = StopRequest()
    stop.install()
    words = synonyms.canonical_once(given.passed)  # as the record names them
    composed = compose(words)
    _ = composed.cell  # a mistake is one line
    if in_use := plugins.active():
        LOG.info(f"plug-ins: {'; '.join(map(describe, in_use))}")
    offline.use(composed.settings.data_root)
    if composed.settings.dry_run:
        from uora_bench.execution import dry_run

        print(dry_run.describe(composed))
        exits.check_printed()
        return 0
    if sys.stderr.isatty():  # the libraries alone take seconds
        LOG.info(f"{composed.cell.label}: loading")
    from uora_bench.execution.run import run_cell

    with no_silent_end():
        return run_cell(composed, words, stop, started).code


COMMAND = Command(
    "run",
    "train and score one cell: method, task, backbone, seed",
    _act,
    "run the same command again to resume from the checkpoint",
    passed=(
        *keys.CELL,
        keys.TRACKER,
        keys.DATA_ROOT,
        keys.RESULTS,
        keys.RUNS,
        keys.EXPERIMENT_NAME,
        Key("init_from", "start from the adapter of a run folder or cell_id"),
        keys.FORCE,
        Key("dry_run", "recipe with sources, targets and counts; no weights", flag=True),
        keys.ANY,
    ),
    lists=("method", "task", "backbone"),
    about=(
        "The word run is optional. Finished runs are skipped; rerun the command to resume an interrupted one from its "
        "checkpoint.",
    ),
    examples=(
        "",
        "method=vera task=glue/rte dry_run=true",
        "method=uora task=glue/mrpc backbone=minilm data.root=<folder>",
        "method=lora task=glue/rte learning_rate=4e-4 num_train_epochs=10",
    ),
    codes={1: "failed", 75: "being run by another process"},
    prints=False,
)

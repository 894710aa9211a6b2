"""``uora-bench sweep …`` (also ``-m``): `uora_bench.cli.plan`, and what is open is run on this machine."""

from __future__ import annotations

from functools import partial

from uora_bench.cli import plan
from uora_bench.cli.parser import Command

COMMAND = Command(
    "sweep",
    "run a grid of cells, here or on Slurm; run it again to resume",
    partial(plan.act, launcher="local"),
    plan.RESUME,
    keys=plan.KEYS,
    passed=plan.passed("local"),
    lists=("experiment",),
    about=plan.ABOUT,
    examples=(
        "sweep experiment=quickstart",
        "sweep method=lora,uora task=glue/rte,glue/mrpc seed=0,1,2",
        "sweep experiment=uora_glue launcher=slurm launcher.partition=gpu",
    ),
    codes=plan.CODES,
    prints=False,
)

"""``python -m uora_bench plan experiment=NAME [axis=v1,v2 …] [launcher=print|local|slurm]``: a grid, planned and run.

Exit codes: 0 (everything to be run is done, or was submitted or printed), 1 some cells failed, 2 the user's mistake,
75 Slurm still holds some (``--collect``), 128 + n stopped by signal n.
"""

from __future__ import annotations

import sys

from uora_bench.cli import exits
from uora_bench.config import registry
from uora_bench.config.cell import Cell
from uora_bench.errors import UserError

_HELP = """uora_bench plan: a grid of cells, compared with the records there are, estimated, and run.

usage: python -m uora_bench plan experiment=NAME [key=v1,v2 …] [launcher=print|local|slurm] [launcher.key=…]
       python -m uora_bench -m method=lora,uora task=glue/rte,glue/mrpc seed=0,1,2        the same without a preset
       python -m uora_bench plan experiment=NAME --memory                 with the memory each row will take
       python -m uora_bench plan experiment=NAME --status | --collect                     later, from any shell

experiments (configs/experiment/)
{experiments}

values
  a,b   range(0,5)   glob(glue/*) or glue/*         a sweep: the values of an axis, the preset's are replaced
  one value                                         the same in every cell

launchers
  print   the table and plan.json only (the default)
  local   the GPUs of this machine, or its cores: launcher.slots_per_gpu=1 launcher.cpu_slots=… launcher.minutes=…
  slurm   job arrays through submitit: launcher.partition=… launcher.gpus=1 launcher.minutes=…
  every key of a launcher: configs/launcher/"""


def main(words: list[str] | None = None, launcher: str = "print") -> int:
    """Run the command line ``words`` (default: the process's own); returns the exit code."""
    given = sys.argv[1:] if words is None else words
    return exits.run(lambda: _main(given, launcher), "the same command goes on where it stopped")


def _main(words: list[str], launcher: str) -> int:
    if any(w in ("-h", "--help", "help") for w in words):
        names = registry.choices("experiment")
        print(_HELP.format(experiments="\n".join(f"  {n}" for n in names)), flush=True)
        return 0
    return _run(words, launcher)


def _run(words: list[str], launcher: str) -> int:
    from rich.console import Console

    from uora_bench.grid import build, request, show

    flags = [w for w in words if w in ("--status", "--collect")]
    trace = "--memory" in words
    wanted = request.read([w for w in words if w not in (*flags, "--memory")], launcher)
    if trace and (flags or wanted.launcher != "print"):
        raise UserError("--memory traces before anything runs; give it without a launcher, --status and --collect")
    if wanted.options and wanted.launcher == "print":
        raise UserError(f"launcher.{next(iter(wanted.options))} needs launcher=local or launcher=slurm")
    console = Console(soft_wrap=False, width=None if sys.stdout.isatty() else 140)
    if wanted.launcher == "slurm" or flags:
        from uora_bench.grid.launch import slurm

        return slurm.command(wanted, flags, console)
    from uora_bench.grid.launch import local

    options = local.read_options(wanted.options) if wanted.launcher == "local" else None
    plan, cells, notes = build.beside_slurm(wanted, options.processes if options is not None else None)
    if cells.duplicates:
        notes.append(f"{cells.duplicates} rows are the same cell as one before and were left out")
    if trace:
        from uora_bench.grid.memory import fill
        from uora_bench.training import memory

        known = {planned.key: planned.cell for planned in cells.items}

        def trace_one(cell: Cell) -> int:
            print(f"tracing {cell.label}", file=sys.stderr, flush=True)
            return memory.predict(cell).peak

        plan, untraced = fill(plan, known, trace_one)
        notes += untraced
    path = plan.write()
    show.show(plan, [*notes, f"plan: {path}"], console, cells.experiment.note)
    if options is None:
        return 0
    return local.run(plan, options, console)

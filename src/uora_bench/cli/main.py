"""``python -m uora_bench key=value …``: one cell, from the command line to its record.

Exit codes: 0 done (or already done), 1 the cell failed, 2 the user's mistake, 75 another process is running the cell,
128 + n stopped by signal n. ``-m`` makes it a grid (`uora_bench.grid`).
"""

from __future__ import annotations

import importlib
import sys
import time

from uora_bench import __version__
from uora_bench.cli import exits
from uora_bench.config import registry
from uora_bench.errors import UserError

_HELP = """uora_bench {version}: one cell of a PEFT benchmark (method x task x backbone x seed), from recipe to record.

usage: python -m uora_bench method=… task=… [backbone=…] [seed=…] [any.key=value]

{groups}
often used keys
  seed=0  trainer.epochs=…  trainer.precision=auto  backbone=… (default: the task's)  recipe=none
  data.root=<folder> (or UORA_DATA_DIR)  results.dir=results  runs.dir=runs  experiment_name=scratch
  tracker=wandb|none  init_from=<run folder or cell_id>  force=true  dry_run=true (recipe, targets, counts)

examples
  python -m uora_bench                                          UORA on generated text, no download
  python -m uora_bench method=vera task=glue/rte dry_run=true   recipe and parameter counts, no weights
  python -m uora_bench method=uora task=glue/mrpc backbone=minilm data.root=<folder>
  python -m uora_bench -m method=lora,uora task=tiny/nli seed=0,1,2     a grid: see python -m uora_bench plan --help

every key and its default: configs/; exit codes: 0 done, 1 failed, 2 your mistake, 75 being run by another process,
128+n signal n"""


def main(words: list[str] | None = None) -> int:
    """Run the command line ``words`` (default: the process's own); returns the exit code."""
    given = sys.argv[1:] if words is None else words
    return exits.run(lambda: _main(given), "the same command goes on from the checkpoint")


# sub-command -> the module of this package whose `main` takes the words after it
_COMMANDS = {
    "plan": "plan", "theory": "theory", "export": "export", "memory": "memory", "prefetch": "prefetch",
    "records": "records", "tables": "report", "explain": "report", "figures": "report", "page": "report",
}  # fmt: skip
_MT_BENCH = {"answer": "mt_bench", "judge": "judge"}


def _main(words: list[str]) -> int:
    if words and words[0] in _COMMANDS:
        module = _COMMANDS[words[0]]
        return _command(module, words if module == "report" else words[1:])
    if words and words[0] == "mt-bench":
        if len(words) < 2 or words[1] not in _MT_BENCH:
            raise UserError("mt-bench needs to know what to do: mt-bench answer, or mt-bench judge")
        return _command(_MT_BENCH[words[1]], words[2:])
    if any(w in ("-h", "--help", "help") for w in words):
        print(_help(), flush=True)
        return 0
    if any(w in ("-m", "--multirun") for w in words):
        from uora_bench.cli.plan import main as plan

        return plan([w for w in words if w not in ("-m", "--multirun")], launcher="local")
    if "--version" in words:
        print(__version__)
        return 0
    return _run(words)


def _command(module: str, words: list[str]) -> int:
    return int(importlib.import_module(f"uora_bench.cli.{module}").main(words))


def _run(words: list[str]) -> int:
    started = time.perf_counter()
    from uora_bench.config.compose import compose
    from uora_bench.data import offline
    from uora_bench.util.signals import StopRequest

    stop = StopRequest()
    stop.install()
    composed = compose(words)
    offline.use(composed.settings.data_root)
    if composed.settings.dry_run:
        from uora_bench.run.dry_run import describe

        print(describe(composed))
        return 0
    from uora_bench.run.run import run_cell

    return run_cell(composed, words, stop, started)


def _help() -> str:
    import textwrap

    blocks = []
    for group in ("method", "task", "backbone"):
        names = "  ".join(registry.choices(group))
        blocks.append(f"{group}=\n{textwrap.fill(names, 110, initial_indent='  ', subsequent_indent='  ')}\n")
    return _HELP.format(version=__version__, groups="\n".join(blocks))

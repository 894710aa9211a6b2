"""``python -m uora_bench export <cell_id | run folder> --format peft|merged|native``: a finished cell for others.

Exit codes: 0 done, 1 the written folder did not pass its check (nothing is left), 2 the user's mistake, 128 + n stopped
by signal n.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NoReturn

from uora_bench.cli import exits
from uora_bench.errors import UserError, nearest
from uora_bench.export import formats, request, source
from uora_bench.util.signals import StopRequest

_EPILOG = """formats
  peft     a LoRA adapter of scale 1 with the task head, as PEFT writes it (--as vera: PEFT's VeRA, where it fits)
  merged   a plain transformers model: W + ΔW, head and tokenizer
  native   adapter, head and configuration; uora_bench.export.load_model(folder) reads it

Every export is loaded again and its logits compared with the run's before it is put in place. See docs/export.md.
exit codes: 0 done, 1 the check failed (nothing is left), 2 your mistake, 128+n signal n"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see python -m uora_bench export --help")


def _parser() -> _Parser:
    parser = _Parser(
        prog="python -m uora_bench export",
        description="Export a finished cell.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("cell", metavar="cell_id|folder", help="a finished cell: its id (looked up under --runs), or its run folder")
    add("--format", required=True, metavar="|".join(request.FORMATS), help="what to write")
    add("--as", dest="shape", metavar="|".join(request.SHAPES), help="the PEFT adapter's shape (default: lora)")
    add("--weights", default="last", metavar="|".join(source.WEIGHTS), help="of the last epoch (default) or dev's best")
    add("--dtype", metavar="float32", help="widen a half-precision backbone first (--format merged)")
    add("--output", metavar="DIR", help="default: exports/<cell_id>/<format>")
    add("--force", action="store_true", help="replace an export that is there already")
    add("--experiment", metavar="NAME", help="which experiment's, when several have the cell")
    add("--runs", default="runs", metavar="DIR", help="the runs.dir of the cell (default: runs)")
    add("--results", metavar="DIR", help="the results.dir of the cell, for its record (default: what the run had)")
    add("--backbone", metavar="DIR", help="the folder of the backbone's weights, where the run's own is gone")
    return parser


def main(words: list[str] | None = None) -> int:
    """Run the command line ``words`` (default: the process's own); returns the exit code."""
    return exits.run(lambda: _main(words), "nothing was written")


def _main(words: list[str] | None) -> int:
    parser = _parser()
    given, rest = parser.parse_known_args(words)
    if rest:
        flags = [flag for action in parser._actions for flag in action.option_strings]
        raise UserError(f"unknown argument '{rest[0]}'{nearest(rest[0], flags, limit=20)}")
    wanted = request.ExportRequest(
        format=given.format,
        shape=given.shape,
        weights=given.weights,
        dtype=given.dtype,
        backbone=given.backbone,
        results=given.results,
        force=given.force,
    )
    StopRequest().install()
    folder = source.find_run(given.cell, given.runs, given.experiment)
    print(formats.export(folder, wanted, Path(given.output) if given.output else None), flush=True)
    return 0

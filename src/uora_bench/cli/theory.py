"""``python -m uora_bench theory figure=1 …``: the high-dimensional experiments of the α-LoRA paper, as cells.

Exit codes: 0 all cells are done, 1 some failed, 2 the user's mistake, 75 another process has some of them, 128 + n
stopped by signal n.
"""

from __future__ import annotations

import sys

from uora_bench.cli import exits
from uora_bench.errors import UserError

_HELP = """uora_bench theory: transfer with ridge classifiers in high dimension, theory beside simulation.

usage: python -m uora_bench theory figure=1 | table=1 | experiment=NAME [key=v1,v2 …]
       python -m uora_bench theory all          every experiment with its own values
       python -m uora_bench theory list         what there is

experiments (configs/theory/)
{experiments}

keys
  N n p mu mu_perp beta gamma_pre gamma alphas …   parameters, in the paper's names; several values are a cell each,
                                                   alphas=-1,0,1 (or any list) is one list
  seed=0,1   repetitions=…                         independent draws behind each mean
  variant=corrected|released                       which formulas the printed lines set beside the simulation;
                                                   records hold both
  data.root=<folder> (or UORA_DATA_DIR)            where amazon_blitzer/ is, for the reviews
  results.dir=results  experiment_name=…           records go to <results.dir>/records/theory_<name>/
  force=true   dry_run=true                        run again; say what would run

Finished cells are not run again. Tables and figures: python -m uora_bench tables | figures.
exit codes: 0 done, 1 failed, 2 your mistake, 75 being run by another process, 128+n signal n"""


def main(words: list[str] | None = None) -> int:
    """Run the command line ``words`` (default: the process's own); returns the exit code."""
    given = sys.argv[1:] if words is None else words
    return exits.run(lambda: _main(given), "finished cells are kept; the same command runs the rest")


def _main(words: list[str]) -> int:

    if not words or any(w in ("-h", "--help", "help") for w in words):
        print(_HELP.format(experiments="\n".join(f"  {line}" for line in _listed())), flush=True)
        return 0 if words else 2
    if words[0] == "list":
        if len(words) > 1:
            raise UserError(f"list takes no other word, not '{words[1]}'")
        print("\n".join(_listed()), flush=True)
        return 0
    if words[0] == "all":
        return _all(words[1:])
    return _run(words)


def _all(words: list[str]) -> int:
    """Every experiment. One that cannot begin (its data is not there) does not keep the others from running."""
    from uora_bench.theory import presets

    codes, refused = [], []
    for name in presets.names():
        try:
            codes.append(_run([f"experiment={name}", *words], quiet=True))
        except UserError as error:
            refused.append(f"{name}: {error}")
    if refused:
        raise UserError(f"{len(refused)} experiments did not run; the first is {refused[0]}")
    return max(codes)


def _listed() -> list[str]:
    from uora_bench.theory import presets

    found = [presets.load_preset(name) for name in presets.names()]
    width = max(len(preset.name) for preset in found)
    return [f"{p.name:{width}}  {len(presets.expand(p)):3d} cells  {p.title}" for p in found]


def _run(words: list[str], quiet: bool = False) -> int:
    from uora_bench.theory import request, show
    from uora_bench.theory.run import run_cells
    from uora_bench.util.signals import StopRequest

    StopRequest().install()
    wanted = request.read_request(words)
    if wanted.dry_run:
        print("\n".join(show.plan(wanted)), flush=True)
        return 0
    outcome = run_cells(wanted)
    if not quiet:
        for record in outcome.done:
            print("\n".join(show.lines(record, wanted.variant)), flush=True)
    print(show.summary(wanted, outcome), flush=True)
    return 1 if outcome.failed else 75 if outcome.busy else 0

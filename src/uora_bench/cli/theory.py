"""``uora-bench theory figure=1 …``: the high-dimensional experiments of the α-LoRA paper, as cells."""

from __future__ import annotations

from dataclasses import replace

from uora_bench.cli import keys
from uora_bench.cli.parser import Command, Given, Key
from uora_bench.errors import UserError
from uora_bench.util.words import count


def _act(given: Given) -> int:
    # a word that stands alone comes among the passed ones: parameters are the experiment's, and no key is known here
    words = list(given.passed)
    action = words[0] if words and "=" not in words[0] else None
    if action == "list":
        if len(words) > 1:
            raise UserError(f"list takes no other word, not '{words[1]}'")
        print("\n".join(_listed()), flush=True)
        return 0
    return _all(words[1:]) if action == "all" else _run(words)


def _all(words: list[str]) -> int:
    """Every experiment. One that cannot begin (its data is not there) does not keep the others from running."""
    from uora_bench.theory import presets

    chosen = next((word for word in words if word.partition("=")[0] in ("experiment", "figure", "table")), None)
    if chosen is not None:
        raise UserError(f"'{chosen}': all runs every experiment; drop 'all' or this word")
    codes, refused = [], []
    for name in presets.names():
        try:
            codes.append(_run([f"experiment={name}", *words], quiet=True))
        except UserError as error:
            refused.append(f"{name}: {error}")
    if refused:
        raise UserError(f"{count(len(refused), 'experiment')} did not run; the first is {refused[0]}")
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


COMMAND = Command(
    "theory",
    "transfer with ridge classifiers in high dimension, simulated",
    _act,
    "finished cells are kept; the same command runs the rest",
    words="[all|list]",
    passed=(
        Key("figure", "the experiment behind a figure of the paper", shown="n"),
        Key("table", "the experiment behind a table of the paper", shown="n"),
        replace(keys.EXPERIMENT, help="an experiment of configs/theory/"),
        Key("seed", "independent draws, e.g. seed=0,1"),
        Key("repetitions", "draws behind each mean"),
        Key("variant", "which formulas are printed beside the simulation", "corrected", ("corrected", "released")),
        replace(keys.DATA_ROOT, help="where amazon_blitzer/ is, for the reviews (or UORA_DATA_DIR)"),
        keys.RESULTS,
        replace(keys.EXPERIMENT_NAME, default=None, shown="theory_…"),
        keys.FORCE,
        keys.DRY_RUN,
        Key(
            "parameter",
            "N n p mu beta gamma alphas … in the paper's names; several values are a cell each, "
            "alphas=-1,0,1 is one list",
        ),
    ),
    lists=("theory",),
    about=(
        "all runs every experiment with its own values, list says what there is. Finished cells are not run again. "
        "Tables and figures: uora-bench tables, uora-bench figures.",
    ),
    examples=(
        "theory figure=1",
        "theory figure=1 beta=0.3 n=100 experiment_name=theory_mine",
        "theory all data.root=<folder>",
    ),
    codes={1: "some cells failed", 75: "being run by another process"},
)

"""``uora-bench figures``: results/figures from the records: SVG, PDF and the plotted numbers."""

from __future__ import annotations

from pathlib import Path

from uora_bench.cli import keys
from uora_bench.cli.parser import Command, Given, Key


def _act(given: Given) -> int:
    from uora_bench.report import cache, figures
    from uora_bench.theory import report as theory

    results = Path(given.text("results.dir") or "results")
    rule, formats = keys.rule_of(given), (given.text("format") or "svg,pdf").split(",")
    check = given.flag("check")
    with cache.unused(check or given.text("cache") == "false"):
        return figures.command(given.text("experiment"), check, results, rule, (theory,), formats, given.flag("force"))


FORMAT = Key("format", "of svg, pdf and png; an SVG there is always", "svg,pdf", shown="KIND[,KIND …]")
COMMAND = Command(
    "figures",
    "figures of the records (needs the extra: figures)",
    _act,
    keys=(keys.RECORDED, keys.RULE, FORMAT, keys.FORCE, keys.CHECK, keys.CACHE, keys.RESULTS),
    about=("Drawn is what shows something else than before (force=true: everything). check=true needs no matplotlib.",),
    examples=("figures", "figures experiment=minilm_glue", "figures format=png", "figures check=true"),
    codes={1: "something could not be drawn"},
)

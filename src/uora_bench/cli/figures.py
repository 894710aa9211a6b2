"""``uora-bench figures``: results/figures from the records: SVG, PNG and the plotted numbers."""

from __future__ import annotations

from pathlib import Path

from uora_bench.cli import keys
from uora_bench.cli.parser import Command, Given


def _act(given: Given) -> int:
    from uora_bench.report import figures
    from uora_bench.theory import report as theory

    results = Path(given.text("results.dir") or "results")
    return figures.command(given.text("experiment"), given.flag("check"), results, keys.rule_of(given), (theory,))


COMMAND = Command(
    "figures",
    "figures of the records (needs the extra: figures)",
    _act,
    keys=(keys.RECORDED, keys.RULE, keys.CHECK, keys.RESULTS),
    about=("check=true compares the CSV files alone: the pictures depend on matplotlib's version.",),
    examples=("figures", "figures experiment=minilm_glue", "figures check=true"),
    codes={1: "something could not be drawn"},
)

"""``uora-bench page``: results/report/index.html, tables, figures and every cell in one file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from uora_bench.cli import keys
from uora_bench.cli.parser import Command, Given


def _act(given: Given) -> int:
    from uora_bench.report import cache, page
    from uora_bench.theory import report as theory

    names = [name for value in given.every("experiment") for name in value.split(",")]
    with cache.unused(given.text("cache") == "false"):
        return page.command(names, Path(given.text("results.dir") or "results"), keys.rule_of(given), (theory,))


COMMAND = Command(
    "page",
    "one HTML file of tables, figures and cells",
    _act,
    keys=(replace(keys.RECORDED, shown="NAME[,NAME …]", many=True), keys.RULE, keys.CACHE, keys.RESULTS),
    about=("The file is <results.dir>/report/index.html and loads nothing. Its figures need the extra: figures.",),
    examples=("page", "page experiment=minilm_glue", "page rule=best_dev results.dir=elsewhere"),
)

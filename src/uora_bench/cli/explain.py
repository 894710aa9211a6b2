"""``uora-bench explain TABLE ROW COLUMN [BLOCK]``: one number of a table, taken apart; ``explain KEY``: a setting."""

from __future__ import annotations

import re
from pathlib import Path

from uora_bench.cli import keys
from uora_bench.cli.parser import Command, Given
from uora_bench.errors import UserError, nearest


def _act(given: Given) -> int:
    if len(given.names) == 1 and re.fullmatch(r"UC\d+", given.names[0]):
        from uora_bench.report.comparability import TITLES

        if given.names[0] not in TITLES:
            raise UserError(f"no rule '{given.names[0]}'{nearest(given.names[0], TITLES)} (docs/comparability.md)")
        print(f"{given.names[0]}: {TITLES[given.names[0]]} (docs/comparability.md has a known case)", flush=True)
        return 0
    if len(given.names) == 1:
        from uora_bench.cli.settings import describe_setting

        print(*describe_setting(given.names[0]), sep="\n", flush=True)
        return 0
    from uora_bench.report import explain
    from uora_bench.theory import report as theory

    results = Path(given.text("results.dir") or "results")
    print(explain.explain(given.names, results, keys.rule_of(given), (theory,)), flush=True)
    return 0


COMMAND = Command(
    "explain",
    "the cells, scores and commands behind one number; or what a setting means",
    _act,
    words="KEY | TABLE ROW COLUMN [BLOCK]",
    least=1,
    most=4,
    keys=(keys.RULE, keys.RESULTS),
    about=(
        "With one word: what this setting means, its default, and by which other names it is understood; or what a "
        "rule is about, as UC12.",
    ),
    examples=(
        "explain trainer.lr_adapter",
        "explain minilm_glue VeRA MRPC",
        "explain minilm_glue 'UORA r=32 (τ 1e-5)' Avg",
    ),
)

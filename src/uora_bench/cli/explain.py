"""``uora-bench explain TABLE ROW COLUMN [BLOCK]``: one number of a table, taken apart."""

from __future__ import annotations

from pathlib import Path

from uora_bench.cli import keys
from uora_bench.cli.parser import Command, Given


def _act(given: Given) -> int:
    from uora_bench.report import explain
    from uora_bench.theory import report as theory

    results = Path(given.text("results.dir") or "results")
    print(explain.explain(given.names, results, keys.rule_of(given), (theory,)), flush=True)
    return 0


COMMAND = Command(
    "explain",
    "the cells, scores and commands behind one number",
    _act,
    words="TABLE ROW COLUMN [BLOCK]",
    least=3,
    most=4,
    keys=(keys.RULE, keys.RESULTS),
    examples=("explain minilm_glue 'LoRA r=8' MRPC", "explain tiny_e2e LoRA BLEU"),
)

"""``uora-bench explain TABLE ROW COLUMN [BLOCK]``: one number of a table, taken apart; ``explain KEY``: a setting."""

from __future__ import annotations

from pathlib import Path

from uora_bench.cli import keys
from uora_bench.cli.parser import Command, Given


def _act(given: Given) -> int:
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
    about=("With one word: what this setting means, its default, and by which other names it is understood.",),
    examples=("explain trainer.lr_adapter", "explain minilm_glue VeRA MRPC", "explain tiny_e2e LoRA BLEU"),
)

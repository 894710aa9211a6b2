"""The line with the scores that ends a cell."""

from __future__ import annotations

from tests.support.records import finished_record
from uora_bench.config.compose import compose
from uora_bench.execution.run import summary
from uora_bench.records.record import RuleScore, Split


def line(**rules: tuple[float, float, int | None]) -> str:
    """What `summary` says of rules with a score on dev, one on test, and an epoch."""
    scores = {rule: RuleScore({"dev": {"accuracy": dev}, "test": {"accuracy": test}}, epoch, "")
              for rule, (dev, test, epoch) in rules.items()}  # fmt: skip
    said = summary(finished_record(compose(["task=tiny/nli"]).cell, "0" * 16, "x", scores=scores))
    return said.partition("]: ")[2]


def test_equal_scores_are_said_once() -> None:
    one = (0.5, 0.25, 3)
    assert line(last=one, best_dev=one, heldout_dev=(0.5, 0.25, None)) == (
        "dev accuracy 50.00, test accuracy 25.00 (rules last, best_dev, heldout_dev, epoch 3); "
        "dev = validation (50 rows)"
    )


def test_equal_scores_of_unequal_epochs_name_the_epoch_of_each_rule() -> None:
    assert line(last=(0.5, 0.25, 3), best_dev=(0.5, 0.25, 1)) == (
        "dev accuracy 50.00, test accuracy 25.00 (rules last at epoch 3, best_dev at epoch 1); "
        "dev = validation (50 rows)"
    )


def test_unequal_scores_are_all_said() -> None:
    assert line(last=(0.5, 0.25, 3), best_dev=(0.625, 0.25, 2)) == (
        "dev accuracy 50.00, test accuracy 25.00 (rule last, epoch 3); "
        "dev accuracy 62.50, test accuracy 25.00 (rule best_dev, epoch 2); dev = validation (50 rows)"
    )


def test_a_test_set_is_named_beside_the_dev_set() -> None:
    splits = {"train": Split("a", 8), "dev": Split("b", 1), "test": Split("c", 2)}
    said = summary(finished_record(compose(["task=tiny/nli"]).cell, "0" * 16, "x", splits=splits))
    assert said.endswith("; dev = b (1 row), test = c (2 rows)")

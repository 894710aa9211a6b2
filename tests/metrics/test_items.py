"""Scores of items have the score as their mean, and say what leaving an item out says, for every built-in metric."""

from __future__ import annotations

import numpy as np
import pytest

from uora_bench.config.metrics import SCORES
from uora_bench.metrics import load_metric
from uora_bench.metrics.items import item_scores, why_not

WORDS = ["the", "cat", "sat", "on", "a", "mat", "my", "old", "house", "in", "12", "true", "option1", "A", "#### 3"]


def columns(metric: str) -> tuple[object, object]:
    """Forty rows as the metric takes them, about half of them right."""
    draws = np.random.default_rng(3)
    texts = [" ".join(draws.choice(WORDS, 9)) for _ in range(40)]
    if metric == "lm/likelihood":
        return draws.gamma(5.0, 4.0, 40), draws.integers(3, 30, 40)
    if metric in ("glue/stsb", "text/regression"):
        true = draws.random(40) * 5
        return true + draws.normal(0, 1, 40), true
    if metric == "choices/likelihood":
        return draws.random((40, 3)), [[int(c), 4, 9, 6] for c in draws.integers(0, 3, 40)]
    if metric.startswith("answers/"):
        right = {"number": ["12", "3"], "letter": ["A", "B"], "word": ["true", "option1"]}[metric.partition("/")[2]]
        return texts, [[right[int(c)]] for c in draws.integers(0, 2, 40)]
    if metric == "math/gsm8k":
        return texts, [[f"so #### {c}"] for c in draws.integers(2, 5, 40)]
    if metric.startswith(("glue/", "vision/")) or metric in ("text/classes", "text/choices"):
        true = draws.integers(0, 2, 40)
        return np.where(draws.random(40) < 0.7, true, 1 - true), true
    near = [text if draws.random() < 0.3 else " ".join([*text.split()[:6], "far", "off"]) for text in texts]
    return near, texts if metric == "text/generation" else [[text, "the old cat sat"] for text in texts]


def taken(column: object, keep: np.ndarray) -> object:
    return column[keep] if isinstance(column, np.ndarray) else [column[i] for i in np.flatnonzero(keep)]  # type: ignore[index]


EVERY = [(metric, value) for metric, values in SCORES.items() for value in values]


@pytest.mark.parametrize(("metric", "value"), [pair for pair in EVERY if why_not(*pair)])
def test_what_has_no_value_of_an_item_is_refused(metric: str, value: str) -> None:
    with pytest.raises(ValueError, match=r"items|Java|library"):
        item_scores(metric, value, *columns(metric))


@pytest.mark.parametrize(("metric", "value"), [pair for pair in EVERY if not why_not(*pair)])
def test_the_mean_is_the_score_and_leaving_an_item_out_is_computed_again(metric: str, value: str) -> None:
    predictions, references = columns(metric)
    options = {"meteor": False} if metric == "e2e/e2e" else {}

    def scored(keep: np.ndarray) -> float:
        own = {"predictions": taken(predictions, keep), "references": taken(references, keep)}
        return float(load_metric(metric).compute(**own, **options)[value])

    found = item_scores(metric, value, predictions, references)
    assert found.shape == (40,)
    assert found.mean() == pytest.approx(scored(np.ones(40, dtype=bool)), abs=1e-9)
    without = np.array([scored(np.arange(40) != i) for i in range(40)])
    assert found - found.mean() == pytest.approx(39 * (without.mean() - without), abs=1e-7)


def test_what_has_no_scores_of_items_is_said() -> None:
    every = [(metric, value) for metric, values in SCORES.items() for value in values]
    assert {value for metric, value in every if why_not(metric, value)} == {
        "meteor",
        "nist",
        "cider",
        "chrf",
        "spearmanr",
    }
    assert "nothing is known" in why_not("local/mine", "mine")

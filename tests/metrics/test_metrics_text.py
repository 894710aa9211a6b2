"""The scores of a user's own rows, by hand and against other libraries."""

from __future__ import annotations

import numpy as np
import pytest
import sacrebleu

from uora_bench import metrics
from uora_bench.config.cell import MetricSpec
from uora_bench.config.metrics import SCORES, settled
from uora_bench.errors import UserError
from uora_bench.metrics.text import class_scores, generation_scores, regression_scores, squad_words


def test_classes_by_hand() -> None:
    # class 0: tp 1, fp 1, fn 0; class 1: tp 1, fp 0, fn 1; class 2 only in the references
    scores = class_scores([0, 0, 1, 1], [0, 1, 1, 2])
    assert scores == {"accuracy": 0.5, "macro_f1": pytest.approx((2 / 3 + 1 / 2 + 0) / 3)}
    with pytest.raises(UserError, match="n above 0"):
        class_scores([], [])


def test_numbers_against_numpy() -> None:
    generator = np.random.default_rng(0)
    a, b = generator.normal(size=(2, 50)).astype(np.float32)
    scores = regression_scores(a, b)
    assert scores["pearson"] == pytest.approx(np.corrcoef(a, b)[0, 1])
    ranks = [np.argsort(np.argsort(x)) for x in (a, b)]
    assert scores["spearmanr"] == pytest.approx(np.corrcoef(*ranks)[0, 1])
    assert scores["mse"] == pytest.approx(np.mean((a.astype(float) - b.astype(float)) ** 2))
    assert regression_scores([-1.0, -1.0], [-1.0, -1.0]) == {"pearson": 0.0, "spearmanr": 0.0, "mse": 0.0}


def test_written_answers_by_hand_and_against_sacrebleu() -> None:
    texts, references = ["The  Eiffel Tower!", "in the year 1889", ""], ["eiffel tower", "1889", "Paris"]
    assert squad_words("The Eiffel-Tower, a 'tower'") == ["eiffeltower", "tower"]
    scores = generation_scores(texts, references)
    assert tuple(scores) == SCORES["text/generation"]
    assert scores["exact_match"] == pytest.approx(1 / 3)
    assert scores["f1"] == pytest.approx((1 + 2 * 1 / (3 + 1) + 0) / 3)  # "in year 1889" against "1889"
    assert scores["rouge_l"] == pytest.approx((2 * 2 / 5 + 2 * 1 / 5 + 0) / 3)
    assert scores["bleu"] == pytest.approx(sacrebleu.corpus_bleu(texts, [references]).score / 100)
    assert scores["chrf"] == pytest.approx(sacrebleu.corpus_chrf(texts, [references]).score / 100)
    assert generation_scores(["x y z w v"], ["x y z w v"]) == pytest.approx(dict.fromkeys(scores, 1.0))


@pytest.mark.parametrize("name", [name for name in SCORES if name.startswith("text/")])
def test_a_metric_gives_what_the_table_says(name: str) -> None:
    columns = (["a b c d e"], ["a b c d e"]) if name == "text/generation" else ([1, 0, 1], [1, 0, 0])
    assert tuple(metrics.load_metric(name).compute(predictions=columns[0], references=columns[1])) == SCORES[name]


def test_a_metric_that_is_left_open_has_its_own_direction_and_scale() -> None:
    left = MetricSpec("text/auto", "mse")
    assert settled(left, "text/regression") == MetricSpec("text/regression", "mse", False, 1.0)
    with pytest.raises(UserError, match="text/classes has no 'mse'"):
        settled(left, "text/classes")
    mine = MetricSpec("./mine.py", "value")
    assert settled(mine, "text/classes") == mine

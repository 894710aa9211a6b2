"""The scores of public language tasks against the values of other people's implementations, item by item.

``data/language_references.json`` is what `scripts/language_references.py` wrote with SQuAD's official script,
rouge_score 0.1.2 and lm-evaluation-harness 0.4.13.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sacrebleu

from uora_bench import metrics
from uora_bench.config.metrics import SCORES
from uora_bench.errors import UserError

REFERENCES = json.loads((Path(__file__).parent / "data" / "language_references.json").read_text("utf-8"))
TEXTS = [(row["text"], row["answers"]) for row in REFERENCES["texts"]]
SOLUTIONS = [(row["text"], [row["answer"]]) for row in REFERENCES["solutions"]]


def scores(name: str, rows: list[tuple[Any, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = metrics.load_metric(name).compute(
        predictions=[row[0] for row in rows], references=[row[1] for row in rows]
    )
    return found


@pytest.mark.parametrize(("name", "key", "rows"), [("qa/squad", "squad", TEXTS), ("math/gsm8k", "gsm8k", SOLUTIONS)])
def test_every_item_has_the_official_score(name: str, key: str, rows: list[tuple[str, list[str]]]) -> None:
    wanted = REFERENCES[key]
    assert tuple(wanted) == SCORES[name]
    assert len(rows) >= 50
    for i, row in enumerate(rows):
        assert scores(name, [row]) == pytest.approx({k: values[i] for k, values in wanted.items()}), row
    assert scores(name, rows) == pytest.approx({k: np.mean(values) for k, values in wanted.items()})
    assert all(0 < np.mean(values) < 1 for values in wanted.values())


def test_rouge_is_that_of_rouge_score() -> None:
    wanted = REFERENCES["rouge"]
    for i, row in enumerate(TEXTS):
        mean = {k: np.mean(values[i]) for k, values in wanted.items()}
        best = {f"{k}_best": max(values[i]) for k, values in wanted.items()}
        assert scores("summarisation/rouge", [row]) == pytest.approx({**mean, **best}), row
    assert tuple(scores("summarisation/rouge", TEXTS)) == SCORES["summarisation/rouge"]
    assert max(len(answers) for _, answers in TEXTS) == 3


def test_translations_have_sacrebleus_scores_and_signature() -> None:
    texts, firsts = [text for text, _ in TEXTS], [answers[0] for _, answers in TEXTS]
    found = scores("translation/corpus", list(zip(texts, [[first] for first in firsts], strict=True)))
    assert found["bleu"] == pytest.approx(sacrebleu.corpus_bleu(texts, [firsts]).score / 100)
    assert found["chrf"] == pytest.approx(sacrebleu.corpus_chrf(texts, [firsts]).score / 100)
    assert found["signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")
    several = scores("translation/corpus", TEXTS)
    assert several["bleu"] > found["bleu"]
    assert several["signature"].startswith("nrefs:var|")


@pytest.mark.parametrize(
    ("name", "text", "answer", "right"),
    [
        ("answers/number", "so 1,250 of them", "1250.0", True),
        ("answers/number", "7 or 12.0004", "12", True),
        ("answers/number", "12 or 7", "12", False),
        ("answers/number", "none", "12", False),
        ("answers/letter", "the answer is (C)", "C", True),
        ("answers/letter", "B, not C", "C", False),
        ("answers/letter", "", "C", False),
        ("answers/word", "the correct answer is true", "true", True),
        ("answers/word", "false or true", "true", False),
        ("answers/word", "option2: answer1", "answer1", True),
        ("answers/word", "the correct answer is solution2", "solution1", False),
        ("answers/word", "nothing", "false", False),
    ],
)
def test_answers_are_found_as_the_collection_finds_them(name: str, text: str, answer: str, right: bool) -> None:
    assert scores(name, [(text, [answer])]) == {"accuracy": float(right)}


def test_choices_are_compared_plain_and_per_character() -> None:
    rows = [([2.0, 3.0], [0, 1, 4]), ([2.0, np.inf], [0, 5]), ([1.0, 1.0], [1, 2, 2])]
    assert scores("choices/likelihood", rows) == {"acc": 2 / 3, "acc_norm": 1 / 3}


@pytest.mark.parametrize("name", [n for n in SCORES if n.split("/")[0] in ("qa", "math", "answers", "summarisation")])
def test_columns_that_do_not_fit_are_one_line(name: str) -> None:
    for rows in ([], [("a", ["a"])]):
        with pytest.raises(UserError, match=f"^{name}: {len(rows)} texts for {2 * len(rows)} references$"):
            metrics.load_metric(name).compute(
                predictions=[row[0] for row in rows], references=[row[1] for row in rows] * 2
            )

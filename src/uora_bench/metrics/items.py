"""What an item adds to a score: its own score where the score is a mean over items, else what leaving it out changes.

For a score θ that is no mean (F1, MCC, Pearson, BLEU) item i of n has the jackknife's value
θ + (n − 1)(mean of all θ₋ⱼ − θ₋ᵢ), where θ₋ᵢ is the score computed again without it (Quenouille 1956; Efron and Stein
1981). Their mean is θ, and tests over items treat them as scores of items. For a mean they are those scores. What is
computed again is a function of sums over items, so that n scores cost no more than one. Plain numpy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from uora_bench.config.metrics import SCORES
from uora_bench.metrics import load_metric

_OF_TEXTS = ("qa/squad", "math/gsm8k", "answers/", "summarisation/rouge", "choices/likelihood")  # means, all values
RIGHT_OR_WRONG = frozenset({"accuracy", "exact_match", "exact_match_last", "acc", "acc_norm"})  # 0 or 1 for every item
_REASONS = {
    "meteor": "METEOR starts Java for every set of items",
    "nist": "the weight of a word depends on all items",
    "cider": "the weight of a word depends on all items",
    "chrf": "its sums over items are not given by the library",
    "spearmanr": "ranks depend on all items",
}


def why_not(metric: str, value: str) -> str:
    """Why ``value`` of ``metric`` has no scores of items; "" where it has."""
    if metric not in SCORES:
        return "nothing is known of how this metric puts items together"
    if value not in SCORES[metric]:
        return f"{metric} gives no such value"
    return _REASONS.get(value, "")


def item_scores(metric: str, value: str, predictions: Any, references: Any) -> np.ndarray:
    """Scores (n,) float64 of the items, whose mean is ``value`` of the built-in ``metric``.

    Both columns are as the metric takes them. `why_not` says for what there are none.

    Raises:
        ValueError: for a value that has none.
    """
    if why_not(metric, value):
        raise ValueError(f"{metric} {value}: {why_not(metric, value)}")
    of_words = value in ("rouge_l", "exact_match") or (metric, value) == ("text/generation", "f1")
    if of_words or metric.startswith(_OF_TEXTS):
        return _one_by_one(metric, value, predictions, references)
    if value == "bleu":
        return _jackknife(*_bleu(metric, predictions, references))
    pred, ref = np.asarray(predictions), np.asarray(references)
    if value == "accuracy":
        return np.asarray(pred == ref, dtype=np.float64)
    if value == "mse":
        return np.asarray((pred.astype(np.float64) - ref) ** 2)
    if value in ("loss", "perplexity"):
        return _jackknife(np.stack([pred, ref], axis=1).astype(np.float64), _likelihood(value))
    if value == "pearson":
        x, y = (column.astype(np.float64) - column.mean() for column in (pred, ref))
        return _jackknife(np.stack([np.ones(len(x)), x, y, x * x, y * y, x * y], axis=1), _pearson)
    hits = [(pred == c, ref == c) for c in (np.unique([pred, ref]) if value == "macro_f1" else (1,))]
    counts = np.stack([part for p, r in hits for part in (p & r, p & ~r, ~p & r, ~p & ~r)], axis=1)
    return _jackknife(counts.astype(np.float64), _matthews if value == "matthews_correlation" else _f1)


def _jackknife(parts: np.ndarray, score: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Of ``parts`` (n, k), what items add to the sums (…, k) that ``score`` takes."""
    total = parts.sum(axis=0)
    without = score(total - parts)
    whole: np.ndarray = score(total[None])[0] + (len(parts) - 1) * (without.mean() - without)
    return whole


def _one_by_one(metric: str, value: str, predictions: Any, references: Any) -> np.ndarray:
    if metric == "e2e/e2e":
        from uora_bench.metrics import caption, ptb

        tokens = [ptb.tokenize(" ".join(text.split())) for text in predictions]
        groups = [[ptb.tokenize(line) for text in group if (line := " ".join(text.split()))] for group in references]
        return np.array([caption.rouge_l([a], [b]) for a, b in zip(tokens, groups, strict=True)])
    one = load_metric(metric)
    rows = zip(predictions, references, strict=True)
    return np.array([float(one.compute(predictions=[p], references=[r])[value]) for p, r in rows])


def _f1(counts: np.ndarray) -> np.ndarray:
    """Mean over classes of F1, of counts (…, 4 per class): hits, false alarms, misses, the rest."""
    of_class = counts.reshape(*counts.shape[:-1], -1, 4)
    hits, below = 2 * of_class[..., 0], 2 * of_class[..., 0] + of_class[..., 1] + of_class[..., 2]
    each: np.ndarray = np.divide(hits, below, out=np.zeros_like(hits), where=below > 0)
    return np.asarray(each.mean(axis=-1))


def _matthews(counts: np.ndarray) -> np.ndarray:
    hits, alarms, misses, rest = np.moveaxis(counts, -1, 0)
    below = np.sqrt((hits + alarms) * (hits + misses) * (rest + alarms) * (rest + misses))
    return np.asarray(np.divide(hits * rest - alarms * misses, below, out=np.zeros_like(below), where=below > 0))


def _pearson(sums: np.ndarray) -> np.ndarray:
    n, x, y, xx, yy, xy = np.moveaxis(sums, -1, 0)
    below = np.sqrt(np.maximum(n * xx - x * x, 0) * np.maximum(n * yy - y * y, 0))
    return np.asarray(np.divide(n * xy - x * y, below, out=np.zeros_like(below), where=below > 0))


def _likelihood(value: str) -> Callable[[np.ndarray], np.ndarray]:
    def score(sums: np.ndarray) -> np.ndarray:
        loss = sums[..., 0] / sums[..., 1]
        return np.asarray(np.exp(np.minimum(loss, 700.0)) if value == "perplexity" else loss)

    return score


def _bleu(
    metric: str, predictions: Sequence[str], references: Sequence[Any]
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Per item matches and n-grams of each order, and lengths; and BLEU of their sums."""
    if metric == "e2e/e2e":
        from uora_bench.metrics import mteval

        rows = [_segment(text, group) for text, group in zip(predictions, references, strict=True)]

        def official(sums: np.ndarray) -> np.ndarray:
            return np.array([mteval.bleu_of([0, *own[:4]], [0, *own[4:8]], own[8]) for own in sums.tolist()])

        return np.array(rows, dtype=np.float64), official
    from sacrebleu.metrics import BLEU

    groups = [[group] if isinstance(group, str) else list(group) for group in references]
    one = BLEU(effective_order=True)  # of the counts of one sentence it changes nothing
    scored = [one.sentence_score(text, group) for text, group in zip(predictions, groups, strict=True)]
    parts = np.array([[*s.counts, *s.totals, s.sys_len, s.ref_len] for s in scored], dtype=np.float64)

    def library(sums: np.ndarray) -> np.ndarray:
        made = [BLEU.compute_bleu(own[:4], own[4:8], own[8], own[9], smooth_method="exp") for own in _whole(sums)]
        return np.array([one.score / 100 for one in made])

    return parts, library


def _whole(sums: np.ndarray) -> list[list[int]]:
    return [[int(value) for value in own] for own in np.rint(sums).tolist()]


def _segment(text: str, group: Sequence[str]) -> list[float]:
    """Matches and n-grams of one to four words, and the length of the closest reference, as `mteval` has them."""
    from collections import Counter

    from uora_bench.metrics import mteval

    words = mteval.tokenize(" ".join(text.split()))
    others = [found for other in group if (found := mteval.tokenize(other))]
    allowed: Counter[mteval.Ngram] = Counter()
    for other in others:
        allowed |= mteval.ngrams(other, mteval.BLEU_ORDER)
    matches = [0.0] * mteval.BLEU_ORDER
    for ngram, times in (mteval.ngrams(words, mteval.BLEU_ORDER) & allowed).items():
        matches[len(ngram) - 1] += times
    made = [float(max(0, len(words) - n)) for n in range(mteval.BLEU_ORDER)]
    closest = min((abs(len(other) - len(words)), len(other)) for other in others)[1] if others else 0
    return [*matches, *made, float(closest)]

"""Owns ROUGE-1, ROUGE-2 and ROUGE-L of summaries with several references."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from uora_bench.metrics.answers import Answers, check_columns
from uora_bench.metrics.caption import lcs_length

_WORDS = re.compile(r"[a-z0-9]+")
Three = tuple[float, float, float]
NAMES = ("rouge_1", "rouge_2", "rouge_l")


def rouge_scores(predictions: Sequence[str], references: Answers) -> dict[str, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L, each as F1, 0 to 1, the mean over rows.

    That is the F1 of single words, of two words in a row and of the longest common subsequence: ``rouge_1`` … the mean
    over a row's references, ``rouge_1_best`` … the best of them. Words are lower-case runs of a to z and 0 to 9, not
    stemmed: the values of the package ``rouge_score`` without its stemmer.

    Raises:
        UserError: for no rows, or columns of different lengths.
    """
    check_columns("summarisation/rouge", predictions, references)
    means, bests = [0.0] * 3, [0.0] * 3
    for text, answers in zip(predictions, references, strict=True):
        ours = _WORDS.findall(text.lower())
        each = [_rouge(ours, _WORDS.findall(answer.lower())) for answer in answers]
        for i, values in enumerate(zip(*each, strict=True)):
            means[i] += sum(values) / len(values)
            bests[i] += max(values)
    rows = len(predictions)
    found = {name: total / rows for name, total in zip(NAMES, means, strict=True)}
    return {**found, **{f"{name}_best": total / rows for name, total in zip(NAMES, bests, strict=True)}}


def _rouge(ours: list[str], theirs: list[str]) -> Three:
    runs = []
    for size in (1, 2):
        left, right = (Counter(zip(*(words[i:] for i in range(size)), strict=False)) for words in (ours, theirs))
        runs.append(_f1(sum((left & right).values()), left.total(), right.total()))
    return runs[0], runs[1], _f1(lcs_length(ours, theirs), len(ours), len(theirs))


def _f1(common: int, ours: int, theirs: int) -> float:
    return 2 * common / (ours + theirs) if common else 0.0

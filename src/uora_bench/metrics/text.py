"""Owns the scores of a user's own rows: classes, numbers, and short written answers."""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from uora_bench.errors import UserError
from uora_bench.metrics.caption import lcs_length
from uora_bench.metrics.glue import correlations

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_WORDS = re.compile(r"[^\W_]+")


def class_scores(predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
    """``accuracy`` and ``macro_f1``, both 0 to 1, of two columns (n,) of class codes.

    ``macro_f1``: the mean of the F1 of every class that either column has, 0 where it is 0/0.

    Raises:
        UserError: for columns without examples, of different lengths, or not of one dimension.
    """
    from sklearn.metrics import f1_score

    predicted, true = _columns(predictions, references)
    macro = f1_score(true, predicted, average="macro", zero_division=0.0)
    return {"accuracy": float((predicted == true).mean()), "macro_f1": float(macro)}


def choice_scores(predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
    """``accuracy``: the share of rows (n,) whose predicted choice is the right one; errors as `class_scores`."""
    predicted, true = _columns(predictions, references)
    return {"accuracy": float((predicted == true).mean())}


def regression_scores(predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
    """``pearson``, ``spearmanr`` and ``mse`` of two columns (n,) of numbers; errors as `class_scores`.

    Correlations are 0 for a constant column; ``mse``, the mean squared error, is in the square of the target's unit.
    """
    import numpy as np

    predicted, true = (column.astype(np.float64) for column in _columns(predictions, references))
    return {**correlations(predicted, true), "mse": float(((predicted - true) ** 2).mean())}


def generation_scores(predictions: Sequence[str], references: Sequence[str]) -> dict[str, float]:
    """Scores of one text per row against one reference, each 0 to 1.

    ``exact_match`` and ``f1``: of the words as SQuAD's script normalises them (lower case, without punctuation and the
    articles a, an, the), f1 over the bag of words, the mean over rows. ``rouge_l``: the mean F1 of the longest common
    subsequence of lower-case words, not stemmed. ``bleu``, ``chrf``: of the corpus, sacrebleu's defaults.

    Raises:
        UserError: for no rows, or columns of different lengths.
    """
    from sacrebleu.metrics import BLEU, CHRF

    if len(predictions) != len(references) or not len(references):
        raise UserError(f"text/generation: {len(predictions)} texts for {len(references)} references")
    rows = len(references)
    exact = f1 = rouge = 0.0
    for text, reference in zip(predictions, references, strict=True):
        ours, theirs = squad_words(text), squad_words(reference)
        exact += ours == theirs
        f1 += _f1(sum((Counter(ours) & Counter(theirs)).values()), len(ours), len(theirs))
        left, right = _WORDS.findall(text.lower()), _WORDS.findall(reference.lower())
        rouge += _f1(lcs_length(left, right), len(left), len(right))
    bleu, chrf = (metric.corpus_score(list(predictions), [list(references)]).score for metric in (BLEU(), CHRF()))
    means = {"exact_match": exact / rows, "f1": f1 / rows, "rouge_l": rouge / rows}
    return {**means, "bleu": bleu / 100, "chrf": chrf / 100}


def squad_words(text: str) -> list[str]:
    """The words of an answer as SQuAD's evaluation compares them: lower case, no punctuation, no articles."""
    plain = "".join(c for c in text.lower() if c not in string.punctuation)
    return _ARTICLES.sub(" ", plain).split()


def _f1(common: int, ours: int, theirs: int) -> float:
    """2 common / (ours + theirs); two empty texts agree."""
    return 2 * common / (ours + theirs) if ours + theirs else 1.0


def _columns(predictions: ArrayLike, references: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    predicted, true = np.asarray(predictions), np.asarray(references)
    if predicted.shape != true.shape or predicted.ndim != 1 or not len(true):
        raise UserError(f"text: predictions {predicted.shape} and references {true.shape} must be (n,) with n above 0")
    return predicted, true

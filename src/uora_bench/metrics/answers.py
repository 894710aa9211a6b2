"""Owns the scores of written answers to public tasks: SQuAD, GSM8K, and the LLM-Adapters collection.

References are lists of texts: all answers of a row. Every score is a mean over rows, 0 to 1.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence

from uora_bench.errors import UserError
from uora_bench.metrics.text import squad_words

_STRICT = re.compile(r"#### (-?[0-9.,]+)")
_FLEXIBLE = re.compile(r"-?[$0-9.,]{2,}|-?[0-9]+")
_UNTIL_ANSWER = re.compile(r"(?s).*#### ")
_NUMBER = re.compile(r"-?\d+\.?\d*")
_TOLERANCE = 0.001  # of a number, in the collection's own scripts
_WORD = re.compile(r"true|false|solution[12]|option[12]|answer[1-5]|ending[1-4]")
Answers = Sequence[Sequence[str]]


def squad_scores(predictions: Sequence[str], references: Answers) -> dict[str, float]:
    """``exact_match`` and ``f1`` as the official script of SQuAD 1.1 computes them.

    Of words in lower case without punctuation and articles, against the best of a row's answers, the mean over rows.

    Raises:
        UserError: for no rows, or columns of different lengths.
    """
    check_columns("qa/squad", predictions, references)
    exact = f1 = 0.0
    for text, answers in zip(predictions, references, strict=True):
        ours, theirs = squad_words(text), [squad_words(answer) for answer in answers]
        exact += any(ours == words for words in theirs)
        f1 += max(_overlap(ours, words) for words in theirs)
    return {"exact_match": exact / len(predictions), "f1": f1 / len(predictions)}


def _overlap(ours: list[str], theirs: list[str]) -> float:
    common = sum((Counter(ours) & Counter(theirs)).values())
    return 2 * common / (len(ours) + len(theirs)) if common else 0.0


def gsm8k_scores(predictions: Sequence[str], references: Answers) -> dict[str, float]:
    """``exact_match``: of the number after the first ``####``; ``exact_match_last``: of the last number anywhere.

    Both as lm-evaluation-harness (``strict-match``, ``flexible-extract``): shares of rows, compared as texts without
    commas, dollar signs and a full stop at the end. A reference is a whole solution, of which what follows its last
    ``####`` counts. Errors as `squad_scores`.
    """
    check_columns("math/gsm8k", predictions, references)
    strict = last = 0
    for text, answers in zip(predictions, references, strict=True):
        right = {_plain(answer) for answer in answers}
        found, numbers = _STRICT.search(text), _FLEXIBLE.findall(text)
        strict += found is not None and _plain(found[1]) in right
        last += bool(numbers) and _plain(numbers[-1].strip()) in right
    return {"exact_match": strict / len(predictions), "exact_match_last": last / len(predictions)}


def _plain(text: str) -> str:
    for pattern in (r",", r"\$"):
        text = re.sub(pattern, "", text)
    return re.sub(r"\.$", "", _UNTIL_ANSWER.sub("", text)).lower()


def number_scores(predictions: Sequence[str], references: Answers) -> dict[str, float]:
    """``accuracy``: whether the last number that is written is the answer, to ± 0.001. Errors as `squad_scores`."""

    def right(text: str, answer: str) -> bool:
        numbers = _NUMBER.findall(text.replace(",", ""))
        return bool(numbers) and abs(float(numbers[-1]) - float(answer.replace(",", ""))) <= _TOLERANCE

    return _accuracy("answers/number", predictions, references, right)


def letter_scores(predictions: Sequence[str], references: Answers) -> dict[str, float]:
    """``accuracy``: whether the first of the capitals A to E that is written is the answer.

    One inside a word counts too. Errors as `squad_scores`.
    """
    return _accuracy("answers/letter", predictions, references, lambda text, answer: _first(r"[A-E]", text) == answer)


def word_scores(predictions: Sequence[str], references: Answers) -> dict[str, float]:
    """``accuracy``: whether the first word that is written of the answer's kind is the answer.

    The kinds: true and false; answer1 …; solution1 …; option1 …; ending1 …. One inside a word counts too. Errors as
    `squad_scores`.
    """

    def right(text: str, answer: str) -> bool:
        kind = answer.rstrip("0123456789")
        of_kind = (w for w in _WORD.findall(text) if w.rstrip("0123456789") == kind or {w, answer} <= {"true", "false"})
        return next(of_kind, None) == answer

    return _accuracy("answers/word", predictions, references, right)


def _first(pattern: str, text: str) -> str | None:
    found = re.search(pattern, text)
    return found[0] if found else None


def _accuracy(
    name: str, predictions: Sequence[str], references: Answers, right: Callable[[str, str], bool]
) -> dict[str, float]:
    check_columns(name, predictions, references)
    pairs = zip(predictions, references, strict=True)
    return {"accuracy": sum(any(right(text, a) for a in answers) for text, answers in pairs) / len(predictions)}


def check_columns(name: str, predictions: Sequence[str], references: Answers) -> None:
    """Raise `UserError` for no rows, or columns of different lengths."""
    if len(predictions) != len(references) or not len(references):
        raise UserError(f"{name}: {len(predictions)} texts for {len(references)} references")

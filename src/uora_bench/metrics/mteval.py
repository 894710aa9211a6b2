"""Owns BLEU and NIST as the E2E scripts' copy of the Perl program mteval-v13a computes them over a corpus.

BLEU: Papineni et al., 2002, doi:10.3115/1073083.1073135. NIST: Doddington, 2002, doi:10.3115/1289189.1289273.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence

BLEU_ORDER, NIST_ORDER = 4, 5
_BETA = -math.log(0.5) / math.log(1.5) ** 2  # a system of 2/3 of the references' length keeps half of its NIST score

_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
_LOWER = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "abcdefghijklmnopqrstuvwxyz")
_SPLITS = (
    (re.compile(r"([!-&(-+/:-@\[-`{-~])"), r" \1 "),  # ASCII punctuation but ' , - .
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),  # a full stop or comma stays within a number only
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)

Words = Sequence[str]
Ngram = tuple[str, ...]


def tokenize(text: str) -> list[str]:
    """The default tokens of mteval-v13a; only A to Z are lowered, a letter with an accent keeps its case."""
    text = text.replace("<skipped>", "")
    for entity, character in _ENTITIES:
        text = text.replace(entity, character)
    text = f" {text.translate(_LOWER)} "
    for pattern, replacement in _SPLITS:
        text = pattern.sub(replacement, text)
    return text.split()


def ngrams(words: Words, order: int = NIST_ORDER) -> Counter[Ngram]:
    """How often each n-gram of 1 to ``order`` words occurs in ``words``."""
    return Counter(tuple(words[i : i + n]) for n in range(1, order + 1) for i in range(len(words) - n + 1))


def bleu_and_nist(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[float, float]:
    """Score a corpus of one text per segment against one or more references each.

    An n-gram of a segment matches min(its count, its largest count in one reference) times. With m_n the matches and
    c_n the n-grams of all segments, c = c_1, r the sum over segments of the length of the reference that is closest in
    length (the shorter of two), and w(g) the information of n-gram g = (g_1 … g_n):

        BLEU = exp(min(0, 1 - r/c)) · exp(1/4 Σ_{n=1..4} log p_n),   p_n = m_n/c_n
        NIST = exp(-β log² min(1, c/l)) · Σ_{n=1..5} Σ_{g matched} w(g) / max(c_n, 1),   β = -log 0.5 / log² 1.5
        w(g) = log2(#(g_1 … g_{n-1}) / #(g)),   # over all references; of no words: the number of words

    Where an order has n-grams but no match, p_n = 1/(2^k c_n) for the k-th such order; an order without any n-gram
    counts as p_n = 1. A corpus of empty predictions scores 0. In NIST's penalty, l = segments · words of all references
    / number of all references: the mean over references, not over segments, which is where the E2E scripts' Perl and
    Python programs part. After the word "0" alone w(g) = log2(words / #(g)): to Perl the text "0" is false.

    Args:
        predictions: one text per segment, possibly empty.
        references: per segment at least one text that is not blank.

    Returns:
        (BLEU, in 0..1; NIST, from 0).
    """
    texts = [tokenize(text) for text in predictions]
    groups = [[words for text in group if (words := tokenize(text))] for group in references]
    counts = [[ngrams(words) for words in group] for group in groups]
    total: Counter[Ngram] = Counter()
    for count in (count for group in counts for count in group):
        total.update(count)
    n_words = sum(len(words) for group in groups for words in group)
    n_references = sum(len(group) for group in groups)

    matches, made, information = ([0.0] * (NIST_ORDER + 1) for _ in range(3))
    closest = 0
    for words, group, group_counts in zip(texts, groups, counts, strict=True):
        closest += min((abs(len(other) - len(words)), len(other)) for other in group)[1] if group else 0
        for n in range(1, NIST_ORDER + 1):
            made[n] += max(0, len(words) - n + 1)
        allowed: Counter[Ngram] = Counter()
        for group_count in group_counts:
            allowed |= group_count
        for ngram, found in (ngrams(words) & allowed).items():
            before = n_words if ngram[:-1] in ((), ("0",)) else total[ngram[:-1]]
            matches[len(ngram)] += found
            information[len(ngram)] += found * math.log2(before / total[ngram])
    ratio = made[1] * n_references / max(1, len(groups) * n_words)
    nist = _nist_penalty(ratio) * sum(information[n] / max(made[n], 1) for n in range(1, NIST_ORDER + 1))
    return bleu_of(matches, made, closest), nist


def bleu_of(matches: Sequence[float], made: Sequence[float], closest: float) -> float:
    """BLEU of the sums over segments that `bleu_and_nist` names m_n, c_n (index n; 0 is not read) and r."""
    if not made[1]:
        return 0.0
    log_precisions, halvings = 0.0, 1
    for n in range(1, BLEU_ORDER + 1):
        if made[n] and not matches[n]:
            halvings *= 2
        if made[n]:
            log_precisions += math.log((matches[n] or 1 / halvings) / made[n])
    return math.exp(min(0.0, 1 - closest / made[1]) + log_precisions / BLEU_ORDER)


def _nist_penalty(ratio: float) -> float:
    return math.exp(-_BETA * math.log(min(1.0, ratio)) ** 2) if ratio > 0 else 0.0

"""Owns ROUGE-L and CIDEr as the COCO caption scripts, which the E2E scripts call, compute them over a corpus.

Both take token lists of `ptb.tokenize`. rouge-score's ROUGE-L is another one (stems, F1, no maximum over references);
pycocoevalcap's numbers are these, but it is 104 MB and optional, so the tests and not the metric use it.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

from uora_bench.metrics.mteval import Ngram, Words, ngrams

_BETA_SQUARED = 1.2**2
_ORDER, _SIGMA = 4, 6.0


def lcs_length(left: Words, right: Words) -> int:
    """The length of a longest common subsequence, in words: a row of the usual table as the bits of one integer.

    Hyyrö, "Bit-parallel LCS-length computation revisited", 2004: a zero bit marks where the row goes up by one.
    """
    places: defaultdict[str, int] = defaultdict(int)
    for i, word in enumerate(left):
        places[word] |= 1 << i
    mask = (1 << len(left)) - 1
    row = mask
    for word in right:
        hits = row & places.get(word, 0)
        row = ((row + hits) | (row - hits)) & mask
    return len(left) - row.bit_count()


def rouge_l(predictions: Sequence[Words], references: Sequence[Sequence[Words]]) -> float:
    """The mean over segments of F = (1 + β²) P R / (R + β² P), β = 1.2, P = max_j L_j/|c|, R = max_j L_j/|r_j|.

    L_j is the length of the longest common subsequence of the prediction c and reference r_j; the two maxima may come
    from different references (Lin, 2004, and the COCO scripts). F = 0 where P or R is. A text without a token counts,
    as there, as one token that only another such text has.
    """
    scores = []
    for words, group in zip(predictions, references, strict=True):
        words, group = words or [""], [other or [""] for other in group]
        common = [lcs_length(words, other) for other in group]
        precision = max(common) / len(words)
        recall = max(n / len(other) for n, other in zip(common, group, strict=True))
        above = (1 + _BETA_SQUARED) * precision * recall
        scores.append(above / (recall + _BETA_SQUARED * precision) if above else 0.0)
    return math.fsum(scores) / len(scores)


def cider(predictions: Sequence[Words], references: Sequence[Sequence[Words]]) -> float:
    """10 times the mean over segments, n = 1..4 and references j of exp(-(b(c) - b(r_j))²/(2·6²)) · sim_n(c, r_j).

    With g_n(x) the vector of tf-idf weights of the n-grams of x, tf a count and idf = log(segments / max(1, segments
    whose references have the n-gram)), b the number of bigrams:

        sim_n(c, r) = Σ_k min(g_nk(c), g_nk(r)) g_nk(r) / (|g_n(c)| |g_n(r)|),   0 where a norm is

    Vedantam et al., 2015, arXiv:1411.5726; what the COCO scripts call CIDEr has CIDEr-D's minimum and length penalty.
    A corpus of one segment scores 0, since every idf is 0.
    """
    groups = [[ngrams(words, _ORDER) for words in group] for group in references]
    frequency: Counter[Ngram] = Counter()
    for group in groups:
        frequency.update(set().union(*group))
    idf = {ngram: math.log(len(groups) / n) for ngram, n in frequency.items()}
    unseen = math.log(len(groups))

    def weigh(count: Counter[Ngram]) -> tuple[dict[Ngram, float], list[float], int]:
        vector = {ngram: n * idf.get(ngram, unseen) for ngram, n in count.items()}
        squares, bigrams = [0.0] * _ORDER, 0
        for ngram, weight in vector.items():
            squares[len(ngram) - 1] += weight * weight
            bigrams += count[ngram] if len(ngram) == 2 else 0
        return vector, [math.sqrt(square) for square in squares], bigrams

    scores = []
    for words, group in zip(predictions, groups, strict=True):
        vector, norms, bigrams = weigh(ngrams(words, _ORDER))
        score = 0.0
        for count in group:
            other, other_norms, other_bigrams = weigh(count)
            common = [0.0] * _ORDER
            for ngram, weight in vector.items():  # in the text's order: a set's order changes the sum's last bit
                if ngram in other:
                    common[len(ngram) - 1] += min(weight, other[ngram]) * other[ngram]
            norm = [a * b for a, b in zip(norms, other_norms, strict=True)]
            similar = math.fsum(c / n for c, n in zip(common, norm, strict=True) if n)
            score += similar * math.exp(-((bigrams - other_bigrams) ** 2) / (2 * _SIGMA**2))
        scores.append(10 * score / (_ORDER * len(group)))
    return math.fsum(scores) / len(scores)

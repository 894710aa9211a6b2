"""Owns BLEU and chrF of translations: sacrebleu's, with its defaults and its signature."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from uora_bench.metrics.answers import Answers, check_columns


def translation_scores(predictions: Sequence[str], references: Answers) -> dict[str, Any]:
    """``bleu`` and ``chrf`` of the corpus, 0 to 1, and ``signature``: what sacrebleu says of how BLEU was computed.

    A row with fewer references than another is compared with its own alone.

    Raises:
        UserError: for no rows, or columns of different lengths.
    """
    from sacrebleu.metrics import BLEU, CHRF

    check_columns("translation/corpus", predictions, references)
    most = max(len(answers) for answers in references)
    streams: Any = [[answers[i] if i < len(answers) else None for answers in references] for i in range(most)]
    bleu, chrf = BLEU(), CHRF()
    scores = {
        name: m.corpus_score(list(predictions), streams).score / 100 for name, m in (("bleu", bleu), ("chrf", chrf))
    }
    return {**scores, "signature": str(bleu.get_signature())}

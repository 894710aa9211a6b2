"""Owns the scores of data-to-text generation as the E2E NLG Challenge's official scripts give them by default.

The challenge: Dušek et al., 2020, doi:10.1016/j.csl.2019.06.009; the scripts: github.com/tuetschek/e2e-metrics.
docs/metrics/e2e.md says what each score is, and how it was checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from uora_bench.config.metrics import SCORES
from uora_bench.errors import UserError


def e2e_scores(predictions: Sequence[str], references: Sequence[Sequence[str]], meteor: bool = True) -> dict[str, Any]:
    """Score one text per segment against the references of that segment.

    Args:
        predictions: a text per segment; an empty one is allowed, white space is one space (a file has a line for it).
        references: the texts of each segment, one or more. Blank ones are dropped, as the official format has none.
        meteor: whether to start Java for METEOR.

    Returns:
        The scores that there are, in the order of ``SCORES["e2e/e2e"]`` and in the official units (bleu, meteor and
        rouge_l in 0..1, nist from 0, cider in 0..10); where meteor is absent, the reason too: ``absent: {meteor: …}``.
        The order of the segments and of the references of one does not change a score by more than rounding.

    Raises:
        UserError: no segments, lengths that differ, a segment without a reference, a value that is not text.
    """
    from uora_bench.metrics import caption, mteval, ptb
    from uora_bench.metrics.meteor import MeteorError
    from uora_bench.metrics.meteor import meteor as run_meteor

    texts, groups = _columns(predictions, references)
    bleu, nist = mteval.bleu_and_nist(texts, groups)
    tokens = [ptb.tokenize(text) for text in texts]
    group_tokens = [[ptb.tokenize(text) for text in group] for group in groups]
    scores = {
        "bleu": bleu,
        "nist": nist,
        "rouge_l": caption.rouge_l(tokens, group_tokens),
        "cider": caption.cider(tokens, group_tokens),
    }
    absent: dict[str, str] = {}
    try:
        if not meteor:
            raise MeteorError("METEOR was not asked for")
        scores["meteor"] = run_meteor(tokens, group_tokens)
    except MeteorError as reason:
        absent["meteor"] = str(reason)
    ordered = {name: scores[name] for name in SCORES["e2e/e2e"] if name in scores}
    return {**ordered, "absent": absent} if absent else ordered


def _columns(predictions: Sequence[str], references: Sequence[Sequence[str]]) -> tuple[list[str], list[list[str]]]:
    """Return both columns checked and each text as one line; raises what ``e2e_scores`` says."""
    if isinstance(predictions, str) or isinstance(references, str):
        raise UserError("e2e: predictions and references are lists, not one text")
    texts = [_line(text, f"prediction {i}") for i, text in enumerate(predictions)]
    groups = []
    for i, group in enumerate(references):
        if isinstance(group, str):
            raise UserError(f"e2e: the references of segment {i} are one text; give a list, such as [text]")
        lines = [_line(text, f"a reference of segment {i}") for text in group]
        groups.append([line for line in lines if line])
        if not groups[-1]:
            raise UserError(f"e2e: segment {i} has no reference that is not blank")
    if len(texts) != len(groups):
        raise UserError(f"e2e: {len(texts)} predictions but {len(groups)} groups of references")
    if not texts:
        raise UserError("e2e: no examples to score")
    return texts, groups


def _line(text: Any, what: str) -> str:
    if not isinstance(text, str):
        raise UserError(f"e2e: {what} is not text but {type(text).__name__}")
    return " ".join(text.split())

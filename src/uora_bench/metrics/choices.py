"""Owns the accuracy of choices by their likelihood, as lm-evaluation-harness computes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from uora_bench.errors import UserError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def likelihood_choice_scores(predictions: ArrayLike, references: Sequence[Sequence[int]]) -> dict[str, float]:
    """``acc``: the share of rows, 0 to 1, whose right choice is the likeliest.

    ``acc_norm``: the same of the log-likelihood per character of the choice (without the blank before it).

    ``predictions`` (n, choices): the negative log-likelihood of each choice in nats, infinite where a row has fewer;
    ``references``: the number of the right choice, then the characters of each choice.

    Raises:
        UserError: for no rows, or columns of different lengths.
    """
    import numpy as np

    losses = np.asarray(predictions, dtype=np.float64)
    if losses.ndim != 2 or len(losses) != len(references) or not len(references):
        raise UserError(f"choices/likelihood: {losses.shape} likelihoods for {len(references)} references")
    plain = normed = 0
    for row, (right, *lengths) in zip(losses, references, strict=True):
        own = row[: len(lengths)]
        plain += int(own.argmin()) == right
        normed += int((own / np.asarray(lengths, dtype=np.float64)).argmin()) == right
    return {"acc": plain / len(losses), "acc_norm": normed / len(losses)}

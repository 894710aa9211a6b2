"""Owns the accuracy of choices by their likelihood, as lm-evaluation-harness computes it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from uora_bench.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import ArrayLike


def chosen(predictions: ArrayLike, references: Sequence[Sequence[int]]) -> np.ndarray:
    """The numbers (n, 2) of the choices taken: by likelihood, and by likelihood per character.

    Arguments and errors as `likelihood_choice_scores`.
    """
    import numpy as np

    losses = np.asarray(predictions, dtype=np.float64)
    if losses.ndim != 2 or len(losses) != len(references) or not len(references):
        raise UserError(f"choices/likelihood: {losses.shape} likelihoods for {len(references)} references")
    taken = np.empty((len(losses), 2), dtype=np.int64)
    for row, (own, (_, *lengths)) in enumerate(zip(losses, references, strict=True)):
        there = own[: len(lengths)]
        taken[row] = there.argmin(), (there / np.asarray(lengths, dtype=np.float64)).argmin()
    return taken


def likelihood_choice_scores(predictions: ArrayLike, references: Sequence[Sequence[int]]) -> dict[str, float]:
    """``acc``: the share of rows, 0 to 1, whose right choice is the likeliest.

    ``acc_norm``: the same of the log-likelihood per character of the choice (without the blank before it).

    ``predictions`` (n, choices): the negative log-likelihood of each choice in nats, infinite where a row has fewer;
    ``references``: the number of the right choice, then the characters of each choice.

    Raises:
        UserError: for no rows, or columns of different lengths.
    """
    taken = chosen(predictions, references)
    right = [own[0] for own in references]
    return {name: float((taken[:, i] == right).mean()) for i, name in enumerate(("acc", "acc_norm"))}

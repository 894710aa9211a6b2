"""How well a language model predicts given texts: mean negative log-likelihood of a token, and perplexity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def likelihood_scores(predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
    """``loss`` = Σ nll / Σ tokens in nats, over all tokens alike, and ``perplexity`` = exp(min(loss, 700)).

    ``predictions`` (n,): for each text the sum of the negative log-likelihoods of its tokens; ``references`` (n,): how
    many tokens it has.

    Raises:
        ValueError: when there is no token.
    """
    import numpy as np

    # summed row by row: sums of one column alone would end in other last bits
    total, tokens = (float(s) for s in np.stack([predictions, references], axis=1).sum(axis=0))
    if tokens <= 0:
        raise ValueError("no token to score")
    loss = total / tokens
    return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}  # e^710 is no float

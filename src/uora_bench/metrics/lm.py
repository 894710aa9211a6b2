"""How well a language model predicts given texts: mean negative log-likelihood of a token, and perplexity."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np


def likelihood_scores(predictions: np.ndarray) -> dict[str, float]:
    """``loss`` = Σ nll / Σ tokens in nats, over all tokens alike, and ``perplexity`` = exp(loss).

    ``predictions`` is (n, 2): for each text the sum of the negative log-likelihoods of its tokens, and their number.

    Raises:
        ValueError: when there is no token.
    """
    total, tokens = (float(s) for s in predictions.sum(axis=0))
    if tokens <= 0:
        raise ValueError("no token to score")
    loss = total / tokens
    return {"loss": loss, "perplexity": math.exp(min(loss, 700.0))}  # e^710 is no float


def make(task: str) -> Any:
    """The `evaluate.Metric` of this module; what `uora_bench.metrics.load` calls."""
    from uora_bench.metrics.lm_metric import LikelihoodMetric

    return LikelihoodMetric()

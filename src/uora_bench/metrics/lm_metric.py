"""`likelihood_scores` as an offline ``evaluate.Metric``."""

from __future__ import annotations

import uuid
from typing import Any

import datasets
import evaluate
import numpy as np

from uora_bench.metrics.lm import likelihood_scores


class LikelihoodMetric(evaluate.Metric):
    """``predictions`` are the summed negative log-likelihoods of texts, ``references`` their numbers of tokens."""

    def __init__(self) -> None:
        super().__init__(config_name="likelihood", keep_in_memory=True, experiment_id=uuid.uuid4().hex, seed=0)

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description="Mean negative log-likelihood of a token and perplexity.",
            citation="",
            inputs_description="Sums of nats and numbers of tokens, one of each per text.",
            features=datasets.Features(
                {"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}
            ),
        )

    def _build_data_dir(self) -> str:
        return ""  # nothing is ever written there

    def _compute(self, predictions: Any, references: Any, **_: Any) -> dict[str, float]:
        return likelihood_scores(np.stack([np.asarray(predictions), np.asarray(references)], axis=1))

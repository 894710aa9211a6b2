"""The E2E scores as an offline ``evaluate.Metric`` object: importing this costs the seconds that ``evaluate`` costs."""

from __future__ import annotations

import uuid
from typing import Any

import datasets
import evaluate

from uora_bench.errors import UserError
from uora_bench.metrics.e2e import columns, e2e_scores


class E2EMetric(evaluate.Metric):
    """``e2e_scores`` of what was added in batches: predictions are texts, references are lists of texts.

    Batches are held in memory under an experiment id of the object's own and are checked as they come; a refused batch
    leaves the earlier ones as they were. ``compute`` returns the scores that there are, and ``absent`` then says of
    each other one why it is not: the object never stands in for METEOR.
    """

    def __init__(self, task: str, meteor: bool = True) -> None:
        self.meteor = meteor
        self.absent: dict[str, str] = {}
        # The seed is fixed because the base class otherwise reads one from NumPy's global state; no score uses it.
        super().__init__(config_name=task, keep_in_memory=True, experiment_id=uuid.uuid4().hex, seed=0)

    def _info(self) -> evaluate.MetricInfo:
        text = datasets.Value("string")
        return evaluate.MetricInfo(
            description="BLEU, NIST, METEOR, ROUGE-L and CIDEr as the official E2E NLG Challenge scripts give them.",
            citation="Dušek et al., Evaluating the state-of-the-art of end-to-end natural language generation, 2020",
            inputs_description="Predictions are texts, references are lists of texts; see e2e_scores.",
            features=datasets.Features({"predictions": text, "references": datasets.List(text)}),
        )

    def _build_data_dir(self) -> str:
        # The base class makes a cache directory here even when, as in this class, nothing is ever written to it.
        return ""

    def add_batch(self, *, predictions: Any = None, references: Any = None) -> None:
        """Add columns of equal length; raises the UserErrors of ``e2e_scores``, but a batch may be empty."""
        texts, groups = columns(predictions, references)
        super().add_batch(predictions=texts, references=groups)

    def add(self, *, prediction: Any = None, reference: Any = None) -> None:
        """Add one text and its references; raises as ``add_batch`` does."""
        self.add_batch(predictions=[prediction], references=[reference])

    def compute(self, *, predictions: Any = None, references: Any = None) -> dict[str, float]:
        """Score all that was added, plus the columns given here, and forget it; see ``e2e_scores``."""
        if predictions is not None or references is not None:
            self.add_batch(predictions=predictions, references=references)
        if not len(self):  # the base class fails on this with an AttributeError
            raise UserError("e2e: no examples to score")
        return super().compute()

    def _compute(self, *, predictions: Any = None, references: Any = None) -> dict[str, float]:
        scores, self.absent = e2e_scores(predictions, references, self.meteor)
        return scores

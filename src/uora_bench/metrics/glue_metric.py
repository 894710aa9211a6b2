"""The GLUE scores as offline ``evaluate.Metric`` objects: importing this costs the seconds that ``evaluate`` costs."""

from __future__ import annotations

import uuid
from typing import Any

import datasets
import evaluate

from uora_bench.metrics.glue import check_task, columns, glue_scores


class GlueMetric(evaluate.Metric):
    """One GLUE task as an ``evaluate.Metric``: what was added in batches is scored by ``glue_scores``.

    Batches are held in memory under an experiment id of the object's own, and no file, lock or directory is made:
    processes cannot get in each other's way, and a read-only home or a missing network does not matter. Batches are
    checked as they come, with the ``ValueError``s of ``glue_scores``; a refused batch leaves the earlier ones as they
    were, and an empty one is allowed. Columns are stored as int64, for stsb as float64.
    """

    def __init__(self, task: str) -> None:
        check_task(task)
        # The seed is fixed because the base class otherwise reads one from NumPy's global state; no score uses it.
        super().__init__(config_name=task, keep_in_memory=True, experiment_id=uuid.uuid4().hex, seed=0)

    def _info(self) -> evaluate.MetricInfo:
        value = datasets.Value("float64" if self.config_name == "stsb" else "int64")
        return evaluate.MetricInfo(
            description=f"Official scores of the GLUE task {self.config_name}.",
            citation="Wang et al., GLUE, ICLR 2019, arXiv:1804.07461",
            inputs_description="Predictions and references are columns of equal length; see glue_scores.",
            features=datasets.Features({"predictions": value, "references": value}),
        )

    def _build_data_dir(self) -> str:
        # The base class makes a cache directory here even when, as in this class, nothing is ever written to it.
        return ""

    def add_batch(self, *, predictions: Any = None, references: Any = None) -> None:
        """Add columns of equal length; raises the ValueErrors of ``glue_scores``, but a batch may be empty."""
        # Checked before the base class sees them: it would cut floats to integers and keep half of a bad batch.
        pred, ref = columns(self.config_name, predictions, references)
        super().add_batch(predictions=pred, references=ref)

    def add(self, *, prediction: Any = None, reference: Any = None) -> None:
        """Add one example; raises as ``add_batch`` does."""
        self.add_batch(predictions=[prediction], references=[reference])

    def compute(self, *, predictions: Any = None, references: Any = None) -> dict[str, float]:
        """Score all that was added, plus the columns given here, and forget it; see ``glue_scores``."""
        if predictions is not None or references is not None:
            self.add_batch(predictions=predictions, references=references)
        if not len(self):  # the base class fails on this with an AttributeError
            raise ValueError(f"glue/{self.config_name}: no examples to score")
        return super().compute()

    def _compute(self, *, predictions: Any = None, references: Any = None) -> dict[str, float]:
        return glue_scores(self.config_name, predictions, references)

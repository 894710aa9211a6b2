"""Owns the score of image classification: top-1 accuracy, as a pure function and as an ``evaluate.Metric``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


def accuracy(predictions: ArrayLike, references: ArrayLike) -> dict[str, float]:
    """``{"accuracy": share of equal class codes}``, 0 to 1, of two columns (n,) of whole numbers.

    Raises:
        ValueError: for columns without examples, of different lengths, or that hold no class codes.
    """
    import numpy as np

    predicted, true = np.asarray(predictions), np.asarray(references)
    if predicted.shape != true.shape or predicted.ndim != 1:
        raise ValueError(f"vision/accuracy: predictions {predicted.shape} and references {true.shape} must be (n,)")
    if not len(predicted):
        raise ValueError("vision/accuracy: no examples to score")
    for column in (predicted, true):
        if column.dtype.kind not in "iu":
            raise ValueError(f"vision/accuracy: class codes are whole numbers, not {column.dtype}")
    return {"accuracy": float((predicted == true).mean())}


def make(task: str) -> Any:
    """The `evaluate.Metric` of ``task``; what `uora_bench.metrics.load` calls in every family module."""
    import uuid

    import datasets
    import evaluate

    class Accuracy(evaluate.Metric):
        """`accuracy` over what was added, held in memory under an id of its own: no file, no lock."""

        def _info(self) -> evaluate.MetricInfo:
            codes = datasets.Value("int64")
            return evaluate.MetricInfo(
                description="Top-1 accuracy of image classification.",
                citation="",
                inputs_description="Predictions and references are class codes, columns of equal length.",
                features=datasets.Features({"predictions": codes, "references": codes}),
            )

        def _build_data_dir(self) -> str:
            return ""  # nothing is ever written there

        def _compute(self, *, predictions: Any = None, references: Any = None) -> dict[str, float]:
            import numpy as np

            return accuracy(np.asarray(predictions), np.asarray(references))

    return Accuracy(config_name=task, keep_in_memory=True, experiment_id=uuid.uuid4().hex, seed=0)

"""Owns the score of image classification: top-1 accuracy."""

from __future__ import annotations

from typing import TYPE_CHECKING

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

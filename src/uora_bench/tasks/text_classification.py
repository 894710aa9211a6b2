"""Sentence and sentence-pair classification or regression: GLUE, and generated tasks of that form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from uora_bench.errors import UserError
from uora_bench.tasks.base import Batch, Encoded, HeadSpec, Task

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from torch import Tensor

PAD_MULTIPLE = 8


@dataclass(frozen=True)
class TextClassificationConfig:
    """``columns``: one or two text columns; ``labels``: class names in the order of their codes, empty for a regression
    (the column ``label`` is then the target itself); ``max_length``: tokens after which a pair is cut."""

    columns: tuple[str, ...]
    labels: tuple[str, ...]
    max_length: int

    def __post_init__(self) -> None:
        if self.max_length < 8:
            raise UserError(f"task.max_length={self.max_length} must be at least 8 tokens")


class TextClassification(Task):
    """Cross-entropy over the classes, or mean squared error for a regression; mean over examples."""

    Config = TextClassificationConfig

    @property
    def is_regression(self) -> bool:
        return not self.config.labels

    @property
    def head(self) -> HeadSpec:
        labels = list(self.config.labels)
        config: dict[str, Any] = {"num_labels": len(labels) or 1}
        if labels:
            config |= {"id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}}
        return HeadSpec("AutoModelForSequenceClassification", config)

    def encode(self, rows: Dataset, processor: Any) -> Encoded:
        import numpy as np

        missing = [c for c in (*self.config.columns, "label") if c not in rows.column_names]
        if missing:
            raise UserError(
                f"task={self.spec.name} needs column '{missing[0]}'; the data has {', '.join(rows.column_names)}"
            )
        references = np.asarray(rows["label"], dtype=np.float32 if self.is_regression else np.int64)
        classes = len(self.config.labels)
        if classes and len(references) and not (references.min() >= 0 and references.max() < classes):
            raise UserError(
                f"task={self.spec.name}: labels must be 0 to {classes - 1}, found {references.min()} to "
                f"{references.max()} (an unlabelled test split? choose another with task.splits.…)"
            )
        texts = [list(rows[c]) for c in self.config.columns]
        encoded = processor(*texts, truncation=True, max_length=self.config.max_length)
        features = {k: encoded[k] for k in processor.model_input_names if k in encoded and k != "attention_mask"}
        lengths = np.asarray([len(ids) for ids in encoded["input_ids"]], dtype=np.int64)
        self._pad_values = {"input_ids": processor.pad_token_id}
        return Encoded(features, references, lengths)

    def collate(self, encoded: Encoded, indices: Sequence[int] | np.ndarray, padding: str) -> Batch:
        import numpy as np
        import torch

        lengths = encoded.lengths[indices]
        width = self.config.max_length
        if padding == "dynamic":
            width = min(-(-int(lengths.max()) // PAD_MULTIPLE) * PAD_MULTIPLE, max(width, int(lengths.max())))
        inside = np.arange(width)[None, :] < lengths[:, None]
        batch: Batch = {"attention_mask": torch.from_numpy(inside.astype(np.int64))}
        for name, column in encoded.features.items():
            padded = np.full((len(lengths), width), self._pad_values.get(name, 0), dtype=np.int64)
            padded[inside] = np.concatenate([np.asarray(column[i], dtype=np.int64) for i in indices])
            batch[name] = torch.from_numpy(padded)
        batch["labels"] = torch.from_numpy(encoded.references[indices])
        batch["weight"] = torch.ones(len(lengths))
        return batch

    def loss(self, model: torch.nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        import torch.nn.functional as F

        logits = self._logits(model, batch)
        if self.is_regression:
            each = F.mse_loss(logits.squeeze(-1), batch["labels"].to(logits.dtype), reduction="none")
        else:
            each = F.cross_entropy(logits, batch["labels"], reduction="none")
        return (each * batch["weight"]).sum(), batch["weight"].sum()

    def predict(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        logits = self._logits(model, batch)
        return logits.squeeze(-1) if self.is_regression else logits.argmax(dim=-1)

    def score(self, predictions: np.ndarray, references: np.ndarray) -> Mapping[str, float]:
        # the function behind the evaluate.Metric of the same name: importing evaluate costs seconds a cell need not pay
        from uora_bench.metrics.glue import glue_scores

        return glue_scores(self.metric.name.split("/", 1)[1], predictions, references)

    @staticmethod
    def _logits(model: torch.nn.Module, batch: Batch) -> Tensor:
        logits = model(**{k: v for k, v in batch.items() if k not in ("labels", "weight")}).logits
        return logits if logits.dtype.itemsize >= 4 else logits.float()

"""Sentence and sentence-pair classification or regression: GLUE, and generated tasks of that form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from uora_bench.config.cell import TaskConfig
from uora_bench.config.options.tasks import TextClassificationOptions
from uora_bench.models.heads import HeadSpec
from uora_bench.tasks import labels
from uora_bench.tasks.base import Batch, Chooses, Encoded

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from torch import Tensor

PAD_MULTIPLE = 8


class TextClassification(Chooses):
    """Cross-entropy over the classes, or mean squared error for a regression; mean over examples."""

    Config: ClassVar[type[TextClassificationOptions]] = TextClassificationOptions
    config: TextClassificationOptions

    def __init__(self, config: TaskConfig) -> None:
        super().__init__(config)
        self.columns, self.label_column = self.config.columns, "label"
        self.classes: tuple[str, ...] = self.config.labels

    @property
    def is_regression(self) -> bool:
        """Whether the task has no classes: its labels are numbers."""
        return not self.classes

    @property
    def head(self) -> HeadSpec:
        """A classifier with an output per class; one output for a regression."""
        labels = list(self.classes)
        config: dict[str, Any] = {"num_labels": len(labels) or 1}
        if labels:
            config |= {"id2label": dict(enumerate(labels)), "label2id": {n: i for i, n in enumerate(labels)}}
        return HeadSpec("AutoModelForSequenceClassification", config)

    def check(self, rows: Dataset) -> None:
        """Raise `UserError` for a missing column, a cell that is no text, or a label that is not the task's."""
        self.check_columns(rows, *self.columns, self.label_column)
        for name in self.columns:
            self.check_texts(rows, name, empty=True)
        self._references(rows)

    def in_codes(self, rows: Dataset) -> Dataset:
        """``rows`` with the task's class codes as labels; a regression's rows as they are."""
        if self.is_regression:
            return rows
        return labels.recoded(rows, self.label_column, self.classes, self._references(rows))

    def encode(self, rows: Dataset, processor: Any, training: bool = False) -> Encoded:
        """Tokens of one text or of a pair, cut to ``max_length``, with class codes or numbers as references."""
        self.check(rows)
        columns = [rows[c][:] for c in self.columns]
        features = self.tokens(processor, columns, truncation=True, max_length=self.config.max_length)
        lengths = features["input_ids"].lengths
        return Encoded(features, self._references(rows), lengths, {"input_ids": processor.pad_token_id})

    def _references(self, rows: Dataset) -> np.ndarray:
        """The labels: class codes as int64, or the targets of a regression as float32."""
        task = f"task={self.spec.name}"
        if self.is_regression:
            return labels.numbers_of(rows, self.label_column, task)
        return labels.codes_of(rows, self.label_column, self.classes, task)

    def width(self, lengths: np.ndarray, padding: str) -> int:
        """The longest, rounded up to a multiple of 8 but not above ``max_length`` (``dynamic``), or ``max_length``."""
        longest = int(lengths.max())
        if padding != "dynamic":
            return self.config.max_length
        return min(-(-longest // PAD_MULTIPLE) * PAD_MULTIPLE, max(self.config.max_length, longest))

    def collate(self, encoded: Encoded, indices: Sequence[int] | np.ndarray, padding: str) -> Batch:
        """Inputs (n, `width`) int64, padded on the right, ``labels`` (n,) int64 or float32, ``weight`` (n,), 1 each."""
        import numpy as np
        import torch

        lengths = encoded.lengths[indices]
        width = self.width(lengths, padding)
        inside = np.arange(width)[None, :] < lengths[:, None]
        batch: Batch = {"attention_mask": torch.from_numpy(inside.astype(np.int64))}
        for name, column in encoded.features.items():
            padded = np.full((len(lengths), width), encoded.pad_values.get(name, 0), dtype=np.int64)
            padded[inside] = column.gather(indices)
            batch[name] = torch.from_numpy(padded)
        batch["labels"] = torch.from_numpy(encoded.references[indices])
        batch["weight"] = torch.ones(len(lengths))
        return batch

    def loss(self, model: torch.nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The summed cross-entropy in nats, or squared error, of the rows of weight 1, and their number."""
        import torch.nn.functional as F

        logits = self._logits(model, batch)
        if self.is_regression:
            each = F.mse_loss(logits.squeeze(-1), batch["labels"].to(logits.dtype), reduction="none")
        else:
            each = F.cross_entropy(logits, batch["labels"], reduction="none")
        return (each * batch["weight"]).sum(), batch["weight"].sum()

    def predict(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        """(n, classes) logits, or (n,) the numbers of a regression."""
        logits = self._logits(model, batch)
        return logits.squeeze(-1) if self.is_regression else logits

    @staticmethod
    def _logits(model: torch.nn.Module, batch: Batch) -> Tensor:
        logits = model(**{k: v for k, v in batch.items() if k not in ("labels", "weight")}).logits
        return logits if logits.dtype.itemsize >= 4 else logits.float()

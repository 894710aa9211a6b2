"""Sentence and sentence-pair classification or regression: GLUE, and generated tasks of that form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from uora_bench.config.options.tasks import TextClassificationOptions
from uora_bench.errors import UserError
from uora_bench.models.heads import HeadSpec
from uora_bench.tasks.base import Batch, Encoded, Task

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import torch
    from datasets import Dataset
    from torch import Tensor

PAD_MULTIPLE = 8


class TextClassification(Task):
    """Cross-entropy over the classes, or mean squared error for a regression; mean over examples."""

    Config = TextClassificationOptions
    config: TextClassificationOptions

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

    def check(self, rows: Dataset) -> None:
        missing = [c for c in (*self.config.columns, "label") if c not in rows.column_names]
        if missing:
            raise UserError(
                f"task={self.spec.name} needs column '{missing[0]}'; the data has {', '.join(rows.column_names)}"
            )
        if not len(rows):
            raise UserError(f"task={self.spec.name}: the data has no rows")
        table = rows.with_format("arrow")[:]
        for name in self.config.columns:
            self._refuse_null(table[name], name)
            if not _is_text(table[name].type):
                raise UserError(f"task={self.spec.name}: column '{name}' must hold text, it holds {table[name].type}")
        self._references(table["label"])

    def encode(self, rows: Dataset, processor: Any, training: bool = False) -> Encoded:
        self.check(rows)
        references = self._references(rows.with_format("arrow")[:]["label"])
        columns = [rows[c][:] for c in self.config.columns]
        features = self.tokens(processor, columns, truncation=True, max_length=self.config.max_length)
        return Encoded(features, references, features["input_ids"].lengths, {"input_ids": processor.pad_token_id})

    def _references(self, column: pa.ChunkedArray) -> np.ndarray:
        """The column ``label``: class codes as int64, or the targets of a regression as float32."""
        import numpy as np

        self._refuse_null(column, "label")
        values: np.ndarray = column.to_numpy()
        if values.dtype.kind not in "biuf":
            raise UserError(f"task={self.spec.name}: column 'label' must hold numbers, it holds {column.type}")
        wrong = ~np.isfinite(values) if self.is_regression else values != np.floor(values)
        if wrong.any():
            row = int(wrong.argmax())
            what = "a finite number" if self.is_regression else "a class code"
            raise UserError(f"task={self.spec.name}: row {row} (from 0) has label {values[row]}, not {what}")
        if self.is_regression:
            return values.astype(np.float32)
        classes = len(self.config.labels)
        if values.min() < 0 or values.max() >= classes:
            raise UserError(
                f"task={self.spec.name}: labels must be 0 to {classes - 1}, found {values.min()} to {values.max()} "
                "(an unlabelled test split? choose another with task.splits.…)"
            )
        return values.astype(np.int64)

    def _refuse_null(self, column: pa.ChunkedArray, name: str) -> None:
        if column.null_count:
            row = column.is_null().index(True).as_py()
            raise UserError(f"task={self.spec.name}: row {row} (from 0) has no '{name}': it is null")

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
            padded = np.full((len(lengths), width), encoded.pad_values.get(name, 0), dtype=np.int64)
            padded[inside] = column.gather(indices)
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

    @staticmethod
    def _logits(model: torch.nn.Module, batch: Batch) -> Tensor:
        logits = model(**{k: v for k, v in batch.items() if k not in ("labels", "weight")}).logits
        return logits if logits.dtype.itemsize >= 4 else logits.float()


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)

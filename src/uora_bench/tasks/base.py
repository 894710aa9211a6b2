"""The wall between tasks and everything else: `Encoded`, `HeadSpec`, `Task`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from uora_bench.cell import MetricSpec, TaskConfig
from uora_bench.schema import build

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from torch import Tensor

    from uora_bench.data import Source

Batch = dict[str, "Tensor"]


@dataclass(frozen=True)
class HeadSpec:
    """The head a task puts on a backbone: the transformers auto class and its configuration."""

    auto_class: Literal["AutoModelForSequenceClassification", "AutoModelForCausalLM", "AutoModelForImageClassification"]
    config: dict[str, Any]


@dataclass(frozen=True)
class Encoded:
    """A split ready for batching: one ragged list per model input, one reference and one length per example."""

    features: dict[str, list[Any]]
    references: np.ndarray
    lengths: np.ndarray

    def __len__(self) -> int:
        return len(self.references)


class Task(ABC):
    """Data, loss, prediction and score of one task. A family names its own options in the dataclass ``Config``."""

    Config: ClassVar[type]

    def __init__(self, config: TaskConfig) -> None:
        self.spec = config
        self.metric: MetricSpec = config.metric
        self.config: Any = build(self.Config, config.options, "task")

    def splits(self, source: Source) -> dict[str, Dataset]:
        """Rows of ``train``, ``dev``, ``test`` when the task names one, and of every extra evaluation split."""
        names = self.spec.splits
        wanted = {"train": names.train, "dev": names.dev, **names.extra}
        if names.test is not None:
            wanted["test"] = names.test
        return {role: source.load(self.spec.source, name) for role, name in wanted.items()}

    @property
    @abstractmethod
    def head(self) -> HeadSpec:
        """What `uora_bench.backbones` puts on the backbone."""

    @abstractmethod
    def encode(self, rows: Dataset, processor: Any) -> Encoded:
        """Turn rows into model inputs; raises `UserError` for rows without what training needs."""

    @abstractmethod
    def collate(self, encoded: Encoded, indices: Sequence[int] | np.ndarray, padding: str) -> Batch:
        """A batch of CPU tensors: model inputs, ``labels`` and ``weight`` (what each example counts in the loss)."""

    @abstractmethod
    def loss(self, model: torch.nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """(sum of the losses, sum of the weights): sums, so that accumulation and processes weigh examples right."""

    @abstractmethod
    def predict(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        """One prediction per example, on the model's device."""

    @abstractmethod
    def score(self, predictions: np.ndarray, references: np.ndarray) -> Mapping[str, float]:
        """Every metric of the task; ``metric.primary`` is one of them."""

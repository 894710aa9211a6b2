"""The wall between tasks and everything else: `Encoded`, `Task`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from uora_bench import metrics
from uora_bench.config.cell import MetricSpec, TaskConfig
from uora_bench.config.options import TaskOptions
from uora_bench.data.ragged import Ragged
from uora_bench.data.tokens import TokenCache
from uora_bench.errors import UserError
from uora_bench.models.heads import HeadSpec
from uora_bench.tasks import labels

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from torch import Tensor

    from uora_bench.data.sources import Source

Batch = dict[str, "Tensor"]


@dataclass(frozen=True)
class Encoded:
    """A split ready for batching: one sequence of integers per example and model input, one reference, one length.

    ``features`` may be given as lists of lists; they are held as `Ragged`. ``lengths`` (n,): tokens of each example.
    ``pad_values`` names what a model input is padded with where that is not 0. ``new_tokens``: up to how many tokens
    the model adds to each. ``too_long``: of how many rows the prompt was, and was cut or left out. ``rows`` (n,): the
    number of the row that each example is of, the first where it is of several; None: every row is one example, in
    their order.
    """

    features: Mapping[str, Ragged]
    references: np.ndarray
    lengths: np.ndarray
    pad_values: Mapping[str, int] = field(default_factory=dict)
    new_tokens: int = 0
    too_long: int = 0
    rows: np.ndarray | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        held = {k: v if isinstance(v, Ragged) else Ragged.of(v) for k, v in self.features.items()}
        object.__setattr__(self, "features", held)

    def __len__(self) -> int:
        return len(self.references)


class Task(ABC):
    """Data, loss, prediction and score of one task.

    A family names the dataclass of its options ``Config`` (`uora_bench.config.options`).
    """

    Config: ClassVar[type[TaskOptions]]
    config: TaskOptions

    def __init__(self, config: TaskConfig) -> None:
        self.spec = config
        self.metric: MetricSpec = config.metric
        self.config = config.options
        self.tokens = TokenCache()  # `uora_bench.execution.fitting` gives it a folder

    @property
    def roles(self) -> tuple[str, ...]:
        """The roles of the splits there will be: train, dev and others."""
        return tuple(self.spec.roles)

    @property
    def settled(self) -> dict[str, Any]:
        """Options that the data decided where the configuration leaves them open, as it would set them.

        Empty before `splits`.
        """
        return {}

    def planned_head(self) -> tuple[HeadSpec, str]:
        """(the head to count parameters with when there are no data, what of it only they can tell or "")."""
        return self.head, ""

    def splits(self, source: Source) -> dict[str, Dataset]:
        """Rows of ``train``, ``dev``, ``test`` when the task names one, and of every extra evaluation split.

        Raises:
            UserError: for a split that is nowhere to be had, or whose rows `check` refuses.
        """
        loaded = {}
        for role, name in self.spec.to_load.items():
            rows = source.load(self.spec.source, name)
            try:
                self.check(rows)
                loaded[role] = self.in_codes(rows)
            except UserError as error:
                raise UserError(f"{error} (split '{name}')") from None
        return loaded

    def sample(self, rows: Mapping[str, Dataset], seed: int) -> dict[str, Dataset]:
        """The splits a cell of ``seed`` works on; a family may draw some of ``rows``, for every method alike."""
        return dict(rows)

    def split_name(self, role: str) -> str:
        """What the record calls the split of ``role``: its name, and what `sample` made of it."""
        names = self.spec.splits
        return str(getattr(names, role, None) or names.extra.get(role))

    def in_codes(self, rows: Dataset) -> Dataset:
        """``rows``, which `check` let pass, with the codes of the task's classes for whatever they call them."""
        return rows

    def check_files(self, rows: Mapping[str, Dataset], folder: Path) -> None:
        """Raise `UserError` for ``rows`` (by role) that cannot be read to the end, before hours are spent on the rest.

        What was found may be kept in ``folder``.
        """
        return

    def check_columns(self, rows: Dataset, *names: str, option: str = "") -> None:
        """Raise `UserError` unless ``rows`` have the columns ``names`` (which ``option`` names), and there is a row."""
        for name in names:
            if name not in rows.column_names:
                held = ", ".join(rows.column_names)
                raise UserError(
                    f"task={self.spec.name} needs column '{name}'{option and f' ({option})'}; the data has {held}"
                )
        if not len(rows):
            raise UserError(f"task={self.spec.name}: the data has no rows")

    def check_texts(self, rows: Dataset, name: str, empty: bool = False, null: bool = False) -> None:
        """Raise `UserError` unless column ``name`` holds text in every row.

        ``empty``: a blank text will do; ``null``: so will null.
        """
        column = rows.select_columns([name]).with_format("arrow")[:][name]
        task = f"task={self.spec.name}"
        if column.null_count and not null:
            raise UserError(f"{task}: row {column.is_null().index(True).as_py()} (from 0) has no '{name}': it is null")
        if column.null_count < len(column) and not labels.is_text(column.type):
            row = column.is_null().index(False).as_py()
            raise UserError(
                f"{task}: column '{name}' must hold text, it holds {column.type}: row {row} (from 0) has "
                f"{str(column[row].as_py())[:40]!r}; write it as text, in quotes"
            )
        row = -1 if empty else next((i for i, text in enumerate(column.to_pylist()) if not (text or "").strip()), -1)
        if row >= 0:
            raise UserError(f"{task}: row {row} (from 0) has no '{name}'")

    @abstractmethod
    def check(self, rows: Dataset) -> None:
        """Raise `UserError` for rows without what training needs, naming the first such row, before weights load."""

    @property
    @abstractmethod
    def head(self) -> HeadSpec:
        """What `uora_bench.models.backbones` puts on the backbone."""

    @abstractmethod
    def encode(self, rows: Dataset, processor: Any, training: bool = False) -> Encoded:
        """Turn rows into model inputs; raises `UserError` for rows that `check` refuses.

        ``training``: they are rows to learn from; a family may prepare rows to be scored in another way.
        """

    def set_epoch(self, encoded: Encoded, batches: Iterable[Sequence[int] | np.ndarray], draw: int | None) -> Encoded:
        """``encoded`` as `collate` is to be given it in one pass over it: an epoch, or an evaluation.

        ``batches``: the indices that `collate` will be asked for, in that order, so that a family can work ahead (the
        pass may end early, and other indices may be asked for). ``draw``: the seed of all that is random in this pass,
        the same for every method and process and after a resume; None: nothing is.
        """
        return encoded

    def width(self, lengths: np.ndarray, padding: str) -> int:
        """To how many tokens `collate` pads training rows of these lengths; 0: its batches have no such width."""
        return 0

    @abstractmethod
    def collate(self, encoded: Encoded, indices: Sequence[int] | np.ndarray, padding: str) -> Batch:
        """A batch of CPU tensors: model inputs (n, width), ``labels``, and ``weight`` (what each counts in the loss).

        ``indices`` (n,): of the examples; ``padding``: ``dynamic`` or ``max_length`` (`width`).
        """

    @abstractmethod
    def loss(self, model: torch.nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """(sum of the losses, sum of the weights): sums, so that accumulation and processes weigh examples right."""

    @abstractmethod
    def predict(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        """One prediction per example, (n,) or (n, k), on the model's device: what `to_score` makes columns of."""

    def outputs(self, predictions: np.ndarray) -> list[str] | None:
        """The predictions as lines of text, to be kept as a file beside the record; None: they are only numbers."""
        return None

    @cached_property
    def scorer(self) -> metrics.Metric:
        """The metric of the task; raises what `metrics.load_metric` says."""
        return metrics.load_metric(self.metric.name)

    def to_score(self, predictions: np.ndarray, references: np.ndarray) -> tuple[Any, Any]:
        """The predictions and references as the metric is given them."""
        return predictions, references

    def to_keep(self, predictions: np.ndarray, references: np.ndarray) -> dict[str, Any]:
        """What is kept of every example beside the record, as columns of n.

        ``prediction`` and ``reference`` as the metric is given them, and ``logits`` (n, classes) where a prediction is
        chosen by them.
        """
        given, wanted = self.to_score(predictions, references)
        return {"prediction": given, "reference": wanted}

    def score(self, predictions: np.ndarray, references: np.ndarray, **options: Any) -> dict[str, Any]:
        """Every value of the metric, ``metric.primary`` among them; ``options`` are for its ``compute``.

        What could not be had is named with the reason under ``absent``: ``{value: reason}``. Raises
        `metrics.checked_scores`' errors.
        """
        given, wanted = self.to_score(predictions, references)
        return metrics.checked_scores(self.metric, self.scorer.compute(predictions=given, references=wanted, **options))

    def primary(self, predictions: np.ndarray, references: np.ndarray) -> float:
        """The primary value alone; a family may have a cheaper way to it than `score`, whose errors it raises."""
        return float(self.score(predictions, references)[self.metric.primary])


def likeliest(predictions: np.ndarray) -> np.ndarray:
    """The number (n,) of the largest of logits (n, classes); numbers (n,) are predictions themselves."""
    return predictions.argmax(axis=1) if predictions.ndim == 2 else predictions


class Chooses(Task):
    """A task whose `predict` gives logits (n, classes), or predictions (n,) themselves."""

    def to_score(self, predictions: np.ndarray, references: np.ndarray) -> tuple[Any, Any]:
        """The code (n,) of the highest logit of each row, or the numbers predicted; and the references."""
        return likeliest(predictions), references

    def to_keep(self, predictions: np.ndarray, references: np.ndarray) -> dict[str, Any]:
        """The columns of `Task.to_keep`; with classes, the logits (n, classes) too."""
        kept = super().to_keep(predictions, references)
        return {**kept, "logits": predictions} if predictions.ndim == 2 else kept

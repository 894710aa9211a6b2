"""Image classification: CIFAR, Food-101, flowers, RESISC45, or any folder of class folders, on a vision backbone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.config.cell import TaskConfig
from uora_bench.config.options.tasks import REST, ImageClassificationOptions
from uora_bench.data import images, picture_check
from uora_bench.errors import UserError
from uora_bench.models.heads import HeadSpec
from uora_bench.tasks import labels
from uora_bench.tasks.base import Batch, Chooses, Encoded
from uora_bench.util.seeds import derive

if TYPE_CHECKING:
    import numpy as np
    import torch
    from datasets import Dataset
    from torch import Tensor

_DARK = 64  # of 255: of a whole data set no picture is darker, unless its values were read as if they had more bits


@dataclass(frozen=True, kw_only=True)
class Pictures(Encoded):
    """A split of pictures that are decoded batch by batch; no ``features``, and every length is 1."""

    loader: images.Loader


class ImageClassification(Chooses):
    """Cross-entropy over the classes, mean over pictures; the prediction is the likeliest class."""

    Config = ImageClassificationOptions
    config: ImageClassificationOptions

    def __init__(self, config: TaskConfig) -> None:
        super().__init__(config)
        self.classes: tuple[str, ...] = self.config.labels  # without names here, those of the training split

    @property
    def head(self) -> HeadSpec:
        """One linear layer with an output per class.

        Raises:
            UserError: before `splits`, when the classes are those of the data.
        """
        if not self.classes:
            raise UserError(
                f"task={self.spec.name} reads its classes from the data, and this needs them without the data: name "
                "them with task.labels=[…]"
            )
        names = list(self.classes)
        config = {"num_labels": len(names), "id2label": dict(enumerate(names))}
        return HeadSpec("AutoModelForImageClassification", config | {"label2id": {n: i for i, n in enumerate(names)}})

    @property
    def settled(self) -> dict[str, Any]:
        """The class names where the data gave them."""
        return {} if self.config.labels or not self.classes else {"labels": list(self.classes)}

    def planned_head(self) -> tuple[HeadSpec, str]:
        """The head; of two classes, with a note, where the classes are not known yet."""
        if self.classes:
            return self.head, ""
        return HeadSpec("AutoModelForImageClassification", {"num_labels": 2}), labels.TO_BE_FOUND

    # --- rows -----------------------------------------------------------------------------------------------------

    def sample(self, rows: Mapping[str, Dataset], seed: int) -> dict[str, Dataset]:
        """``rows`` with ``per_class`` training pictures of each class, drawn with ``seed``; ``rest`` has the others.

        Raises:
            UserError: for a class with fewer pictures, or a ``rest`` without any.
        """
        count = self.config.per_class
        if count is None:
            return dict(rows)
        train = rows["train"]
        chosen, left = _drawn(self._codes(train), count, self.classes, seed)
        made = {role: train.select(left) for role, name in self.spec.roles.items() if name == REST}
        for role, part in made.items():
            if not len(part):
                raise UserError(f"task.splits.{role}={REST}: task.per_class={count} leaves no picture; take fewer")
        return {**rows, "train": train.select(chosen), **made}

    def split_name(self, role: str) -> str:
        """The name of the split; of drawn pictures, how many per class."""
        name, count = super().split_name(role), self.config.per_class
        if count is None or (role != "train" and name != REST):
            return name
        drawn = f"{count} per class (drawn with the seed)"
        train = self.spec.splits.train
        return f"{train}: {drawn}" if role == "train" else f"{train} without {drawn}"

    def check(self, rows: Dataset) -> None:
        """Raise `UserError` unless the columns are there, hold pictures with readable headers, and known classes."""
        config, name = self.config, self.spec.name
        for key in ("image_column", "label_column"):
            self.check_columns(rows, getattr(config, key), option=f"task.{key}")
        kind = rows.select_columns([config.image_column]).with_format("arrow")[:1].schema.field(0).type
        if not images.is_picture(kind):
            raise UserError(f"task={name}: column '{config.image_column}' must hold pictures, it holds {kind}")
        self._codes(rows)
        for row, (source, path) in enumerate(images.sources(rows, config.image_column)):
            fault = "it is null" if source is None else images.header_fault(source, config.value_range)
            if fault is not None:
                where = f", '{path}'" if path else ""
                raise UserError(
                    f"task={name}: the picture in row {row} (from 0{where}) cannot be read: {fault}; replace or "
                    "remove it"
                )

    def check_files(self, rows: Mapping[str, Dataset], folder: Path) -> None:
        """Decode every picture once; raise `UserError` for one that cannot be read, or if all are nearly black."""
        column, given = self.config.image_column, self.config.value_range
        found = max(picture_check.brightest(part, column, given, folder) for part in rows.values())
        if given is None and found < _DARK:
            raise UserError(
                f"task={self.spec.name}: no picture is brighter than {found} of 255, as when 12 bits are kept in 16; "
                "say which values are black and white: task.value_range=[0,4095] (all, if they are so dark)"
            )

    def in_codes(self, rows: Dataset) -> Dataset:
        """``rows`` with the task's class codes as their label column."""
        return labels.recoded(rows, self.config.label_column, self.classes, self._codes(rows))

    def _codes(self, rows: Dataset) -> np.ndarray:
        """The class codes (n,) int64 of ``rows``, in the order of ``classes``.

        The first rows that are seen, those of the training split, name the classes where the task does not.
        """
        column, task = self.config.label_column, f"task={self.spec.name}"
        self.classes = self.classes or labels.classes_of(rows, column, task)
        return labels.codes_of(rows, column, self.classes, task, by_code=bool(self.config.labels))

    # --- batches --------------------------------------------------------------------------------------------------

    def encode(self, rows: Dataset, processor: Any, training: bool = False) -> Pictures:
        """Pictures that are decoded when a batch needs them, with class codes (n,) int64 and length 1 each."""
        import numpy as np

        config = self.config
        preparation = images.Preparation.of(processor, config.image_size)
        augmentation = config.augmentation if training else "none"
        loader = images.Loader(rows, config.image_column, preparation, augmentation, config.value_range)
        return Pictures({}, self._codes(rows), np.ones(len(rows), dtype=np.int64), loader=loader)

    def set_epoch(self, encoded: Encoded, batches: Iterable[Sequence[int] | np.ndarray], draw: int | None) -> Encoded:
        """Let the loader read ahead along ``batches``; ``draw`` seeds the augmentation of this epoch."""
        assert isinstance(encoded, Pictures)
        return replace(encoded, loader=encoded.loader.along(batches, draw))

    def collate(self, encoded: Encoded, indices: Sequence[int] | np.ndarray, padding: str) -> Batch:
        """``pixel_values`` (n, 3, height, width) float32, normalised; ``labels`` (n,) int64; ``weight`` (n,), 1."""
        import numpy as np
        import torch

        assert isinstance(encoded, Pictures)
        indices = np.asarray(indices)
        batch: Batch = {"pixel_values": torch.from_numpy(encoded.loader.batch(indices))}
        if encoded.loader.preparation.resized:  # the backbone has learnt its positions at another size
            batch["interpolate_pos_encoding"] = torch.tensor(True)
        batch["labels"] = torch.from_numpy(encoded.references[indices])
        batch["weight"] = torch.ones(len(indices))
        return batch

    def loss(self, model: torch.nn.Module, batch: Batch) -> tuple[Tensor, Tensor]:
        """The summed cross-entropy in nats of the rows of weight 1, and their number."""
        import torch.nn.functional as F

        each = F.cross_entropy(self._logits(model, batch), batch["labels"], reduction="none")
        return (each * batch["weight"]).sum(), batch["weight"].sum()

    def predict(self, model: torch.nn.Module, batch: Batch) -> Tensor:
        """The logits (n, classes)."""
        return self._logits(model, batch)

    @staticmethod
    def _logits(model: torch.nn.Module, batch: Batch) -> Tensor:
        logits = model(**{k: v for k, v in batch.items() if k not in ("labels", "weight")}).logits
        return logits if logits.dtype.itemsize >= 4 else logits.float()


def _drawn(codes: np.ndarray, count: int, classes: Sequence[str], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(row numbers of ``count`` pictures of each class, all others), both in their old order.

    A class's draw depends on the seed and on its own rows alone, and the draw of a smaller count is part of that of a
    larger one.

    Raises:
        UserError: for a class with fewer pictures.
    """
    import numpy as np

    taken = np.zeros(len(codes), dtype=bool)
    for code, name in enumerate(classes):
        own = np.flatnonzero(codes == code)
        if len(own) < count:
            raise UserError(
                f"task.per_class={count}: class '{name}' has {len(own)} pictures in the training split; take fewer"
            )
        order = np.random.default_rng(derive(seed, "per_class", code)).permutation(own)
        taken[order[:count]] = True
    return np.flatnonzero(taken), np.flatnonzero(~taken)

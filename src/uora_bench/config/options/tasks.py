"""Options of the built-in task families; the YAML of each task, or of its family, explains them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge, Lt

from uora_bench.config.options.base import TaskOptions
from uora_bench.errors import UserError

REST = "rest"  # a split that is made, not loaded: what task.per_class leaves of the training split
Augmentation = Literal["none", "flip", "crop_flip"]
Tokens = Annotated[int, Ge(8)]


@dataclass(frozen=True, kw_only=True)
class CausalOptions(TaskOptions):
    """What tasks of a causal language model share.

    ``max_length``: tokens of prompt and target together. ``loss_on_prompt``: the prompt's own tokens count in the loss
    too. ``too_long``: what is done about a prompt that leaves its target no room. ``sample_train``, ``sample_dev``,
    ``sample_test``: so many items are drawn from the split with ``sample_seed``, the same for every cell; None: all.
    """

    columns: tuple[str, ...]
    max_length: Tokens
    loss_on_prompt: bool
    too_long: Literal["error", "truncate", "drop"] = "error"
    sample_train: Annotated[int, Ge(1)] | None = None
    sample_dev: Annotated[int, Ge(1)] | None = None
    sample_test: Annotated[int, Ge(1)] | None = None
    sample_seed: Annotated[int, Ge(0)] = 0

    def sampled(self, role: str) -> int | None:
        """How many items the split of ``role`` is cut to; None: it is not."""
        count: int | None = getattr(self, f"sample_{role}", None)
        return count


def _columns(given: tuple[str, ...], least: int, most: int, what: str) -> None:
    if not least <= len(given) <= most:
        raise UserError(f"task.columns={list(given)} must name {what}")


@dataclass(frozen=True, kw_only=True)
class TextClassificationOptions(TaskOptions):
    """Options of a task that classifies texts or pairs of texts.

    ``columns``: one or two text columns; ``labels``: class names in the order of their codes, empty for a regression
    (the column ``label`` is then the target); ``max_length``: tokens after which a pair is cut.
    """

    columns: tuple[str, ...]
    labels: tuple[str, ...]
    max_length: Tokens

    def __post_init__(self) -> None:
        _columns(self.columns, 1, 2, "one or two text columns")


@dataclass(frozen=True, kw_only=True)
class DataToTextOptions(CausalOptions):
    """Options of ``configs/task/e2e.yaml``."""

    linearisation: Literal["slots", "as_is"]
    separator: str
    label_smoothing: Annotated[float, Ge(0), Lt(1)]
    beams: Annotated[int, Ge(1)]
    length_penalty: float
    no_repeat_ngram: Annotated[int, Ge(0)]
    max_new_tokens: Annotated[int, Ge(1)]

    def __post_init__(self) -> None:
        _columns(self.columns, 2, 2, "two columns: the meaning and its text")


@dataclass(frozen=True, kw_only=True)
class InstructOptions(CausalOptions):
    """Options of ``configs/task/instruct/_family.yaml``."""

    template: Literal["plain", "alpaca", "human_assistant", "chat"]
    packing: bool = False

    def __post_init__(self) -> None:
        _columns(self.columns, 3, 3, "three columns: instruction, input, output")


@dataclass(frozen=True, kw_only=True)
class ImageClassificationOptions(TaskOptions):
    """Options of a task that classifies pictures.

    ``image_column``, ``label_column``: names of the columns. ``labels``: class names in the order of their codes;
    empty: the data's own. ``per_class``: pictures per class to train on, drawn with the seed (None: all).
    ``augmentation``: of the training pictures. ``image_size``: pixels of a side (None: the backbone's own).
    ``value_range``: the values of grey pictures that are black and white (None: what the file says).
    """

    image_column: str
    label_column: str
    labels: tuple[str, ...]
    per_class: Annotated[int, Ge(1)] | None
    augmentation: Augmentation
    image_size: Annotated[int, Ge(1)] | None
    value_range: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if len(set(self.labels)) != len(self.labels):
            twice = next(name for name in self.labels if self.labels.count(name) > 1)
            raise UserError(f"task.labels names '{twice}' twice; each class once")
        if self.value_range is not None and (len(self.value_range) != 2 or self.value_range[0] >= self.value_range[1]):
            raise UserError(
                f"task.value_range={list(self.value_range)} must be two numbers, black below white: [0,4095]"
            )

    def loaded(self, splits: Mapping[str, str]) -> dict[str, str]:
        return {role: name for role, name in splits.items() if name != REST}

    def check_splits(self, splits: Mapping[str, str]) -> None:
        if splits.get("train") == REST:
            raise UserError(f"task.splits.train={REST}: it is what task.per_class leaves of the training split")
        made = [role for role, name in splits.items() if name == REST]
        if made and self.per_class is None:
            raise UserError(
                f"task.splits.{made[0]}={REST} is what task.per_class leaves of the training split; set task.per_class"
            )

"""Options of the tasks of a user's own rows; ``configs/task/text/`` explains them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Lt

from uora_bench.config.options.base import TaskOptions
from uora_bench.config.options.tasks import TextClassificationOptions
from uora_bench.config.options.templates import TemplateOptions
from uora_bench.errors import UserError

_FILES = ("path", "encoding", "separator")  # keys of the task's node that say where and how to read


@dataclass(frozen=True, kw_only=True)
class Shares:
    """The shares of the rows that are drawn for dev and test; the rest is trained on."""

    dev: Annotated[float, Gt(0), Lt(1)]
    test: Annotated[float, Ge(0), Lt(1)]

    def __post_init__(self) -> None:
        if self.dev + self.test >= 1:
            raise UserError(f"task.split leaves nothing to train on: dev {self.dev:g} and test {self.test:g}")


@dataclass(frozen=True, kw_only=True)
class OwnRowsOptions(TaskOptions):
    """Options of a task on the user's own rows.

    ``split``: shares that are drawn where no file has the split, with ``split_seed``, the same for every cell.
    ``missing``: what happens to rows without an answer or a text.
    """

    split: Shares
    split_seed: Annotated[int, Ge(0)]
    missing: Literal["error", "drop"]

    @property
    def wanted_columns(self) -> dict[str, str]:
        """The columns that the rows must have -> the key that names each."""
        return {}

    @classmethod
    def normalised(cls, values: Mapping[str, Any], root: str | None) -> dict[str, Any]:
        given = {k: v for k, v in values.items() if k not in _FILES}
        path = values["path"] if values["path"] is not None else root
        if path is None:
            return given
        path = os.path.expanduser(str(path))
        separator = values["separator"]
        if separator is not None:
            separator = {"tab": "\t", "\\t": "\t"}.get(str(separator), str(separator))
            if len(separator) != 1:
                raise UserError(f"task.separator={values['separator']!r} must be one character, or tab")
        files = {"path": path, "encoding": values["encoding"], "separator": separator}
        given["source"] = {**values["source"], "dataset": os.path.basename(os.path.abspath(path)), "files": files}
        return given


@dataclass(frozen=True, kw_only=True)
class LocalTextOptions(OwnRowsOptions, TextClassificationOptions):
    """Options of ``task=text/local``: the user's own texts and labels.

    ``columns``: the text columns; none: the only one. ``label``: the column of labels. ``labels``: class names in the
    order of their codes; none: those in the data. ``target``: what the labels are.
    """

    label: str
    target: Literal["auto", "classes", "regression"]

    @property
    def wanted_columns(self) -> dict[str, str]:
        return {self.label: "task.label", **dict.fromkeys(self.columns, "task.columns")}

    def __post_init__(self) -> None:
        if len(self.columns) > 2 or len(set(self.columns)) != len(self.columns) or self.label in self.columns:
            raise UserError(f"task.columns={list(self.columns)} must name one or two text columns beside task.label")
        if len(set(self.labels)) != len(self.labels) or len(self.labels) == 1:
            raise UserError(f"task.labels={list(self.labels)} must name two or more classes, each once")
        if self.labels and self.target == "regression":
            raise UserError("task.target=regression has no classes; leave task.labels empty")


@dataclass(frozen=True, kw_only=True)
class TextGenerateOptions(OwnRowsOptions, TemplateOptions):
    """Options of ``task=text/generate``: the user's own prompts and answers.

    ``answer``: the column to be generated. ``choices``: the possible answers, or the column that lists a row's; the
    most likely one is the prediction and no text is generated. ``beams``, ``max_new_tokens``: of the generation.
    """

    @property
    def wanted_columns(self) -> dict[str, str]:
        choices = {self.choices: "task.choices"} if isinstance(self.choices, str) else {}
        return {self.answer: "task.answer", **dict.fromkeys(self.columns, "task.template"), **choices}

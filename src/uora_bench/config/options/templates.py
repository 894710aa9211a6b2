"""Options of tasks whose prompt is a template filled with the columns of a row."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from annotated_types import Ge

from uora_bench.config.options.tasks import CausalOptions
from uora_bench.errors import UserError


@dataclass(frozen=True, kw_only=True)
class TemplateOptions(CausalOptions):
    """Options of a task whose prompt is a template.

    ``template``: the prompt, with ``{column}`` for a row's value; ``answer``: the column of answers. ``choices``: the
    possible answers, or the column that lists a row's; the most likely one is the prediction and no text is generated.
    ``beams``, ``max_new_tokens``: of the generation.
    """

    nested: ClassVar[bool] = False  # whether {a.b} may name field b of column a

    columns: tuple[str, ...] = ()  # those of the template
    template: str
    answer: str
    choices: tuple[str, ...] | str
    beams: Annotated[int, Ge(1)]
    max_new_tokens: Annotated[int, Ge(1)]

    def __post_init__(self) -> None:
        fields = [name for _, name in self.pieces if name is not None]
        if not fields:
            raise UserError(f"task.template={self.template!r} names no column; write {{column}} where its text belongs")
        if self.answer in fields:
            raise UserError(f"task.template names '{self.answer}', which is the answer (task.answer)")
        if not isinstance(self.choices, str) and (
            len(set(self.choices)) != len(self.choices) or len(self.choices) == 1
        ):
            raise UserError(f"task.choices={list(self.choices)} must name two or more answers, each once, or a column")
        object.__setattr__(self, "columns", tuple(dict.fromkeys(fields)))

    @property
    def pieces(self) -> tuple[tuple[str, str | None], ...]:
        """The template as (text, the column after it or None)."""
        try:
            parsed = list(string.Formatter().parse(self.template))
        except ValueError as error:
            raise UserError(
                f"task.template={self.template!r}: {error}; a brace that is text is written twice"
            ) from None
        odd = set("[]" if self.nested else ".[]")
        for _, name, form, conversion in parsed:
            if name is not None and (not name or form or conversion or set(name) & odd):
                raise UserError(f"task.template={self.template!r}: a column is named as {{column}}, nothing else")
        return tuple((text, name) for text, name, _, _ in parsed)

    def prompt(self, row: Mapping[str, str]) -> str:
        """The template filled with the texts of ``row``."""
        return "".join(text + ("" if name is None else row[name]) for text, name in self.pieces)

    def target(self, answer: str) -> str:
        """``answer`` as it stands behind a prompt: after a blank, unless the template ends with one."""
        ends = self.pieces[-1]
        spaced = ends[1] is None and ends[0][-1:].isspace()
        return answer if spaced else f" {answer}"


@dataclass(frozen=True, kw_only=True)
class PromptedOptions(TemplateOptions):
    """Options of ``configs/task/_prompted.yaml``, which explains them."""

    nested: ClassVar[bool] = True

    learn: str | None
    answer_is: Literal["text", "number"]
    prepare: Literal["none", "hellaswag"]
    group: bool
    end_of_text: bool
    length_penalty: float
    stop: tuple[str, ...]
    shuffle_seed: Annotated[int, Ge(0)] | None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.answer_is == "number" and not self.choices:
            raise UserError("task.answer_is=number is the number of a choice; name them with task.choices")
        if self.group and self.choices:
            raise UserError("task.group=true joins the answers of one prompt that is written; leave task.choices empty")
        if any(not text for text in self.stop):
            raise UserError("task.stop: an empty text stops everywhere; leave it out")
        if self.learn in self.columns:
            raise UserError(f"task.template names '{self.learn}', which is to be learnt (task.learn)")

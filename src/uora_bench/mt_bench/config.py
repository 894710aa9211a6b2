"""What the command line asks for: the cell, and ``key=value`` options, strictly."""

from __future__ import annotations

import os
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge

from uora_bench.errors import UserError, nearest
from uora_bench.mt_bench.judge.answers import CATEGORIES
from uora_bench.tasks.instruct import TEMPLATES
from uora_bench.util.schema import build, convert, parse_text

TEMPERATURE = "temperature."  # temperature.<category>=x
_PLACES = {"data.root": None, "output": None, "backbone.path": None, "runs.dir": "runs", "results.dir": None,
           "experiment": None}  # fmt: skip


@dataclass(frozen=True)
class AnswerConfig:
    """How the questions are answered; docs/mt_bench.md explains every key.

    ``temperature``: by category, over the published ones. Null: ``seed`` and ``template`` are the cell's, ``limit`` all
    questions. ``max_new_tokens``: of one answer; ``batch_size``: in questions.

    Raises:
        UserError: for a template that there is not.
    """

    seed: int | None = None
    max_new_tokens: Annotated[int, Ge(1)] = 1024
    batch_size: Annotated[int, Ge(1)] = 8
    turns: Literal["1", "both"] = "both"
    template: str | None = None
    temperature: Mapping[str, Annotated[float, Ge(0)]] = field(default_factory=dict)
    weights: Literal["last", "best"] = "last"
    limit: Annotated[int, Ge(1)] | None = None
    force: bool = False

    def __post_init__(self) -> None:
        known = (*TEMPLATES, "chat")
        if self.template is not None and self.template not in known:
            raise UserError(f"template={self.template}: there is no such template{nearest(self.template, known)}")


@dataclass(frozen=True)
class AnswerRequest:
    """What one call of the command line asks for.

    ``cell``: a run folder or a cell_id; ``places``: where things are, by key, None where the option was not given;
    ``dry_run``: say what would be asked.
    """

    cell: str
    config: AnswerConfig
    places: Mapping[str, str | None]
    dry_run: bool = False


def parse(cell: str, given: Mapping[str, str]) -> AnswerRequest:
    """What ``cell`` is asked for; ``given``: the text of each key of `AnswerConfig`, `AnswerRequest` and ``places``.

    Raises:
        UserError: for a category that MT-Bench does not have, or a value of a wrong type.
    """
    hints = typing.get_type_hints(AnswerConfig)
    places = dict(_PLACES)
    values: dict[str, Any] = {"temperature": {}}
    dry_run = False
    for key, text in given.items():
        if key == "dry_run":
            dry_run = convert(bool, parse_text(bool, text), key)
        elif key in places:
            places[key] = text or None
        elif key.startswith(TEMPERATURE):
            category = key.removeprefix(TEMPERATURE)
            if category not in CATEGORIES:
                raise UserError(f"unknown key '{key}'{nearest(key, [TEMPERATURE + one for one in CATEGORIES])}")
            values["temperature"][category] = parse_text(float, text)
        else:
            values[key] = parse_text(hints[key], text)
    places["data.root"] = places["data.root"] or os.environ.get("UORA_DATA_DIR") or None
    return AnswerRequest(cell, build(AnswerConfig, values), places, dry_run)

"""The questions of MT-Bench, from the data folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uora_bench.errors import UserError
from uora_bench.mt_bench.judge.answers import temperature_of
from uora_bench.util.jsonl import json_lines
from uora_bench.util.schema import build

PUBLISHED = 80  # how many questions MT-Bench has
_PLACE = "mt_bench/question"


@dataclass(frozen=True)
class Question:
    """One question of one or two turns. ``reference`` is carried by the published file and not used."""

    question_id: int
    category: str
    turns: tuple[str, ...]
    reference: Any = None

    def __post_init__(self) -> None:
        temperature_of(self.category)
        if not 1 <= len(self.turns) <= 2:
            raise UserError(f"question {self.question_id} has {len(self.turns)} turns, MT-Bench's have one or two")
        if not all(turn.strip() for turn in self.turns):
            raise UserError(f"question {self.question_id} has an empty turn")


def read(root: str | None) -> list[Question]:
    """The questions of ``<root>/mt_bench/question/test.jsonl.gz`` (or ``.jsonl``), in the file's order.

    Raises:
        UserError: when there is no such file, and for the first line that is no question or repeats one, by number.
    """
    if root is None:
        raise UserError(f"where are the questions? set data.root=<folder> (or UORA_DATA_DIR) to one with {_PLACE}/")
    paths = [Path(root) / _PLACE / f"test{suffix}" for suffix in (".jsonl.gz", ".jsonl")]
    path = next((p for p in paths if p.is_file()), None)
    if path is None:
        raise UserError(
            f"no questions: '{paths[0]}' is not there; FastChat's fastchat/llm_judge/data/mt_bench/question.jsonl is "
            "such a file (as test.jsonl)"
        )
    found: dict[int, Question] = {}
    for number, data in json_lines(path):
        try:
            question = build(Question, data)
        except UserError as error:
            raise UserError(f"{path} line {number}: {error}") from None
        if question.question_id in found:
            raise UserError(f"{path} line {number}: question {question.question_id} is there twice")
        found[question.question_id] = question
    if not found:
        raise UserError(f"{path} holds no questions")
    return list(found.values())

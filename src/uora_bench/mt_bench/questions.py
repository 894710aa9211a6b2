"""The questions of MT-Bench, from the data folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uora_bench.errors import UserError
from uora_bench.mt_bench.judge.answers import temperature_of
from uora_bench.util.jsonl import lines_file, read_unique

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


def read_questions(root: str | None) -> list[Question]:
    """The questions of ``<root>/mt_bench/question/test.jsonl.gz`` (or ``.jsonl``), in the file's order.

    Raises:
        UserError: when there is no such file, and for the first line that is no question or repeats one, by number.
    """
    if root is None:
        raise UserError(f"where are the questions? set data.root=<folder> (or UORA_DATA_DIR) to one with {_PLACE}/")
    folder = Path(root) / _PLACE
    path = lines_file(folder, "test")
    if path is None:
        raise UserError(
            f"no questions: '{folder / 'test.jsonl.gz'}' is not there; FastChat's "
            "fastchat/llm_judge/data/mt_bench/question.jsonl is such a file (as test.jsonl)"
        )
    return read_unique(Question, path, "question_id", "questions")

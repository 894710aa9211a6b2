"""The file between the two halves of MT-Bench: what the trained model answered, one JSON line per question."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uora_bench.errors import UserError, nearest
from uora_bench.util.jsonl import read_unique, write_lines

FILE_NAME = "mt_bench_answers.jsonl"

_TEMPERATURES = {
    "writing": 0.7, "roleplay": 0.7, "extraction": 0.0, "math": 0.0, "coding": 0.0, "reasoning": 0.0, "stem": 0.1,
    "humanities": 0.1,
}  # fmt: skip
CATEGORIES = tuple(_TEMPERATURES)


@dataclass(frozen=True)
class Answer:
    """What the model said to one question.

    ``turns`` are the question's one or two turns, ``answers`` the model's answers to them (the second may be missing:
    first turn only). ``temperature`` is the one it was sampled at (0: greedy), ``generation`` whatever else describes
    the sampling (seed, longest answer, prompt template …).
    """

    question_id: int
    category: str
    turns: tuple[str, ...]
    answers: tuple[str, ...]
    temperature: float
    generation: dict[str, Any]

    def __post_init__(self) -> None:
        if not 1 <= len(self.turns) <= 2:
            raise UserError(f"question {self.question_id} has {len(self.turns)} turns, MT-Bench's have one or two")
        if not 1 <= len(self.answers) <= len(self.turns):
            raise UserError(
                f"question {self.question_id} has {len(self.answers)} answers to {len(self.turns)} turns; "
                "the first turn at least must be answered"
            )


def temperature_of(category: str, overrides: Mapping[str, float] | None = None) -> float:
    """The temperature to answer questions of ``category`` at: ``overrides`` first, else the published one.

    Published: writing and roleplay 0.7; extraction, math, coding and reasoning 0 (greedy); stem and humanities 0.1.
    Source: lm-sys/FastChat, ``temperature_config`` in fastchat/llm_judge/common.py (commit 007ecd0), the code of
    Zheng et al. 2023 (arXiv 2306.05685).

    Raises:
        UserError: for a category, asked for or overridden, that MT-Bench does not have.
    """
    for name in (*(overrides or {}), category):
        if name not in _TEMPERATURES:
            raise UserError(f"MT-Bench has no category '{name}'{nearest(name, CATEGORIES)}")
    return float({**_TEMPERATURES, **(overrides or {})}[category])


def write_answers(path: Path, answers: Iterable[Answer]) -> None:
    """Write the file whole or not at all, a JSON line per answer; the same answers give the same bytes."""
    write_lines(path, answers)


def read_answers(path: Path) -> list[Answer]:
    """The answers of the file, in its order; raises `UserError` as `read_unique` does."""
    return read_unique(Answer, path, "question_id", "answers")

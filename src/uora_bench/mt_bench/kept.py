"""Answers on disk: the finished file, and beside it what an unfinished call has so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uora_bench.errors import UserError
from uora_bench.mt_bench.judge.answers import Answer, read_answers, write_answers
from uora_bench.mt_bench.questions import Question


@dataclass(frozen=True)
class Asked:
    """The questions and their temperatures by number, and the ``facts`` an answer's ``generation`` must agree with."""

    questions: Mapping[int, Question]
    temperatures: Mapping[int, float]
    facts: Mapping[str, Any]

    def differs(self, answer: Answer) -> str:
        """Why ``answer`` is not one of those asked for; empty: it is."""
        number = answer.question_id
        question = self.questions.get(number)
        if question is None:
            return f"it answers question {number}, which is not asked"
        if (answer.turns, answer.category) != (question.turns, question.category):
            return f"question {number} is another one there"
        temperature = f"temperature of question {number}"
        theirs = {**answer.generation, temperature: answer.temperature}
        return _difference(theirs, {**self.facts, temperature: self.temperatures[number]})


class Kept:
    """The answers to `Asked`, kept in ``<output>.partial`` until all are there and ``output`` is written."""

    def __init__(self, output: Path, asked: Asked) -> None:
        self.output, self.asked = output, asked
        self.partial = output.with_name(f"{output.name}.partial")
        self.answers: dict[int, Answer] = {}

    def open(self, force: bool) -> bool:
        """Read what is there; True: the finished file already holds all that is asked.

        ``force`` removes a file that is finished, or one that does not fit; what a killed call left of the same answers
        is used even so.

        Raises:
            UserError: for a file of other answers.
        """
        if self.output.exists():
            if not force:
                self._read(self.output)
                missing = [number for number in self.asked.questions if number not in self.answers]
                if missing:
                    raise self._refusal(self.output, f"it lacks question {missing[0]} ({len(missing)} in all)")
                self.partial.unlink(missing_ok=True)
                return True
            self.partial.unlink(missing_ok=True)
            self.output.unlink()
        if self.partial.exists():
            try:
                self._read(self.partial)
            except UserError:
                if not force:
                    raise
                self.answers = {}
        return False

    def check_maker(self, facts: Mapping[str, Any], force: bool) -> None:
        """Raise `UserError` where what a killed call left was made in another way than ``facts`` say.

        Those are device, dtype, backbone …; ``force`` forgets what was left instead.
        """
        found = (_difference(answer.generation, facts) for answer in self.answers.values())
        if why := next(filter(None, found), ""):
            if not force:
                raise self._refusal(self.partial, why)
            self.answers = {}

    def add(self, made: list[Answer]) -> None:
        """Keep ``made``; when this returns they are on the disk."""
        self.answers.update({answer.question_id: answer for answer in made})
        write_answers(self.partial, self._ordered())

    def finish(self) -> None:
        """Write the finished file and remove the partial one."""
        write_answers(self.output, self._ordered())
        self.partial.unlink(missing_ok=True)

    def _ordered(self) -> list[Answer]:
        return [self.answers[number] for number in self.asked.questions if number in self.answers]

    def _read(self, path: Path) -> None:
        found = read_answers(path)
        for answer in found:
            if why := self.asked.differs(answer):
                raise self._refusal(path, why)
        self.answers = {answer.question_id: answer for answer in found}

    @staticmethod
    def _refusal(path: Path, why: str) -> UserError:
        return UserError(f"'{path}' holds other answers: {why}; force=true replaces them, output=<file> leaves them")


def _difference(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> str:
    """The first of ``ours`` that is another in ``theirs``, in words; empty: there is none."""
    return next((f"{k} is {theirs.get(k)} there, not {v}" for k, v in ours.items() if theirs.get(k) != v), "")

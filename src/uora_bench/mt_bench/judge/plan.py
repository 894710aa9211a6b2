"""What there is to judge: one job per question and turn, each under a key that says what its judgement depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from uora_bench.errors import UserError
from uora_bench.mt_bench.judge.answers import Answer
from uora_bench.mt_bench.judge.config import JudgeConfig
from uora_bench.mt_bench.judge.prompts import PROMPT_VERSION, message
from uora_bench.mt_bench.judge.store import Judgement
from uora_bench.util.jsonl import json_lines, lines_file

# FastChat's NEED_REF_CATS: judged against GPT-4's own (checked) answers, which come as a file of their own
WITH_REFERENCE = ("math", "reasoning", "coding")
CHARACTERS_PER_TOKEN = 4
# tokens of one explanation and rating: a guess for the estimate, the server's own count comes afterwards
TYPICAL_ANSWER = 250

_DATASET = "mt_bench/reference_answer_gpt4"
References = Mapping[int, tuple[str, ...]]


@dataclass(frozen=True)
class JudgeCall:
    """One turn of one question to be judged: ``turns`` and ``answers`` up to it."""

    question_id: int
    category: str
    turns: tuple[str, ...]
    answers: tuple[str, ...]
    references: tuple[str, ...]
    key: str

    @property
    def turn(self) -> int:
        """1 or 2."""
        return len(self.turns)

    def prompt(self) -> str:
        """What the judge is asked."""
        return message(self.turns, self.answers, self.references)


def plan(answers: list[Answer], references: References, config: JudgeConfig) -> list[JudgeCall]:
    """All jobs, in the order of the answers; a question of one turn has no second.

    The key covers the questions and answers up to the turn, the references shown, the judge's model and temperature and
    the prompt's version; neither the server's address nor the question's number.

    Raises:
        UserError: when a second turn is wanted and not answered.
    """
    jobs = []
    for answer in answers:
        wanted = 1 if config.turns == "1" else len(answer.turns)
        if len(answer.answers) < wanted:
            raise UserError(f"question {answer.question_id} has no answer to its second turn; set judge.turns=1")
        for n in range(1, wanted + 1):
            guide = references.get(answer.question_id, ())[:n] if answer.category in WITH_REFERENCE else ()
            parts = [answer.turns[:n], answer.answers[:n], guide, n, config.model, config.temperature, PROMPT_VERSION]
            key = hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]
            jobs.append(
                JudgeCall(answer.question_id, answer.category, answer.turns[:n], answer.answers[:n], guide, key)
            )
    return jobs


def references_for(answers: list[Answer], config: JudgeConfig, root: Path | None) -> References:
    """Reference answers of the math, reasoning and coding questions from the data folder ``root``.

    They are GPT-4's, as published. The questions' own ``reference`` field is no substitute: it lacks question 123 and
    second turns, and is often a hint rather than an answer.

    Raises:
        UserError: when a question among ``answers`` needs one and there is none.
    """
    needed = {a.question_id for a in answers if a.category in WITH_REFERENCE}
    if config.references == "none" or not needed:
        return {}
    way_out = "or judge without them, unlike the published scores: judge.references=none"
    if root is None:
        raise UserError(
            f"math, reasoning and coding questions are judged with reference answers: set data.root=<folder> (or "
            f"UORA_DATA_DIR) to one with {_DATASET}/test.jsonl.gz, {way_out}"
        )
    path = lines_file(root / _DATASET, "test")
    if path is None:
        place = root / _DATASET / "test.jsonl.gz"
        raise UserError(f"no reference answers: '{place}' is not there; get it (FastChat has it), {way_out}")
    found = {}
    for number, row in json_lines(path):
        try:
            turns = tuple(row["choices"][0]["turns"])
            if not turns or not all(isinstance(t, str) and t for t in turns):
                raise ValueError
            found[row["question_id"]] = turns
        except (KeyError, IndexError, TypeError, ValueError):
            raise UserError(
                f"{path} line {number} is no reference answer (question_id, choices[0].turns as FastChat has them)"
            ) from None
    turns_of = {a.question_id: 1 if config.turns == "1" else len(a.turns) for a in answers}
    missing = sorted(q for q in needed if len(found.get(q, ())) < turns_of[q])
    if missing:
        raise UserError(f"{path} has no reference answer to question {missing[0]} ({len(missing)} in all); {way_out}")
    return found


def to_do(
    jobs: list[JudgeCall], stored: Mapping[str, Judgement], config: JudgeConfig, limit: int | None = None
) -> list[JudgeCall]:
    """The jobs that are still to be asked and paid for, one per key, at most ``limit``."""
    left = {
        job.key: job
        for job in jobs
        if job.key not in stored or (config.retry_malformed and stored[job.key].score is None)
    }
    return list(left.values())[:limit]


def estimate(jobs: list[JudgeCall], config: JudgeConfig) -> str:
    """The tokens, and with prices the money, that asking ``jobs`` will take: an estimate, in one or two lines."""
    tokens_in = sum(len(job.prompt()) for job in jobs) // CHARACTERS_PER_TOKEN
    typical = len(jobs) * min(TYPICAL_ANSWER, config.max_tokens)
    most = len(jobs) * config.max_tokens
    lines = [
        f"estimate ({CHARACTERS_PER_TOKEN} characters a token, {TYPICAL_ANSWER} tokens an answer): {tokens_in:,} "
        f"tokens in, {typical:,} out (at most {most:,}); asking again after a malformed answer comes on top"
    ]
    if config.price_in is not None and config.price_out is not None:
        prices = [cost(tokens_in, out, config) for out in (typical, most)]
        lines.append(
            f"estimated price: {prices[0]:.2f} (at most about {prices[1]:.2f}), in the currency of judge.price_in"
        )
    return "\n".join(lines)


def total(counts: list[int | None]) -> int | None:
    """The sum of the counts that are known; None where none is."""
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def cost(tokens_in: int, tokens_out: int, config: JudgeConfig) -> float:
    """The price of so many tokens, in the currency of ``price_in`` and ``price_out`` (per million); 0 without them."""
    return (tokens_in * (config.price_in or 0.0) + tokens_out * (config.price_out or 0.0)) / 1e6

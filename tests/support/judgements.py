"""Made-up answers and judgements of MT-Bench."""

from __future__ import annotations

import dataclasses
from typing import Any

from uora_bench.mt_bench.judge import prompts
from uora_bench.mt_bench.judge.answers import Answer
from uora_bench.mt_bench.judge.config import JudgeConfig
from uora_bench.mt_bench.judge.store import Judgement

HINT = JudgeConfig("judge")


def answer(n: int = 1, category: str = "writing", **changes: Any) -> Answer:
    return dataclasses.replace(Answer(n, category, ("q1", "q2"), ("a1", "a2"), 0.7, {"seed": 1}), **changes)


def judgement(key: str = "k", **changes: Any) -> Judgement:
    made = Judgement(
        key, 1, "writing", 1, 7.0, "[[x]]", "Rating: [[7]]", (), 1, 0.0, "stop", "judge", "judge-1", "host",
        prompts.PROMPT_VERSION, False, 10, 5, "2026-01-01T00:00:00+00:00",
    )  # fmt: skip
    return dataclasses.replace(made, **changes)

"""From judgements to scores: means by turn and category, what is missing or malformed, and the table a person reads."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from uora_bench.mt_bench.judge.config import JudgeConfig
from uora_bench.mt_bench.judge.plan import JudgeCall, total
from uora_bench.mt_bench.judge.prompts import PROMPT_VERSION
from uora_bench.mt_bench.judge.store import Judgement
from uora_bench.util import atomic
from uora_bench.util.secrets import scrub

CAVEATS = (
    "A judge's scores drift with its version, even under one name: compare only scores that one judge version "
    "gave with one prompt version.",
    "Published scores differ in the turns they count (VeRA, VB-LoRA: the first only) and in their prompts' wording.",
)


def scores(
    jobs: list[JudgeCall], stored: Mapping[str, Judgement], config: JudgeConfig, answers: Path
) -> dict[str, Any]:
    """The content of the file of scores; no time is in it but the judgements', so a rerun gives the same bytes.

    As published, ``score`` (1 to 10) is the mean over all judgements with a rating, of both turns; malformed ones are
    counted and named beside it. ``complete`` says whether every question wanted has been judged, malformed or not.
    """
    pairs = [(job, stored[job.key]) for job in jobs if job.key in stored]
    judged = [judgement for _, judgement in pairs]
    malformed = [(job.question_id, job.turn) for job, judgement in pairs if judgement.score is None]
    categories = sorted({job.category for job in jobs})
    return {
        "benchmark": "mt_bench",
        "turns": config.turns,
        **_means(pairs),
        "expected": len(jobs),
        "complete": len(pairs) == len(jobs),
        "malformed_judgements": [list(place) for place in malformed],
        "single_bracket_ratings": sum(j.form == "[x]" for j in judged),
        "asked_again": sum(j.attempts > 1 for j in judged),
        "categories": {name: _means([p for p in pairs if p[0].category == name]) for name in categories},
        "judge": {
            "model": config.model,
            "served_models": sorted({j.served_model for j in judged}),
            "hosts": sorted({j.host for j in judged}),
            "prompt_version": PROMPT_VERSION,
            "references": config.references,
            "temperature": config.temperature,
            "prompt_tokens": total([j.prompt_tokens for j in judged]),
            "completion_tokens": total([j.completion_tokens for j in judged]),
        },
        "date": max((j.date for j in judged), default=None),
        "answers": {
            "file": answers.name,
            "sha256": hashlib.sha256(answers.read_bytes()).hexdigest(),
            "questions": len({job.question_id for job in jobs}),
        },
        "caveats": list(CAVEATS),
    }


def write_scores(path: Path, content: dict[str, Any]) -> None:
    """Write the file of scores, whole or not at all."""
    atomic.write_text(path, json.dumps(scrub(content), indent=2, allow_nan=False) + "\n")


def table(content: dict[str, Any]) -> str:
    """The scores for a person, with what is missing from them and what they must not be used for."""
    rows = [("category", "turn 1", "turn 2", "all", "rated", "malformed")]
    for name, part in [*content["categories"].items(), ("all", content)]:
        means = [f"{part[k]:.2f}" if part[k] is not None else "–" for k in ("turn_1", "turn_2", "score")]
        rows.append((name, *means, str(part["rated"]), str(part["malformed"])))  # type: ignore[arg-type]
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(c.rjust(w) if i else c.ljust(w) for i, (c, w) in enumerate(zip(r, widths, strict=True))) for r in rows
    ]
    judge = content["judge"]
    served = ", ".join(judge["served_models"])
    lines.append(f"judge: {judge['model']} (served as {served or '–'}), prompts {judge['prompt_version']}")
    missing, malformed = content["expected"] - content["rated"] - content["malformed"], content["malformed"]
    remarks = {
        f"INCOMPLETE: {missing} of {content['expected']} judgements are missing; the means are over the rest": missing,
        f"{malformed} judgements had no rating and are in no mean (malformed_judgements names them)": malformed,
        "first turn only": content["turns"] == "1",
        "judged without reference answers, unlike the published scores": judge["references"] == "none",
    }
    lines += [remark for remark, holds in remarks.items() if holds]
    return "\n".join([*lines, *(f"note: {caveat}" for caveat in content["caveats"])])


def _means(pairs: list[tuple[JudgeCall, Judgement]]) -> dict[str, Any]:
    def mean(turns: tuple[int, ...]) -> float | None:
        rated = [j.score for job, j in pairs if j.score is not None and job.turn in turns]
        return fmean(rated) if rated else None

    rated = sum(j.score is not None for _, j in pairs)
    return {
        "score": mean((1, 2)), "turn_1": mean((1,)), "turn_2": mean((2,)), "rated": rated,
        "malformed": len(pairs) - rated,
    }  # fmt: skip

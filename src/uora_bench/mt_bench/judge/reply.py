"""Reading what a server replies: completion, refusal, Retry-After, or nonsense."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

from uora_bench.util.secrets import scrub


@dataclass(frozen=True)
class Completion:
    """What the server said; numbers of tokens are None where it does not count them."""

    text: str
    model: str
    finish_reason: str | None
    prompt_tokens: int | None
    completion_tokens: int | None


def parse(raw: bytes) -> Any:
    """The JSON of a reply, without secrets; None when it is none."""
    try:
        return scrub(json.loads(raw))
    except (ValueError, RecursionError):
        return None


def error(data: Any) -> dict[str, Any]:
    """The error object of a reply; empty when there is none."""
    found = data.get("error") if isinstance(data, dict) else None
    return found if isinstance(found, dict) else {}


def message(data: Any, raw: bytes) -> str:
    """What the server says in a refusal: the error's message, else all of it."""
    said = error(data).get("message")
    if isinstance(said, str):
        return said
    return raw.decode("utf-8", "replace") if data is None else json.dumps(data, ensure_ascii=False)


def completion(data: Any, model: str) -> Completion | None:
    """The completion in a reply; None when it has not the form of one. ``model`` stands in where it names none."""
    try:
        choice = data["choices"][0]
        content = choice["message"].get("content")
    except (TypeError, KeyError, IndexError, AttributeError):
        return None
    usage = data.get("usage") if isinstance(data.get("usage"), dict) else {}
    counts = [usage.get(k) if type(usage.get(k)) is int else None for k in ("prompt_tokens", "completion_tokens")]
    served, reason = data.get("model"), choice.get("finish_reason")
    return Completion(
        content if isinstance(content, str) else "",  # null: a refusal, or all tokens spent on thinking
        # scrubbed once more: what is left out may have stood between the characters of a secret
        scrub("".join(c for c in served if c.isprintable())) if isinstance(served, str) else model,
        reason if isinstance(reason, str) else None,
        *counts,
    )


def seconds_to_wait(value: str | None) -> float:
    """The seconds that a Retry-After header asks for, which gives them or a date; 0 without one."""
    if not value:
        return 0.0
    try:
        return max(0.0, float(value)) if float(value) == float(value) else 0.0
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    except (TypeError, ValueError, OverflowError):
        return 0.0

"""Judgements on disk: one JSON line each, appended and flushed to the disk the moment it is there."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from uora_bench.util import atomic
from uora_bench.util.hold import hold
from uora_bench.util.jsonl import append_line, build_lines, parse_lines


@dataclass(frozen=True)
class Judgement:
    """What the judge said of one turn.

    ``score`` is None when no attempt gave a rating (malformed). ``attempts`` counts the calls, ``temperature`` is that
    of the last of them, whose ``text`` this is; ``rejected`` are the malformed texts before it. ``form`` says whether
    the rating stood in double brackets or only in single ones. ``prompt_tokens`` and ``completion_tokens`` are those
    of all attempts, where the server counts them. ``served_model`` is the model's name as the server gives it.
    """

    key: str
    question_id: int
    category: str
    turn: int
    score: float | None
    form: str | None
    text: str
    rejected: tuple[str, ...]
    attempts: int
    temperature: float | None
    finish_reason: str | None
    judge_model: str
    served_model: str
    host: str
    prompt_version: str
    with_reference: bool
    prompt_tokens: int | None
    completion_tokens: int | None
    date: str


def paths(answers: Path) -> tuple[Path, Path]:
    """(judgements, scores) beside a file of answers, named after it."""
    name = answers.name.removesuffix(".gz").removesuffix(".jsonl").removesuffix("answers")
    stem = name if name == "" or name.endswith("_") else name + "_"
    return answers.with_name(f"{stem}judgements.jsonl"), answers.with_name(f"{stem}scores.json")


class Store:
    """The judgements in a file, by key; the last one of a key counts. ``mended``: its last line was cut (a crash)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        raw = path.read_bytes() if path.exists() else None
        whole = whole_lines(raw or b"")
        self.mended = bool(raw) and raw != whole
        self.judgements = _parse_judgements(whole, path)
        if raw != whole:
            atomic.write_text(path, whole.decode("utf-8"))

    def append(self, judgement: Judgement) -> None:
        """Keep ``judgement``; when this returns it is on the disk.

        Raises:
            OSError: what the file system said; the file is then as it was.
        """
        append_line(self.path, judgement)
        self.judgements[judgement.key] = judgement


@contextmanager
def held_store(path: Path) -> Iterator[Store]:
    """The `Store` of ``path``, held by this process; raises `UserError` when another one holds it."""
    with hold(path, "judging into"):
        yield Store(path)


def read_judgements(path: Path) -> dict[str, Judgement]:
    """The judgements of the file by key; a last line that is cut does not count. Nothing is written.

    Raises:
        UserError: for any other line that is no judgement.
    """
    return _parse_judgements(whole_lines(path.read_bytes()), path) if path.exists() else {}


def whole_lines(raw: bytes) -> bytes:
    """``raw`` up to its last whole line; one that lacks nothing but its line end gets it."""
    head, newline, tail = raw.rpartition(b"\n")
    try:
        return raw + b"\n" if tail and json.loads(tail) is not None else raw
    except ValueError:
        return head + newline


def _parse_judgements(raw: bytes, path: Path) -> dict[str, Judgement]:
    otherwise = "; move the file away, or take that line out"
    return {j.key: j for j in build_lines(Judgement, parse_lines(raw, path), path, otherwise)}

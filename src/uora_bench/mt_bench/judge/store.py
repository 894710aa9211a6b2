"""Judgements on disk: one JSON line each, appended and flushed to the disk the moment it is there."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from uora_bench.errors import UserError
from uora_bench.util import atomic
from uora_bench.util.jsonl import parse_lines
from uora_bench.util.schema import build, plain


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
    """The file of judgements, held by one process from ``with`` on; by key, the last one counts.

    Opening it mends what a crash left: a last line that is cut is taken away, and ``mended`` says so.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.judgements: dict[str, Judgement] = {}
        self.mended = False
        self._file = -1
        self._lock: Any = None

    def __enter__(self) -> Store:
        from filelock import FileLock, Timeout

        self._lock = FileLock(self.path.with_name(f".{self.path.name}.lock"), timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise UserError(f"another process is judging into {self.path}; wait for it") from None
        try:
            self._open()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)
        self._lock.release()

    def append(self, judgement: Judgement) -> None:
        """Keep ``judgement``; when this returns it is on the disk.

        Raises:
            OSError: what the file system said; the file is then as it was.
        """
        line = (json.dumps(plain(judgement), allow_nan=False) + "\n").encode()
        size = os.fstat(self._file).st_size
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[os.write(self._file, rest) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, size)
            raise
        self.judgements[judgement.key] = judgement

    def _open(self) -> None:
        if not self.path.exists():
            atomic.write_text(self.path, "")
        whole = self.path.read_bytes()
        kept = whole_lines(whole)
        self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        try:
            if kept != whole:
                self.mended = True
                os.ftruncate(self._file, min(len(kept), len(whole)))
                os.write(self._file, kept[len(whole) :])
                os.fsync(self._file)
            self.judgements = read(self.path)
        except BaseException:
            os.close(self._file)
            raise


def whole_lines(raw: bytes) -> bytes:
    """``raw`` up to its last whole line; one that lacks nothing but its line end gets it."""
    head, newline, tail = raw.rpartition(b"\n")
    if not tail:
        return raw
    try:
        json.loads(tail)
    except ValueError:
        return head + newline
    return raw + b"\n"


def read(path: Path) -> dict[str, Judgement]:
    """The judgements of the file by key; a last line that is cut does not count. Nothing is written.

    Raises:
        UserError: for any other line that is no judgement.
    """
    if not path.exists():
        return {}
    found = {}
    for number, data in parse_lines(whole_lines(path.read_bytes()), path):
        try:
            judgement = build(Judgement, data)
        except UserError as error:
            raise UserError(f"{path} line {number}: {error}; move the file away, or take that line out") from None
        found[judgement.key] = judgement
    return found

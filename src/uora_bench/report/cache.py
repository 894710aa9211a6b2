"""Numbers that take long, kept between runs by what they were computed from.

``<results.dir>/.cache/<experiment>.json`` holds answers by the hash of the question: all that the numbers depend on
(scores, or the sha256 of predictions, with the settings), the code and the libraries that compute them. A question that
is another one in anything has another hash and is computed; so is everything where the file is damaged, of another
version or not there. It is replaced in one step: of two commands at a time the last one's answers stay. Any file of
the folder may be removed at any time; git does not see it.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import platform
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar, cast

from uora_bench.util import atomic
from uora_bench.util.hashes import files_sha256
from uora_bench.util.schema import convert, plain

T = TypeVar("T")
FOLDER = ".cache"
WORTH = 0.5  # seconds of processor time that answers have to take for a file to be written
MOST = 20_000  # answers in a file; when more would be, only those just asked for stay
_LIBRARIES = ("numpy", "scipy", "pyarrow", "sacrebleu", "rouge-score", "evaluate", "scikit-learn")


class _Answers:
    """Those of one file. ``used``: the ones asked for; ``seconds``: that the new ones took."""

    def __init__(self, path: Path) -> None:
        self.path, self.there = path, _read(path)
        self.used: dict[str, Any] = {}
        self.seconds = 0.0

    def close(self) -> None:
        """Write the file where the new answers are worth it, and where it can be written."""
        if self.seconds < WORTH:
            return
        answers = self.there | self.used if len(self.there | self.used) <= MOST else self.used
        text = json.dumps(answers)
        with contextlib.suppress(OSError):  # a folder that is read-only costs time, and nothing else
            self.path.parent.mkdir(parents=True, exist_ok=True)
            atomic.write_text(self.path.with_name(".gitignore"), "*\n")
            atomic.write_text(self.path, f"{_sha256(text)}\n{text}\n")


_NOW: ContextVar[_Answers | None] = ContextVar("answers", default=None)
_UNUSED: ContextVar[bool] = ContextVar("unused", default=False)


@contextlib.contextmanager
def answers_of(records: Path | None) -> Iterator[None]:
    """Inside, `take` uses the results cached for the folder ``records``; new ones are saved at the end.

    ``records``: <results.dir>/records/<experiment>; None: no cache.
    """
    if records is None or _UNUSED.get():
        yield
        return
    answers = _Answers(records.parent.parent / FOLDER / f"{records.name}.json")
    token = _NOW.set(answers)
    try:
        yield
    finally:
        _NOW.reset(token)
    answers.close()


@contextlib.contextmanager
def unused(really: bool = True) -> Iterator[None]:
    """Within, everything is computed and nothing kept (where ``really``)."""
    token = _UNUSED.set(really)
    try:
        yield
    finally:
        _UNUSED.reset(token)


def take(kind: type[T], question: Any, compute: Callable[[], T]) -> T:
    """What ``compute`` gives, of the type ``kind``; the answer kept for ``question``, where there is one.

    ``question``: numbers, texts, lists and mappings, all that the answer depends on, but for code and libraries.
    """
    answers = _NOW.get()
    if answers is None:
        return compute()
    key = _sha256(json.dumps([_code(), str(kind), plain(question)]))
    if key in answers.there:
        answers.used[key] = answers.there[key]
        return cast("T", convert(kind, answers.there[key], "a kept answer"))
    started = time.process_time()
    found = compute()
    answers.seconds += time.process_time() - started
    answers.used[key] = plain(found)
    return found


@functools.cache
def _code() -> str:
    """A hash of all code that computes answers, and of the libraries' versions."""
    root = Path(__file__).parents[1]
    files = [*(root / "report").glob("*.py"), *(root / "metrics").glob("*.py"), root / "records" / "predictions.py"]
    versions = [platform.python_version()]
    for name in _LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    return f"{files_sha256(root, files)} {versions}"


def _read(path: Path) -> dict[str, Any]:
    """The answers in a file; none where there is none, or where it is not as it was written."""
    try:
        told, _, text = path.read_text(encoding="utf-8").partition("\n")
        if told != _sha256(text.removesuffix("\n")):
            return {}
        answers = json.loads(text)
    except (OSError, ValueError):
        return {}
    return answers if isinstance(answers, dict) else {}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()

"""Files of JSON lines, read strictly: a mistake is named by its line."""

from __future__ import annotations

import gzip
import json
import os
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from uora_bench.errors import UserError
from uora_bench.util import atomic
from uora_bench.util.schema import build, plain
from uora_bench.util.secrets import scrub

T = TypeVar("T")


def json_lines(path: Path) -> list[tuple[int, Any]]:
    """`parse_lines` of a file; ``.gz`` is unpacked.

    Raises:
        UserError: when it cannot be read, or a line is not JSON.
    """
    try:
        raw = path.read_bytes()
        return parse_lines(gzip.decompress(raw) if path.suffix == ".gz" else raw, path)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def parse_lines(raw: bytes, path: Path) -> list[tuple[int, Any]]:
    """(line number, value) of every line of JSON lines that is not blank; ``path`` names them in messages."""
    values = []
    for number, line in enumerate(raw.split(b"\n"), 1):  # not splitlines: a text may hold other line ends
        if line.strip():
            try:
                values.append((number, json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path} line {number} is not JSON: {error}") from None
    return values


def build_lines(cls: type[T], lines: Iterable[tuple[int, Any]], path: Path, otherwise: str = "") -> Iterator[T]:
    """A ``cls`` from each of ``lines`` (of `parse_lines`); ``otherwise`` ends the message of a line that is none.

    Raises:
        UserError: for the first line that is no ``cls``, by its number.
    """
    for number, data in lines:
        try:
            yield build(cls, data)
        except UserError as error:
            raise UserError(f"{path} line {number}: {error}{otherwise}") from None


def read_unique(cls: type[T], path: Path, key: str, noun: str) -> list[T]:
    """The ``noun`` (a ``cls`` each) of a file of JSON lines, in its order, no two with the same ``key``.

    Raises:
        UserError: for a file that cannot be read or holds none, and for the first line that is none or repeats a key.
    """
    lines = json_lines(path)
    found: dict[Any, T] = {}
    for (number, _), made in zip(lines, build_lines(cls, lines, path), strict=True):
        value = getattr(made, key)
        if value in found:
            raise UserError(f"{path} line {number}: {key} {value} occurs twice")
        found[value] = made
    if not found:
        raise UserError(f"{path} holds no {noun}")
    return list(found.values())


def write_lines(path: Path, values: Iterable[Any]) -> None:
    """Write dataclasses as JSON lines, without secrets, whole or not at all; the same values give the same bytes."""
    atomic.write_text(path, "".join(map(_line, values)))


def append_line(path: Path, value: Any) -> None:
    """Write a dataclass behind the lines of ``path``, without secrets; when this returns it is on the disk.

    Raises:
        OSError: what the file system said; the file is then as it was.
    """
    size = path.stat().st_size
    try:
        with open(path, "a", encoding="utf-8") as handle:
            handle.write(_line(value))
            handle.flush()
            os.fsync(handle.fileno())
    except OSError:
        os.truncate(path, size)
        raise


def _line(value: Any) -> str:
    return json.dumps(scrub(plain(value)), allow_nan=False) + "\n"


def lines_file(folder: Path, name: str) -> Path | None:
    """``<folder>/<name>.jsonl.gz``, else ``.jsonl``; None where neither is there."""
    paths = [folder / f"{name}{suffix}" for suffix in (".jsonl.gz", ".jsonl")]
    return next((path for path in paths if path.is_file()), None)

"""Whether every picture of a split can be decoded: found out once, before training, and kept by the hash of all."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from uora_bench.data import images
from uora_bench.errors import UserError
from uora_bench.util import atomic
from uora_bench.util.notes import note
from uora_bench.util.words import count

if TYPE_CHECKING:
    from datasets import Dataset

FOLDER = ".pictures"  # in the folder of the runs
_MANY = 10_000  # so many are worth a word
_AT_A_TIME = 500  # pictures whose compressed bytes are held at once


def brightest(rows: Dataset, column: str, value_range: images.ValueRange | None, folder: Path) -> int:
    """Decode every picture of ``rows``, unless a file in ``folder`` says that they were decoded before.

    Returns the largest value, of 255, in any of them. Of several processes (of one cell, or of a grid) one does it
    while the others wait.

    Raises:
        UserError: for the first picture that cannot be decoded.
    """
    import PIL

    known = [PIL.__version__, value_range, images.hashes(rows, column)]
    path = folder / f"{hashlib.sha256(json.dumps(known).encode()).hexdigest()[:32]}.json"
    before = _known(path)
    if before is not None:
        return before
    with _one_process(path):
        before = _known(path)  # another process has done it meanwhile
        return _decode_all(rows, column, value_range, path) if before is None else before


def _known(path: Path) -> int | None:
    try:
        return int(json.loads(path.read_text(encoding="utf-8"))["brightest"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None  # not decoded yet, or the file is cut


@contextmanager
def _one_process(path: Path) -> Iterator[None]:
    """Wait for other processes that make ``path``; where its folder takes no lock, each makes it for itself."""
    from filelock import FileLock

    lock = FileLock(path.with_suffix(".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except (OSError, NotImplementedError):  # a folder that cannot be written to; a file system without locks
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _decode_all(rows: Dataset, column: str, value_range: images.ValueRange | None, path: Path) -> int:
    if len(rows) >= _MANY:
        note(f"{count(len(rows), 'picture')}: each is decoded once, to know now whether one is broken")
    found = 0
    for start in range(0, len(rows), _AT_A_TIME):
        part = rows.select(range(start, min(start + _AT_A_TIME, len(rows))))
        jobs = [images.pool().submit(_brightest, source, value_range) for source, _ in images.sources(part, column)]
        for row, (job, (_, name)) in enumerate(zip(jobs, images.sources(part, column), strict=True), start):
            try:
                found = max(found, job.result())
            except MemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - PIL's plugins raise whatever a broken file leads them into
                raise UserError(images.fault_of(row, len(rows), name, error)) from None
    try:
        atomic.write_text(path, json.dumps({"brightest": found}) + "\n")
    except OSError as error:
        note(f"what is known of pictures is not kept in '{path.parent}': {error.strerror}")
    return found


def _brightest(source: images.Source | None, value_range: images.ValueRange | None) -> int:
    if source is None:
        raise ValueError("it is null")
    return max(high for _, high in images.decode(source, value_range).getextrema())

"""A file held against other processes while it is written to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from uora_bench.errors import UserError


@contextmanager
def hold(path: Path, doing: str, otherwise: str = "") -> Iterator[None]:
    """Hold ``path`` by a lock beside it, which the system frees when this process dies; its folder is made.

    ``doing`` says what another process then does with it, ``otherwise`` what to do where its folder cannot be written
    to.

    Raises:
        UserError: when another process holds it, or its folder cannot be written to.
    """
    from filelock import FileLock, Timeout

    lock = FileLock(path.with_name(f".{path.name}.lock"), timeout=0)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise UserError(f"another process is {doing} '{path}'; wait for it") from None
    except OSError as error:
        raise UserError(f"cannot write to '{path.parent}': {error.strerror}{otherwise}") from None
    try:
        yield
    finally:
        lock.release()

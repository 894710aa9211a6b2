"""The hash of a folder's weight files: what a cell's id says of weights that somebody put in ``backbone.path``."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

_BLOCK = 1 << 20  # bytes hashed at a time


def sha256_of(folder: Path) -> str | None:
    """sha256 over the bytes of ``*.safetensors`` in ``folder``, in the order of their names; None when there are none.

    Raises:
        OSError: for a file that cannot be read.
    """
    files = sorted(folder.glob("*.safetensors"))
    return _hash(tuple((str(f), f.stat().st_size, f.stat().st_mtime_ns) for f in files)) if files else None


@functools.cache  # asked for twice in a run: for the cell's id and for the record
def _hash(files: tuple[tuple[str, int, int], ...]) -> str:
    """The hash; size and time of change only serve as the cache's key."""
    digest = hashlib.sha256()
    for file, _, _ in files:
        with open(file, "rb") as handle:
            while block := handle.read(_BLOCK):
                digest.update(block)
    return digest.hexdigest()

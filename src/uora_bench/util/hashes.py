"""sha256 of files, as records, ids and manifests have it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def file_sha256(path: str | Path) -> str:
    """Of a file's bytes, in hexadecimal digits; raises OSError."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def files_sha256(root: Path, paths: Iterable[Path]) -> str:
    """Of the names below ``root`` and the bytes of all ``paths``, in whatever order they are given; raises OSError."""
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(f"{path.relative_to(root).as_posix()}\0{file_sha256(path)}\n".encode())
    return total.hexdigest()

"""A repository of the Hub as it was listed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from uora_bench.errors import UserError
from uora_bench.util.hashes import file_sha256

Kind = Literal["model", "dataset"]


class RepositoryError(UserError):
    """One repository cannot be had; others may."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a repository: ``sha256`` of a large one, else git's hash (``blob``)."""

    path: str
    size: int
    sha256: str | None
    blob: str

    def is_at(self, path: Path) -> bool:
        """Whether there is a file at ``path`` with these bytes."""
        if not path.is_file() or path.stat().st_size != self.size:
            return False
        if self.sha256 is not None:
            return file_sha256(path) == self.sha256
        content = b"blob %d\0" % self.size + path.read_bytes()
        return hashlib.sha1(content, usedforsecurity=False).hexdigest() == self.blob


@dataclass(frozen=True)
class Repository:
    """A model or data set ``id`` at ``commit``, with all that it holds, by path: none of them leads out of a folder."""

    id: str
    kind: Kind
    commit: str
    files: dict[str, RemoteFile]

"""Writing a file so that it is there whole or not at all, even if the process is killed or the disk fills up."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def write_file(path: Path, writer: Callable[[Path], None]) -> None:
    """Let ``writer`` fill a temporary file beside ``path``, flush it to the disk, and put it in place in one step.

    Raises:
        OSError: what the file system said; ``path`` is then untouched and the temporary file is gone.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.tmp")
    try:
        writer(temporary)
        with open(temporary, "rb") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """`write_file` for a string (UTF-8)."""

    def writer(temporary: Path) -> None:
        temporary.write_text(text, encoding="utf-8")

    write_file(path, writer)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError:  # some network file systems refuse to sync a folder; the rename itself is still atomic
        pass
    finally:
        os.close(handle)

"""Writing a file so that it is there whole or not at all, even if the process is killed or the disk fills up."""

from __future__ import annotations

import contextlib
import errno
import glob
import os
import secrets
import time
from collections.abc import Callable
from pathlib import Path

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room: of the disk, a quota, or the size that one file may have
_WRITING = 3600.0  # seconds that writing one file may take
_ROOM = 1 << 16  # bytes that a disk which is not full takes


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
        _remove_leftovers(path)
    except BaseException as error:
        try:
            if isinstance(error, Exception) and not isinstance(error, OSError):
                _check_room(temporary, error)
        finally:
            temporary.unlink(missing_ok=True)
        raise


def _remove_leftovers(path: Path) -> None:
    """Remove temporary files of ``path`` that killed processes left, once they are older than any writing takes."""
    for rest in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError):
            if time.time() - rest.stat().st_mtime > _WRITING:
                rest.unlink()


def _check_room(temporary: Path, error: Exception) -> None:
    """Raise the system's own error, where libraries call a full disk something else: by writing a little more."""
    try:
        with open(temporary, "ab") as handle:
            handle.write(bytes(_ROOM))
            handle.flush()
            os.fsync(handle.fileno())
    except OSError as full:
        if full.errno in FULL:
            raise OSError(full.errno, full.strerror, str(temporary.parent)) from error


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

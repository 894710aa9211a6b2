"""An export's folder is written whole or not at all, next to its target, and then renamed to it."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from uora_bench.errors import UserError

TAG = "uora_bench"  # in every card's front matter: how a folder is known to be ours
_PARTIAL, _OLD = "partial", "old"
_WRITTEN = (".json", ".safetensors", ".md", ".txt", ".model", ".jinja")  # files of adapters, models and tokenizers


def check_target(target: Path, force: bool) -> None:
    """Raise `UserError` when ``target`` holds anything; with ``force``, when that is anything but an export."""
    if target.is_file() or (target.is_dir() and any(target.iterdir())):
        if not force:
            raise UserError(
                f"'{target}' already exists; force=true replaces it, or output=<folder> names another folder"
            )
        if not _is_export(target):
            raise UserError(f"'{target}' is not an export of uora_bench, and force=true replaces only those")
        for held in sorted(target.iterdir()):
            if held.is_dir() or held.suffix not in _WRITTEN:
                raise UserError(
                    f"'{target}' holds '{held.name}', which no export writes and force=true would remove; move it "
                    "away, or set output= to another folder"
                )


@contextmanager
def filled_target(target: Path, force: bool) -> Iterator[Path]:
    """An empty folder next to ``target`` to fill; it becomes ``target`` in one step, or vanishes if anything is raised.

    Raises:
        UserError: when ``target`` must not be replaced or cannot be written.
    """
    check_target(target, force)
    target = target.absolute()
    stem = f".{target.name}.{socket.gethostname()}.{os.getpid()}"
    partial, old = target.with_name(f"{stem}.{_PARTIAL}"), target.with_name(f"{stem}.{_OLD}")
    made = [parent for parent in target.parents if not parent.exists()]
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _clean(target)
        partial.mkdir()
    except OSError as error:
        raise UserError(f"cannot write to '{target.parent}': {error.strerror or error}; set output=<folder>") from None
    try:
        yield partial
        _flush(partial)
        if target.is_dir() and any(target.iterdir()):
            check_target(target, force)
            os.rename(target, old)
        try:
            os.rename(partial, target)
        except OSError:
            if old.is_dir():
                os.rename(old, target)
            raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if target.is_dir():
            shutil.rmtree(old, ignore_errors=True)
        else:
            for parent in made:  # the deepest first
                with suppress(OSError):
                    parent.rmdir()


def _is_export(folder: Path) -> bool:
    try:
        head = (folder / "README.md").read_text(encoding="utf-8").split("\n---\n")[0]
    except (OSError, ValueError):
        return False
    return f"\n- {TAG}\n" in head


def _clean(target: Path) -> None:
    """Remove what killed exports to ``target`` left, and put back what the last one was about to replace."""
    stem = f".{target.name}.{socket.gethostname()}."
    for rest in list(target.parent.iterdir()):
        number, _, kind = rest.name.removeprefix(stem).partition(".")
        if not rest.name.startswith(stem) or kind not in (_PARTIAL, _OLD) or not number.isdigit():
            continue
        if int(number) != os.getpid() and _alive(int(number)):
            continue
        if kind == _OLD and not target.exists():
            os.rename(rest, target)
        else:
            shutil.rmtree(rest, ignore_errors=True)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _flush(folder: Path) -> None:
    """Bring every file of ``folder`` to the disk, so that the move cannot outrun its content."""
    for path in folder.rglob("*"):
        if path.is_file():
            with open(path, "rb") as handle:
                os.fsync(handle.fileno())

"""Fetch what a grid or a cell needs into one folder, for machines without a network."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from uora_bench.data import offline
from uora_bench.data.prefetch import needs
from uora_bench.data.prefetch.check import problems
from uora_bench.errors import UserError
from uora_bench.util.secrets import scrub

LOCK = ".prefetch.lock"
PARTIAL = "partial"  # what is not whole yet, below the root


def prefetch(request: needs.PrefetchRequest) -> int:
    """Fill ``request.root``; what is there already is kept. Returns 0, or 2 where a repository could not be had: the
    others are fetched all the same.

    Raises:
        UserError: when the Hub cannot be reached or the folder cannot be written to.
    """
    from uora_bench.data.prefetch.client import Client, RepositoryError
    from uora_bench.data.prefetch.models import fetch_model
    from uora_bench.data.prefetch.rows import fetch_rows

    root = request.root
    done: set[str] = set()
    failed: set[str] = set()
    with _writing(root), _alone(root):
        manifest = offline.Manifest.read(root)
        client: Client | None = None
        for need in request.needs:
            try:
                if problems(need, manifest):
                    client = client or Client()
                    if isinstance(need, needs.Model):
                        fetch_model(need, manifest, client, root / PARTIAL)
                    else:
                        fetch_rows(need, manifest, client, root / PARTIAL)
                note = _take_up(need, manifest, request.label)
                manifest.write()
                print(note, flush=True)
                done.add(need.partial)
            except RepositoryError as error:
                print(f"error: {' '.join(scrub(str(error)).split())}", file=sys.stderr, flush=True)
                failed.add(need.partial)
        _tidy(root / PARTIAL, done - failed)
    return 2 if failed else 0


def _take_up(need: needs.Model | needs.Rows, manifest: offline.Manifest, label: str) -> str:
    """Enter into the manifest which files answer ``need``, and that ``label`` needs them; returns a line to print."""
    from uora_bench.data.prefetch.models import held_model
    from uora_bench.data.prefetch.rows import held_rows

    names = held_model(need, manifest) if isinstance(need, needs.Model) else held_rows(need, manifest)
    for name in names:
        manifest.add(name, replace(manifest.files[name], needed_by=(label,)))
    size = sum(manifest.files[name].size for name in names)
    return f"{need}: {len(names)} file{'s' if len(names) > 1 else ''}, {size / 1e6:.1f} MB"


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Hold the folder against other prefetches, of other nodes too where the file system's locks reach that far."""
    from filelock import FileLock, Timeout

    root.mkdir(parents=True, exist_ok=True)
    lock = FileLock(root / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        print(f"another prefetch fills '{root}'; waiting for it", file=sys.stderr, flush=True)
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _writing(root: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(
            f"cannot write to data.root='{root}': {error.strerror or error}; name a folder you may write to, with room"
        ) from None


def _tidy(folder: Path, names: set[str]) -> None:
    """Remove what whole files were made of; what other calls left to be gone on with stays."""
    for name in names:
        shutil.rmtree(folder / name, ignore_errors=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()

"""Fetch what a grid or a cell needs into one folder, for machines without a network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from uora_bench.data import offline
from uora_bench.data.prefetch.converted import ConvertedModel
from uora_bench.data.prefetch.models import Model
from uora_bench.data.prefetch.needs import PrefetchRequest
from uora_bench.data.prefetch.remote import RepositoryError
from uora_bench.data.prefetch.rows import Rows
from uora_bench.errors import UserError
from uora_bench.util.log import LOG
from uora_bench.util.secrets import scrub

LOCK = ".prefetch.lock"
PARTIAL = "partial"  # what is not whole yet, below the root


def prefetch(request: PrefetchRequest) -> int:
    """Fill ``request.root``; what is there already is kept.

    Returns 0, or 2 where a repository could not be had: the others are fetched all the same.

    Raises:
        UserError: when the Hub cannot be reached or the folder cannot be written to.
    """
    root = request.root
    done: set[str] = set()
    failed: set[str] = set()
    with _writing(root), _alone(root):
        manifest = offline.Manifest.read(root)
        client = None
        for need in request.needs:
            try:
                if need.problems(manifest):
                    from uora_bench.data.prefetch.client import Client

                    client = client or Client()
                    need.fetch(manifest, client, root / PARTIAL)
                note = _take_up(need, manifest, request.label)
                manifest.write()
                print(note, flush=True)
                done.add(need.partial)
            except RepositoryError as error:
                LOG.error(f"error: {' '.join(scrub(str(error)).split())}")
                failed.add(need.partial)
        _tidy(root / PARTIAL, done - failed)
    return 2 if failed else 0


def _take_up(need: Model | ConvertedModel | Rows, manifest: offline.Manifest, label: str) -> str:
    """Enter into the manifest which files answer ``need``, and that ``label`` needs them; returns a line to print."""
    names = need.held(manifest)
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
        LOG.info(f"another prefetch is writing to '{root}'; waiting for it")
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

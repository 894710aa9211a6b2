"""Splits of data sets into ``<root>/<benchmark>/<dataset>/<split>.jsonl.gz`` (parquet where there are pictures).

The files of a data set are fetched as they are on the Hub, compared with its checksums, and read from there by the
datasets library with what the repository says of their columns, so that the rows are those an online cell gets.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.data import hub, images, offline
from uora_bench.data.prefetch.check import rows_file
from uora_bench.data.prefetch.client import Client, Repository, RepositoryError
from uora_bench.data.prefetch.needs import Rows
from uora_bench.errors import UserError, nearest
from uora_bench.util import atomic
from uora_bench.util.inside import inside

if TYPE_CHECKING:
    from datasets import Dataset

# what says how a repository's files are to be read
_CARDS = ("README.md", ".huggingface.yaml", "dataset_infos.json")


def fetch_rows(need: Rows, manifest: offline.Manifest, client: Client, partial: Path) -> None:
    """Put the split of ``need`` into the folder of ``manifest`` and its file into ``manifest``.

    Raises:
        UserError: when it cannot be had. OSError: when it cannot be written.
    """
    source = need.source
    if source.hub is None:
        raise RepositoryError(f"{need} is not on the Hub; put it into data.root yourself (see docs/offline.md)")
    path = inside(manifest.root, f"{source.benchmark}/{source.dataset}/{need.split}.jsonl.gz")
    repository = client.repository(source.hub.id, "dataset", source.hub.revision or "main")
    # called as the repository, and outside of hidden folders: the library looks at both
    folder = partial / need.partial / repository.commit / repository.id.rsplit("/", 1)[-1]
    path = write_rows(_load(need, repository, client, folder), path)
    entry = offline.Entry(
        path.stat().st_size, offline.sha256(path), "dataset", repository.id, (source.hub.revision or "main",),
        repository.commit,
    )  # fmt: skip
    shutil.rmtree(_arrow(folder), ignore_errors=True)
    name = path.relative_to(manifest.root).as_posix()
    manifest.files.pop(name, None)
    manifest.add(name, entry)


def held_rows(need: Rows, manifest: offline.Manifest) -> list[str]:
    """The file of ``need``, entered into ``manifest`` as the user's own where it is not in it."""
    name = rows_file(need, manifest.root)
    if name is None:
        raise UserError(f"{need} is not in '{manifest.root}'")
    if name not in manifest.files:
        path = manifest.root / name
        manifest.add(name, offline.Entry(path.stat().st_size, offline.sha256(path)))
    elif need.source.hub is not None and manifest.files[name].repo is not None:
        manifest.add(name, replace(manifest.files[name], revisions=(need.source.hub.revision or "main",)))
    return [name]


def write_rows(rows: Dataset, path: Path) -> Path:
    """Write ``rows`` as gzip-compressed JSON lines, whole or not at all, the same bytes for the same rows; rows with
    pictures as parquet beside ``path``. Returns the file's path."""
    if any(images.is_picture(kind) for kind in rows.data.schema.types):
        parquet = path.with_name(path.name.removesuffix(".jsonl.gz") + ".parquet")
        atomic.write(parquet, lambda temporary: rows.to_parquet(str(temporary)))
        return parquet

    def writer(temporary: Path) -> None:
        with open(temporary, "wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as handle:
            for row in rows:
                handle.write((json.dumps(row, ensure_ascii=False) + "\n").encode())

    atomic.write(path, writer)
    return path


def _load(need: Rows, repository: Repository, client: Client, folder: Path) -> Dataset:
    """The rows of ``need`` by way of ``folder``, which gets the files they are in."""
    split = need.split

    def get(name: str) -> None:
        path, file = folder / name, repository.files[name]
        if not (path.is_file() and file.matches(path)):
            client.fetch(repository, file, path)

    for name in repository.files:
        if name in _CARDS:
            get(name)
        elif not (folder / name).exists():
            # an empty file of every name: the library finds out which of them hold the split
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
    shutil.rmtree(_arrow(folder), ignore_errors=True)  # of a call that was stopped
    builder = _builder(need, folder)
    files = dict(builder.config.data_files or {})
    if split not in files:
        names = [str(name) for name in files]
        raise RepositoryError(f"{need}: dataset {repository.id} has no split '{split}'{nearest(split, names)}")
    for path in map(Path, files[split]):
        name = Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
        if name not in repository.files:
            raise RepositoryError(f"{need}: dataset {repository.id} takes its rows from '{name}', which it lacks")
        get(name)
    builder.config.data_files = type(builder.config.data_files)({split: files[split]})
    return _rows(need, builder)


def _arrow(folder: Path) -> Path:
    """Where the datasets library keeps what it made of ``folder``."""
    return folder.parent / "arrow"


def _builder(need: Rows, folder: Path) -> Any:
    """What the datasets library makes of the files' names and the repository's card."""
    import datasets

    source = need.source
    datasets.disable_progress_bars()
    try:
        name = (source.hub.config if source.hub else None) or source.dataset
        return datasets.load_dataset_builder(str(folder), name, cache_dir=str(_arrow(folder)))
    except Exception as error:  # noqa: BLE001 - the library raises a dozen types
        raise RepositoryError(f"{need}: the datasets library cannot read its repository: {hub.reason(error)}") from None


def _rows(need: Rows, builder: Any) -> Dataset:
    try:
        # the checksums are compared already; the card also counts splits that are not wanted here
        builder.download_and_prepare(verification_mode="no_checks")
        return builder.as_dataset(split=need.split)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - the library raises a dozen types
        raise RepositoryError(f"{need}: the datasets library cannot read its files: {hub.reason(error)}") from None

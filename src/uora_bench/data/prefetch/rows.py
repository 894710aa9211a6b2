"""Splits of data sets into ``<root>/<benchmark>/<dataset>/<split>.jsonl.gz`` (parquet where there are pictures).

The files of a data set are fetched as they are on the Hub, compared with its checksums, and read from there by the
datasets library with what the repository says of their columns, so that the rows are those an online cell gets.
"""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.config.data_source import DataSource
from uora_bench.data import hub, offline
from uora_bench.data.files import SUFFIXES
from uora_bench.data.prefetch.remote import Repository, RepositoryError
from uora_bench.errors import UserError, nearest
from uora_bench.util import atomic
from uora_bench.util.inside import inside

if TYPE_CHECKING:
    from datasets import Dataset

    from uora_bench.data.prefetch.client import Client

# what says how a repository's files are to be read
_CARDS = ("README.md", ".huggingface.yaml", "dataset_infos.json")


@dataclass(frozen=True)
class Rows:
    """One whole split of a data set."""

    source: DataSource
    split: str

    def __str__(self) -> str:
        return f"split {self.split} of {self.source.benchmark}/{self.source.dataset}"

    @property
    def partial(self) -> str:
        """The folder of what is not whole yet."""
        return offline.folder_name(self.source.hub.id, "dataset") if self.source.hub is not None else "none"

    def problems(self, manifest: offline.Manifest, full: bool = False) -> list[str]:
        """What keeps the manifest's folder from having it, a line each; with ``full`` its sha256 is compared."""
        name = self.file(manifest.root)
        if name is None:
            gone = next((name for name in self._names() if name in manifest.files), self._names([".*"])[0])
            return [f"{gone} is missing"]
        entry = manifest.files.get(name)
        if entry is None:
            return []  # the user's own
        if (problem := manifest.wrong(name, full)) is not None:
            return [f"{name} {problem}"]
        wanted = self.source.hub.revision if self.source.hub is not None else None
        if entry.repo is not None and wanted is not None and wanted not in (*entry.revisions, entry.commit):
            return [f"{name} is of revision {', '.join(entry.revisions)}, and {wanted} is needed"]
        return []

    def fetch(self, manifest: offline.Manifest, client: Client, partial: Path) -> None:
        """Put the split into the folder of ``manifest`` and its file into ``manifest``.

        What it is made of is in ``partial``.

        Raises:
            UserError: when it cannot be had. OSError: when it cannot be written.
        """
        source = self.source
        if source.hub is None:
            raise RepositoryError(f"{self} is not on the Hub; put it into data.root yourself (see docs/offline.md)")
        path = inside(manifest.root, self._names()[0])
        repository = client.repository(source.hub.id, "dataset", source.hub.revision or "main")
        # called as the repository, and outside of hidden folders: the library looks at both
        folder = partial / self.partial / repository.commit / repository.id.rsplit("/", 1)[-1]
        rows = _load(self, repository, client, folder)
        path = write_rows(rows, path)
        revisions = (source.hub.revision or "main",)
        entry = offline.entry_of(path, "dataset", repository.id, revisions, repository.commit)
        if path.suffix != ".parquet":
            names = {name: getattr(kind, "names", None) for name, kind in rows.features.items()}
            entry = replace(entry, classes={name: tuple(known) for name, known in names.items() if known})
        shutil.rmtree(_arrow(folder), ignore_errors=True)
        name = path.relative_to(manifest.root).as_posix()
        manifest.files.pop(name, None)
        manifest.add(name, entry)

    def held(self, manifest: offline.Manifest) -> list[str]:
        """Its file in ``manifest``, entered as the user's own where it was not there."""
        name = self.file(manifest.root)
        if name is None:
            raise UserError(f"{self} is not in '{manifest.root}'")
        if name not in manifest.files:
            manifest.add(name, offline.entry_of(manifest.root / name))
        elif self.source.hub is not None and manifest.files[name].repo is not None:
            manifest.add(name, replace(manifest.files[name], revisions=(self.source.hub.revision or "main",)))
        return [name]

    def file(self, root: Path) -> str | None:
        """The file, by its path from ``root``, that a cell reads; None where there is none."""
        return next((name for name in self._names() if inside(root, name).is_file()), None)

    def _names(self, suffixes: Sequence[str] = SUFFIXES) -> list[str]:
        return [f"{self.source.benchmark}/{self.source.dataset}/{self.split}{suffix}" for suffix in suffixes]


def write_rows(rows: Dataset, path: Path) -> Path:
    """Write ``rows`` as gzip-compressed JSON lines, whole or not at all, the same bytes for the same rows.

    Rows with pictures as parquet beside ``path``. Returns the file's path.
    """
    from uora_bench.data import images

    if any(images.is_picture(kind) for kind in rows.data.schema.types):
        parquet = path.with_name(path.name.removesuffix(".jsonl.gz") + ".parquet")
        atomic.write_file(parquet, lambda temporary: rows.to_parquet(str(temporary)))
        return parquet

    def writer(temporary: Path) -> None:
        with open(temporary, "wb") as raw, gzip.GzipFile(filename="", fileobj=raw, mode="wb", mtime=0) as handle:
            for row in rows:
                handle.write((json.dumps(row, ensure_ascii=False) + "\n").encode())

    atomic.write_file(path, writer)
    return path


def _load(need: Rows, repository: Repository, client: Client, folder: Path) -> Dataset:
    """The rows of ``need`` by way of ``folder``, which gets the files they are in."""
    split = need.split

    def get(name: str) -> None:
        client.fetch(repository, repository.files[name], folder / name)

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

    datasets.disable_progress_bars()
    try:
        return datasets.load_dataset_builder(str(folder), **need.source.named, cache_dir=str(_arrow(folder)))
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

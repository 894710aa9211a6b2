"""Where a dataset's rows come from: a local folder, the Hub, or a generator of this package.

Local rows are ``<root>/<benchmark>/<dataset>/<split>.{jsonl.gz,jsonl,parquet}`` with the Hub's column names, or class
folders (`uora_bench.data.image_folders`). This module knows nothing of tasks.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import pkgutil
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.config.data_source import IMAGE_FOLDER, DataSource
from uora_bench.config.split_parts import SplitPart, split_names, split_parts
from uora_bench.data import hub, image_folders, images, offline, own_rows
from uora_bench.data.files import SUFFIXES, join_rows, read_rows, with_classes
from uora_bench.errors import UserError, nearest
from uora_bench.util.hashes import file_sha256
from uora_bench.util.seeds import derive

if TYPE_CHECKING:
    import numpy as np
    from datasets import Dataset


@dataclass(frozen=True)
class Source:
    """A place to load from; ``root`` is ``data.root`` or None. This process takes its models from there too."""

    root: Path | None = None

    def __post_init__(self) -> None:
        file = self.root is not None and self.root.name.endswith(own_rows.SUFFIXES) and self.root.is_file()
        if self.root is not None and not self.root.is_dir() and not file:
            raise UserError(f"data.root='{self.root}' is not a folder; see the README for its layout")
        offline.use(self.root)

    def load(self, source: DataSource, split: str, shuffle_seed: int | None = None) -> Dataset:
        """The rows of ``split``.

        ``name[a:b]`` takes a part of a split (row numbers or percentages, as ``train[:80%]``), ``a+b`` the rows of two.
        ``shuffle_seed``: a part is taken of the rows in random order, and keeps their old order.

        Raises:
            UserError: when neither the folder nor the Hub has it, naming the ways out; or for an empty part.
        """
        parts = [self._part(source, part, shuffle_seed) for part in split_parts(split)]
        return join_rows(parts, f"the parts of split '{split}'")

    def _part(self, source: DataSource, part: SplitPart, shuffle_seed: int | None) -> Dataset:
        rows = self._whole(source, part.name)
        if part.start is None or part.stop is None:
            return rows
        start, stop = _edge(part.start, 0, len(rows)), _edge(part.stop, len(rows), len(rows))
        if start >= stop:
            raise UserError(f"split '{part}' of {source.benchmark}/{source.dataset} holds no rows ({len(rows)} in all)")
        if shuffle_seed is None:
            return rows.select(range(start, stop))
        import numpy as np

        order = np.random.default_rng(derive(shuffle_seed, "parts")).permutation(len(rows))
        return rows.select(np.sort(order[start:stop]))

    def _whole(self, source: DataSource, split: str) -> Dataset:
        if source.benchmark == "generated":
            from datasets import Dataset

            generator = _generator(source.dataset)
            try:
                made = generator.rows(split)
            except ValueError as error:
                raise UserError(str(error)) from None
            return Dataset.from_list(made)
        if source.benchmark == IMAGE_FOLDER:
            return image_folders.read_image_folder(self.root, split)
        if source.files is not None:
            return own_rows.read_split(source.files, split)
        path = self._file(source, split)
        return self._from_hub(source, split) if path is None else self._with_classes(read_rows(path), path)

    def _with_classes(self, rows: Dataset, path: Path) -> Dataset:
        """``rows`` of the file ``path`` with the class names that the manifest has for their codes.

        Labels are then matched by name, as those of the Hub are.
        """
        manifest = offline.Manifest.read(path.parents[2])
        key = path.relative_to(manifest.root).as_posix()
        entry = manifest.files.get(key)
        if entry is None or manifest.wrong(key) is not None:  # other bytes: of others' rows the manifest knows nothing
            return rows
        return with_classes(rows, entry.classes)

    def _from_hub(self, source: DataSource, split: str) -> Dataset:
        what = f"{source.benchmark}/{source.dataset} split '{split}'"
        held = self._held(source)
        folder = f"'{self.root}' holds {', '.join(held) or 'nothing'} of it" if self.root else "data.root is not set"
        out = (
            "set data.root=<folder> (or UORA_DATA_DIR) to one that has it, run `uora-bench prefetch` on a connected "
            "machine, or use a tiny task (task=tiny/nli) that needs no download"
        )
        if source.hub is None:
            raise UserError(f"no data for {what}: {folder} and it is not on the Hub{nearest(split, held)}; {out}")
        online = hub.reachable(source.hub.id, "dataset", source.hub.revision)
        import datasets

        try:
            return datasets.load_dataset(source.hub.id, **source.named, revision=source.hub.revision, split=split)
        except Exception as error:  # noqa: BLE001 - the libraries below raise a dozen types for "not there"
            why = f"the Hub says: {hub.reason(error)}" if online else "the Hub cannot be reached"
            raise UserError(f"no data for {what}: {folder} and {why}; {out}") from None

    def origin(self, source: DataSource, splits: Iterable[str]) -> str:
        """Where the rows of ``splits`` come from, as recorded; two sources are joined by ``+``.

        ``generated``; ``folder`` (of pictures); ``own`` (files); ``hub``; ``mirror``: local files that prefetching
        wrote from the repository that ``source`` names, checked by the manifest's sha256; ``files``: any other local
        files, whose content is not known to be the named set.
        """
        if source.benchmark in ("generated", IMAGE_FOLDER):
            return "generated" if source.benchmark == "generated" else "folder"
        if source.files is not None:
            return "own"
        found = set()
        manifest = offline.Manifest.read(self.root) if self.root is not None and self.root.is_dir() else None
        for name in split_names(splits):
            path = self._file(source, name)
            if path is None or manifest is None:
                found.add("hub")
                continue
            key = path.relative_to(manifest.root).as_posix()
            entry = manifest.files.get(key)
            ours = entry is not None and entry.kind == "dataset" and source.hub and entry.repo == source.hub.id
            found.add("mirror" if ours and manifest.wrong(key, full=True) is None else "files")
        return "+".join(sorted(found))

    def _file(self, source: DataSource, split: str) -> Path | None:
        """The local file that holds ``split``."""
        if self.root is None:
            return None
        paths = (self.root / source.benchmark / source.dataset / f"{split}{suffix}" for suffix in SUFFIXES)
        return next((path for path in paths if path.is_file()), None)

    def hashes(self, source: DataSource, splits: Iterable[str]) -> dict[str, str]:
        """``{file name: 16 hex digits of its sha256}`` of the local files that hold ``splits``.

        Empty for rows from elsewhere. A look at the files, not at the rows: what a grid can afford to tell whether data
        has changed.
        """
        return {path.name: file_sha256(path)[:16] for path in self._paths(source, splits)}

    def row_hashes(self, source: DataSource, splits: Iterable[str]) -> dict[str, str]:
        """``{file name: 16 hex digits}`` for the rows of those of the user's own files that are small texts.

        Files with the same rows have the same digits, however they are formatted.
        """
        if source.files is None:
            return {}
        found = {path.name: own_rows.rows_sha256(path, source.files) for path in self._paths(source, splits)}
        return {name: digest for name, digest in found.items() if digest is not None}

    def _paths(self, source: DataSource, splits: Iterable[str]) -> list[Path]:
        """The local files that hold ``splits``."""
        if source.benchmark in ("generated", IMAGE_FOLDER) or (self.root is None and source.files is None):
            return []
        names = split_names(splits)
        own = source.files
        found = [self._file(source, n) if own is None else own_rows.file_of(own, n) for n in names]
        return [path for path in dict.fromkeys(found) if path is not None]

    def _held(self, source: DataSource) -> list[str]:
        folder = (self.root or Path("/nonexistent")) / source.benchmark / source.dataset
        names = [p.name for p in folder.glob("*")] if folder.is_dir() else []
        return sorted(n[: -len(s)] for n in names for s in SUFFIXES if n.endswith(s))


def hold_out(rows: Dataset, share: float, seed: int) -> tuple[Dataset, Dataset]:
    """(the rest, the held-out part) of ``rows``: ``share`` of them drawn with ``seed``, both in their old order.

    Raises:
        UserError: when the held-out part would be empty.
    """
    import numpy as np

    count = round(len(rows) * share)
    if not count:
        raise UserError(f"holdout={share:g} of {len(rows)} training rows is none; enlarge trainer.holdout")
    order = np.random.default_rng(derive(seed, "holdout")).permutation(len(rows))
    return rows.select(np.sort(order[count:])), rows.select(np.sort(order[:count]))


def fingerprint(rows: Dataset) -> str:
    """A hash of the rows' content (every column but ``idx``), the same for every file format and place."""
    digest = hashlib.sha256()
    for name, content in _contents(rows):
        values = json.dumps(content, default=_plain, ensure_ascii=True, separators=(",", ":"))
        digest.update(f"{name}={values};".encode())
    return digest.hexdigest()[:16]


def row_ids(rows: Dataset) -> np.ndarray:
    """A number (n,) uint64 for each row that no other row has.

    It is a hash of the content (every column but ``idx``) and of how many earlier rows have the same content. The same
    row has the same number in every file and among any other rows.
    """
    import numpy as np

    names, columns = zip(*_contents(rows), strict=True)
    seen: Counter[str] = Counter()
    ids = []
    for row in zip(*columns, strict=True):
        text = json.dumps([names, row], default=_plain, ensure_ascii=True, separators=(",", ":"))
        digest = hashlib.sha256(f"{seen[text]}:{text}".encode())
        seen[text] += 1
        ids.append(int.from_bytes(digest.digest()[:8], "big"))
    return np.array(ids, dtype=np.uint64)


def _contents(rows: Dataset) -> Iterator[tuple[str, list[Any]]]:
    """(name, values) of every column but ``idx``.

    A picture is the hash of its bytes, wherever they are and whatever the file is called.
    """
    arrow = rows.with_format("arrow")
    for name in sorted(rows.column_names):
        if name != "idx":
            pictures = images.is_picture(arrow.data.schema.field(name).type)
            yield name, images.hashes(rows, name) if pictures else arrow.select_columns([name])[:][name].to_pylist()


def _generator(name: str) -> Any:
    """The module of `uora_bench.data.generated` that makes the rows of dataset ``name``."""
    package = importlib.import_module("uora_bench.data.generated")
    found = {m.name: f"{package.__name__}.{m.name}" for m in pkgutil.iter_modules(package.__path__)}
    module = importlib.import_module(found[name]) if name in found else None
    if not hasattr(module, "rows"):
        makers = [n for n, path in found.items() if hasattr(importlib.import_module(path), "rows")]
        raise UserError(f"no generated dataset '{name}' (task.source.dataset){nearest(name, makers)}")
    return module


def _plain(value: Any) -> str:
    return hashlib.sha256(value).hexdigest() if isinstance(value, bytes) else str(value)


def _edge(text: str, default: int, total: int) -> int:
    if not text:
        return default
    value = round(total * int(text[:-1]) / 100) if text.endswith("%") else int(text)
    return min(value, total)

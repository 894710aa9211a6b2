"""Class folders: ``<root>/<split>/<class>/<picture>``, or parquet files, as rows with a picture and a class.

The pictures stay on disk until a batch needs them. Rows of class folders are in the order of a hash of their relative
paths, so that a slice such as ``train[:80%]`` mixes the classes and is the same on every machine.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from uora_bench.errors import UserError, nearest

if TYPE_CHECKING:
    from datasets import Dataset

WHOLE = "all"  # the split that stands for a root without splits: <root>/<class>/<picture>, or one parquet file
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_OTHER_NAMES = {"validation": ("val", "valid", "dev"), "train": ("training",), "test": ()}


def read(root: Path | None, split: str) -> Dataset:
    """The rows of ``split``: its class folders, ``<split>.parquet``, or the shards ``<split>-*.parquet`` beside it or
    ``*.parquet`` inside its folder; of ``all``: the class folders in ``root`` itself, or the file that ``root`` is.

    Raises:
        UserError: when there is no such split, or it holds no picture.
    """
    if root is None:
        raise UserError("name your folder of pictures: data.root=<folder> with <split>/<class>/<picture> in it")
    if root.is_file():
        return _parquet([root]) if split == WHOLE else _refuse(root, split)
    if split == WHOLE:
        return _classes(root)
    for name in (split, *_OTHER_NAMES.get(split, ())):
        folder = root / name
        shards = sorted([*root.glob(f"{name}.parquet"), *root.glob(f"{name}-*.parquet"), *folder.glob("*.parquet")])
        if shards:
            return _parquet(shards)
        if folder.is_dir():
            return _classes(folder)
    return _refuse(root, split)


def _refuse(root: Path, split: str) -> Dataset:
    whole = f"task.splits.train='{WHOLE}[:80%]' task.splits.dev='{WHOLE}[80%:]'"
    if root.is_file():
        raise UserError(f"data.root='{root}' is one file, without a split '{split}'; cut it: {whole}")
    held = sorted(p.stem if p.suffix == ".parquet" else p.name for p in root.glob("*") if _visible(p))
    raise UserError(
        f"data.root='{root}' has no split '{split}' (a folder of class folders, or {split}.parquet)"
        f"{nearest(split, held)}; name yours with task.splits.…, or, if these are the classes, cut the whole: {whole}"
    )


def _classes(folder: Path) -> Dataset:
    from datasets import ClassLabel, Dataset, Features, Image

    names = sorted(p.name for p in folder.iterdir() if p.is_dir() and _visible(p))
    found = []
    for code, name in enumerate(names):
        pictures = [p for p in (folder / name).rglob("*") if p.suffix.lower() in SUFFIXES and _visible(p)]
        if not pictures:
            raise UserError(f"the class folder '{folder / name}' holds no picture ({', '.join(SUFFIXES)}); remove it")
        found += [(p.relative_to(folder).as_posix(), str(p), code) for p in pictures]
    if not found:
        raise UserError(f"'{folder}' holds no class folders; pictures belong into '{folder}/<class>/'")
    found.sort(key=lambda row: hashlib.sha256(row[0].encode("utf-8", "surrogateescape")).digest())
    features = Features({"image": Image(), "label": ClassLabel(names=names)})
    return Dataset.from_dict({"image": [f[1] for f in found], "label": [f[2] for f in found]}, features=features)


def _parquet(files: list[Path]) -> Dataset:
    from datasets import concatenate_datasets

    from uora_bench.data.files import read_rows

    parts = [read_rows(file) for file in files]
    return parts[0] if len(parts) == 1 else concatenate_datasets(parts)


def _visible(path: Path) -> bool:
    return not path.name.startswith((".", "__"))

"""Class folders: ``<root>/<split>/<class>/<picture>``, or parquet files, as rows with a picture and a class.

The pictures stay on disk until a batch needs them. Rows of class folders are in the order of a hash of their relative
paths, so that a slice such as ``train[:80%]`` mixes the classes and is the same on every machine.
"""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from uora_bench.data.files import join_rows, read_rows
from uora_bench.errors import UserError, nearest
from uora_bench.util.notes import note

if TYPE_CHECKING:
    from datasets import Dataset

WHOLE = "all"  # the split that stands for a root without splits: <root>/<class>/<picture>, or one parquet file
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".ppm", ".pgm")
_JUNK = (".", "__", "@eaDir", "#recycle")  # how names begin that systems and programs make for themselves
_SHARD = re.compile(r"-(\d+)-of-(\d+)(-[0-9a-f]+)?$")
_OTHER_NAMES = {"validation": ("val", "valid", "dev"), "train": ("training",), "test": ()}


def read_image_folder(root: Path | None, split: str) -> Dataset:
    """The rows of ``split``, from class folders or parquet files.

    A split: its class folders, ``<split>.parquet``, or the shards ``<split>-*.parquet`` beside it or ``*.parquet``
    inside its folder. ``all``: the class folders in ``root`` itself, or the file that ``root`` is.

    Labels of class folders are their names.

    Raises:
        UserError: when there is no such split, it is there twice or in part, or it holds no picture.
    """
    files = _files_of(root, split)
    if files[0].is_dir():
        return _classes(files[0])
    return join_rows([read_rows(path) for path in files], f"the files of split '{split}' in '{root}'")


def check_split(root: Path | None, split: str) -> None:
    """Raise `UserError` where ``split`` is not there, or there twice or in part; no picture is looked for."""
    _files_of(root, split)


def _files_of(root: Path | None, split: str) -> list[Path]:
    """The parquet files of ``split``, or the one folder that holds its class folders."""
    if root is None:
        raise UserError("name your folder of pictures: data.root=<folder> with <split>/<class>/<picture> in it")
    if root.is_file():
        return [root] if split == WHOLE else _refuse(root, split)
    if split == WHOLE:
        return [_with_classes(root)]
    for name in (split, *_OTHER_NAMES.get(split, ())):
        folder = root / name
        places = (root.glob(f"{name}.parquet"), root.glob(f"{name}-*.parquet"), folder.glob("*.parquet"))
        found = [sorted(p for p in place if _visible(p.name)) for place in places]
        shards = [path for paths in found for path in paths]
        if shards:
            _check_shards(split, [paths for paths in found if paths])
            return shards
        if folder.is_dir():
            return [_with_classes(folder)]
    return _refuse(root, split)


def _with_classes(folder: Path) -> Path:
    if not any(place.is_dir() and _visible(place.name) for place in folder.iterdir()):
        raise UserError(f"'{folder}' holds no class folders; pictures belong into '{folder}/<class>/'")
    return folder


def _refuse(root: Path, split: str) -> NoReturn:
    whole = f"task.splits.train='{WHOLE}[:80%]' task.splits.dev='{WHOLE}[80%:]'"
    if root.is_file():
        raise UserError(f"data.root='{root}' is one file, without a split '{split}'; cut it: {whole}")
    held = sorted(p.stem if p.suffix == ".parquet" else p.name for p in root.glob("*") if _visible(p.name))
    raise UserError(
        f"data.root='{root}' has no split '{split}' (a folder of class folders, or {split}.parquet)"
        f"{nearest(split, held)}; name yours with task.splits.…, or, if these are the classes, cut the whole: {whole}"
    )


def _check_shards(split: str, found: list[list[Path]]) -> None:
    """Raise `UserError` unless the files in one of the places are one whole set of shards."""
    first, names = found[0][0], [_SHARD.search(path.stem) for path in found[0]]
    numbers = [(int(match[1]), int(match[2])) for match in names if match]
    total = numbers[0][1] if numbers else 0
    whole = len(found) == 1 and len(numbers) in (0, len(names))
    if not whole or len({n for n, _ in numbers}) < len(numbers) or {n for _, n in numbers} - {total}:
        others = [path for paths in found for path in paths if path != first]
        raise UserError(
            f"split '{split}' occurs more than once: '{first}' and '{others[-1]}' are not of one set; remove one"
        )
    start = 1 if (total, total) in numbers else 0
    missing = sorted(set(range(start, start + total)) - {n for n, _ in numbers})
    if missing:
        gone = _SHARD.sub(lambda m: f"-{missing[0]:0{len(m[1])}d}-of-{m[2]}", first.stem)
        raise UserError(
            f"split '{split}' lacks {len(missing)} of {total} files: '{first.with_stem(gone)}' is missing; add it"
        )


def _classes(folder: Path) -> Dataset:
    from datasets import Dataset, Features, Image, Value

    found: list[tuple[str, str, str]] = []
    ignored: list[str] = []
    for place in sorted(folder.iterdir()):
        if not (place.is_dir() and _visible(place.name)):
            ignored.append(place.name)
            continue
        pictures, others = _pictures(place)
        if not pictures:
            raise UserError(f"the class folder '{place}' holds no picture ({', '.join(SUFFIXES)}); remove it")
        found += [(path.relative_to(folder).as_posix(), str(path), place.name) for path in pictures]
        ignored += [path.relative_to(folder).as_posix() for path in others]
    if ignored:
        shown = ", ".join(ignored[:5]) + (" …" if len(ignored) > 5 else "")
        note(f"in '{folder}' {len(ignored)} entries are not taken for pictures of a class: {shown}")
    found.sort(key=lambda row: hashlib.sha256(row[0].encode("utf-8", "surrogateescape")).digest())
    features = Features({"image": Image(), "label": Value("string")})
    return Dataset.from_dict({"image": [f[1] for f in found], "label": [f[2] for f in found]}, features=features)


def _pictures(folder: Path) -> tuple[list[Path], list[Path]]:
    """(the pictures below ``folder``, what else is there and not gone into).

    Links are followed, each folder is seen once; a link to nothing counts as a picture, which is then found to be
    missing.
    """
    pictures: list[Path] = []
    ignored: list[Path] = []
    above = (folder.resolve(), folder.parent.resolve())
    seen = {str(path) for end in above for path in (end, *end.parents)}
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_unreadable):
        for name in sorted(folders):
            path = Path(place, name)
            real = os.path.realpath(path)
            if real in seen or not _visible(name):
                folders.remove(name)
                ignored.append(path)
            seen.add(real)
        folders.sort()  # which of two links to one folder is followed is the same on every machine
        for name in sorted(files):
            path = Path(place, name)
            good = _visible(name) and path.suffix.lower() in SUFFIXES and (path.is_file() or not path.exists())
            (pictures if good else ignored).append(path)
    return pictures, ignored


def _unreadable(error: OSError) -> None:
    raise UserError(f"cannot read '{error.filename}': {error.strerror}")


def _visible(name: str) -> bool:
    return not name.startswith(_JUNK)

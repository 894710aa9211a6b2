"""A user's own tables: CSV, TSV, JSON lines, a JSON array or parquet, one file or a folder with one for each split.

Whatever is wrong with a file is one line that says where. Cells of CSV and TSV are texts as they stand: ``NA`` and
``007`` stay what they are, and an empty cell is "".
"""

from __future__ import annotations

import codecs
import csv
import gzip
import hashlib
import io
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.config.split_parts import split_names
from uora_bench.data.files import read_lines, read_rows
from uora_bench.data.hub import reason
from uora_bench.errors import UserError, nearest
from uora_bench.util.words import clause

if TYPE_CHECKING:
    from datasets import Dataset

    from uora_bench.config.data_source import OwnFiles

WHOLE = "all"  # the split that stands for one file without splits
_TEXT = (".csv", ".tsv", ".jsonl", ".json")
SUFFIXES = (*_TEXT, *(f"{suffix}.gz" for suffix in _TEXT), ".parquet")
_PRESET = {"train": "train", "dev": "dev", "test": "test"}  # splits that may be absent: nobody asked for them
_OTHER_NAMES = {"train": ("training",), "dev": ("validation", "valid", "val"), "test": ("testing",)}
_SMALL = 16 << 20  # bytes of a file that is read once more for the hash of its rows
_LONGEST = 1 << 24  # characters of a field: more is no text to classify, but a quote that is never closed


def is_one_file(files: OwnFiles) -> bool:
    """Whether there are no splits but `WHOLE`; raises `UserError` where there is neither a file nor a folder."""
    path = Path(files.path)
    if path.is_dir():
        return False
    if not path.is_file():
        beside = [p.name for p in path.parent.glob("*")] if path.parent.is_dir() else []
        raise UserError(f"there is no file or folder '{path}' of rows{nearest(path.name, beside)}; set task.path=")
    return True


def file_of(files: OwnFiles, split: str) -> Path | None:
    """The file that holds ``split`` (``dev`` may be called validation, valid or val); of one file the only one.

    Raises:
        UserError: when several could be meant.
    """
    if is_one_file(files):
        return Path(files.path)
    names = (split, *_OTHER_NAMES.get(split, ()))
    paths = [Path(files.path) / f"{name}{suffix}" for name in names for suffix in SUFFIXES]
    found = [path for path in paths if path.is_file()]
    if len(found) > 1:
        raise UserError(f"split '{split}' occurs twice: '{found[0]}' and '{found[1].name}'; remove one")
    return found[0] if found else None


def has_split(files: OwnFiles, split: str) -> bool:
    """Whether ``split`` (without a part, ``[a:b]``) can be read."""
    return split == WHOLE if is_one_file(files) else file_of(files, split) is not None


def read_split(files: OwnFiles, split: str) -> Dataset:
    """The rows of ``split`` as they are in its file; of one file, ``all``.

    Raises:
        UserError: for a split that is not there, or whatever is wrong with its file.
    """
    return read_table(_file_that_is_there(files, split), files.encoding, files.separator)


def _file_that_is_there(files: OwnFiles, split: str) -> Path:
    """`file_of`; raises `UserError` for a split that is not there."""
    found = file_of(files, split) if has_split(files, split) else None
    if found is not None:
        return found
    path = Path(files.path)
    if path.is_file():
        raise UserError(f"'{path}' is one file, without a split '{split}'; its split is '{WHOLE}'")
    held = sorted(p.name.split(".")[0] for p in path.iterdir() if p.name.endswith(SUFFIXES))
    what = nearest(split, held) or "; it has no file of rows at all"
    raise UserError(
        f"'{path}' holds no split '{split}' ({split}.csv, .tsv, .jsonl, .json, .parquet){what}; rename the file, or "
        f"name it with task.splits.…"
    )


def splits_read(files: OwnFiles, roles: Mapping[str, str]) -> dict[str, str]:
    """Those splits of ``roles`` (role -> name) that are read from a file; a look at the names of files alone.

    What somebody named is read whether it is there or not, and refused where it is not.
    """
    names = dict(roles)
    if is_one_file(files) and names["train"] == "train":
        names["train"] = WHOLE
    return {r: n for r, n in names.items() if r == "train" or n != _PRESET.get(r) or has_split(files, n)}


def check_files(files: OwnFiles, roles: Mapping[str, str], wanted: Mapping[str, str], task: str) -> None:
    """Raise `UserError` where a file of ``roles`` is missing, or lacks a column of ``wanted``.

    ``wanted``: column -> the key that names it. Only headers are read; `read_split` checks the rest.
    """
    names = split_names(splits_read(files, roles).values())
    for path in dict.fromkeys(_file_that_is_there(files, name) for name in names):
        held = _header(path, files)
        for name, key in wanted.items():
            if held and name not in held:
                raise UserError(
                    f"task={task}: {path.name} has no column '{name}', its columns are {', '.join(held)}; name yours "
                    f"with {key}="
                )


def _header(path: Path, files: OwnFiles) -> list[str]:
    """The names of the columns of one file; none where it takes more than a look to tell."""
    if path.suffix == ".parquet":
        from pyarrow import parquet

        with _one_line(path):
            return list(parquet.read_schema(path).names)
    opener: Any = gzip.open if path.suffix == ".gz" else open
    kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
    try:
        with opener(path, "rt", encoding=files.encoding, newline="") as file:
            if kind in (".csv", ".tsv"):
                separator = files.separator or ("\t" if kind == ".tsv" else ",")
                names = next(csv.reader(file, delimiter=separator, strict=True), [])
                return [name for name in (names[0].removeprefix("\ufeff"), *names[1:]) if name] if names[1:] else []
            first = json.loads(file.readline(_LONGEST)) if kind == ".jsonl" else None
            return list(first) if isinstance(first, dict) else []
    except (OSError, EOFError, ValueError, LookupError, csv.Error, zlib.error, RecursionError):
        return []  # reading it all says what is wrong


def rows_sha256(path: Path, files: OwnFiles) -> str | None:
    """16 hex digits for the rows of a small text file, however its lines end and its cells are quoted.

    None for any other file, and for one that cannot be read.
    """
    if not path.name.endswith(_TEXT) or path.stat().st_size > _SMALL:
        return None
    try:
        rows = read_table(path, files.encoding, files.separator)
    except UserError:
        return None
    text = json.dumps(rows.with_format("arrow")[:].to_pydict(), sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_table(path: Path, encoding: str = "utf-8", separator: str | None = None) -> Dataset:
    """The rows of one file, by its suffix.

    Raises:
        UserError: for an unknown suffix, or a file that is damaged, empty, ragged, or not in ``encoding``.
    """
    import pyarrow as pa
    from datasets import Dataset, disable_progress_bars

    disable_progress_bars()  # a selection of these rows is flattened in no time

    if not path.name.endswith(SUFFIXES):
        raise UserError(f"'{path}' is none of the formats that are read: {', '.join(SUFFIXES)}; convert it")
    if path.suffix == ".parquet":
        rows = read_rows(path)
    else:
        text = _decoded(path, encoding)
        kind = path.with_suffix("").suffix if path.suffix == ".gz" else path.suffix
        if not text.strip():
            raise UserError(f"'{path}' is empty; it needs a header and rows")
        with _one_line(path):
            if kind in (".csv", ".tsv"):
                table = _delimited(text, separator or ("\t" if kind == ".tsv" else ","))
            else:
                data = _lines(text).encode("utf-8")
                table = read_lines(lambda: pa.BufferReader(data))
            table.validate(full=True)
        twice = [name for name in table.column_names if table.column_names.count(name) > 1]
        if twice:
            raise UserError(f"'{path}' has two columns '{twice[0]}'; give each a name of its own")
        rows = Dataset(table)
    if not len(rows):
        raise UserError(f"'{path}' has a header and no rows: {', '.join(rows.column_names)}")
    return rows


def _decoded(path: Path, encoding: str) -> str:
    """The text of a file, unpacked and without a byte order mark."""
    with _one_line(path):
        data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    try:
        text = data.decode(encoding).removeprefix("\ufeff")
    except LookupError:
        raise UserError(f"task.encoding='{encoding}' is no encoding; utf-8, latin-1, cp1252, utf-16 are some") from None
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        wide = data[:2] in (b"\xff\xfe", b"\xfe\xff")
        hint = "utf-16" if wide else "cp1252 (of Windows) or latin-1" if _is_utf8(encoding) else "utf-8"
        raise UserError(
            f"'{path}' is not {encoding}: byte 0x{data[error.start]:02x} at position {error.start} (line {line}); set "
            f"its encoding, task.encoding={hint}"
        ) from None
    except UnicodeError as error:  # of encodings that are none of texts, such as punycode
        raise UserError(f"'{path}' is not {encoding}: {clause(error)}; set its encoding, task.encoding=utf-8") from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise UserError(
            f"'{path}' has a NUL byte in line {line}: text has none (is it UTF-16? task.encoding=utf-16-le)"
        )
    return text


def _is_utf8(encoding: str) -> bool:
    return codecs.lookup(encoding).name.startswith("utf-8")


@contextmanager
def _one_line(path: Path) -> Iterator[None]:
    """What the libraries raise for a file as one line that names it."""
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError, EOFError, ValueError, OverflowError, csv.Error, zlib.error) as error:
        raise UserError(f"cannot read '{path}': {reason(error)[:300]}; correct the file") from None


def _delimited(text: str, separator: str) -> Any:
    import pyarrow as pa

    before = csv.field_size_limit(_LONGEST)
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        following = _strict(reader)
        header = next(following)
        columns: list[list[str]] = [[] for _ in header]
        for row in following:
            if len(row) != len(header):
                raise ValueError(f"line {reader.line_num} has {len(row)} fields, the header {len(header)}")
            for column, value in zip(columns, row, strict=True):
                column.append(value)
    finally:
        csv.field_size_limit(before)
    other = next((mark for mark in ";\t|," if mark in header[0]), None)
    if len(header) == 1 and other is not None:
        raise ValueError(
            f"its only column is {header[0][:80]!r}; if {other!r} parts the columns, task.separator={other!r}"
        )
    named = [(name, column) for name, column in zip(header, columns, strict=True) if name]  # a data frame's index
    return pa.table([pa.array(column, pa.string()) for _, column in named], names=[name for name, _ in named])


def _strict(reader: Any) -> Iterator[list[str]]:
    """The rows that are not blank; an error says in which line its row begins."""
    while True:
        begins = reader.line_num + 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if str(error) == "unexpected end of data":
                raise csv.Error(f"a quote that opens in line {begins} is never closed") from None
            where = f"line {begins}" if begins == reader.line_num else f"lines {begins} to {reader.line_num}"
            raise csv.Error(f"{where}: {error} (a quote that is not doubled?)") from None
        if row:
            yield row


def _lines(text: str) -> str:
    """JSON lines: the text itself, or a JSON array as lines."""
    if not text.lstrip().startswith("["):
        return text
    try:
        rows = json.loads(text)
    except RecursionError:
        raise ValueError("its lists or objects are nested too deeply") from None
    wrong = next((i for i, row in enumerate(rows) if not isinstance(row, dict)), None)
    if wrong is not None:
        raise ValueError(f"element {wrong} (from 0) of its array is no object with a key for each column")
    return "\n".join(json.dumps(row) for row in rows)

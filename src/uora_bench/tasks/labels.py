"""Class labels: what data holds (codes, codes with names, names) as the codes of a task's classes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from uora_bench.errors import UserError, nearest
from uora_bench.util.notes import note

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from datasets import Dataset

TO_BE_FOUND = "classes: found in the data; the head is counted for 2 of them"


def classes_of(rows: Dataset, column: str, task: str) -> tuple[str, ...]:
    """The classes that ``rows`` themselves have: their names, sorted where labels are texts; else the numbers from 0.

    Raises:
        UserError: for labels that are neither, or for numbers that leave one out.
    """
    values, names, _ = _labels(rows, column, task)
    if names is not None:
        return tuple(names)
    lacking = set(range(int(values.max()) + 1)) - set(values.tolist())
    if lacking:
        raise UserError(
            f"{task}: '{column}' holds the codes {values.min()} to {values.max()} without names, and no row has "
            f"{min(lacking)}: number the classes from 0 without a gap, write their names instead, or name them all "
            "with task.labels=[…], the first of which is 0"
        )
    return tuple(map(str, range(int(values.max()) + 1)))


def codes_of(rows: Dataset, column: str, classes: Sequence[str], task: str, by_code: bool = True) -> np.ndarray:
    """The labels of ``rows`` as codes of ``classes``, (n,) int64: by name where they have names.

    ``by_code``: codes whose names are others are taken as they stand, where every name that is known, in whatever
    spelling, has its own position. Texts have no codes: all of them must be known.

    Raises:
        UserError: for a label that is none of the classes, naming the nearest.
    """
    import numpy as np

    values, names, coded = _labels(rows, column, task)
    if names is not None:
        position = {name: i for i, name in enumerate(classes)}
        unknown = [name for name in names if name not in position]
        if not unknown:
            known = np.array([*(position[n] for n in names), -1])  # -1, an unlabelled row, stays
            values = known[np.where(values < 0, -1, values)]
        elif not (by_code and coded and _fit(names, classes)):
            raise UserError(
                f"{task} has {len(classes)} classes, this data {len(names)} and among them '{unknown[0]}'"
                f"{nearest(unknown[0], classes)}; give every class one name, in all data and in task.labels=[…]"
            )
        elif [_plain(name) for name in names] != [_plain(name) for name in classes]:
            theirs, ours = ", ".join(names), ", ".join(classes)
            note(f"{task}: class codes are taken as they stand, though the data calls them {theirs}, not {ours}")
    if values.min() < 0 or values.max() >= len(classes):
        hint = "an unlabelled test split? choose another with task.splits.…" if values.min() <= 0 else "count from 0"
        raise UserError(
            f"{task}: labels must be 0 to {len(classes) - 1}, found {values.min()} to {values.max()} ({hint})"
        )
    return values.astype(np.int64)


def recoded(rows: Dataset, column: str, classes: Sequence[str], codes: np.ndarray) -> Dataset:
    """``rows`` with ``codes`` (n,) as their ``column``; ``rows`` themselves where they hold these codes.

    So data in which classes are named or ordered otherwise is the same data.
    """
    import numpy as np
    from datasets import ClassLabel

    if np.array_equal(_column(rows, column, "").to_numpy(), codes):
        return rows
    return rows.remove_columns(column).add_column(column, codes, feature=ClassLabel(names=list(classes)))


def is_text(kind: pa.DataType) -> bool:
    """Whether an Arrow column of type ``kind`` holds text."""
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)


def numbers_of(rows: Dataset, column: str, task: str) -> np.ndarray:
    """The targets of a regression, (n,) float32; raises `UserError` for one that is no finite number."""
    import numpy as np

    values = _numbers(_column(rows, column, task), column, task, "numbers")
    _refuse(~np.isfinite(values), values, "not a finite number", column, task)
    return values.astype(np.float32)


def _labels(rows: Dataset, column: str, task: str) -> tuple[np.ndarray, list[str] | None, bool]:
    """(codes as integers, the name of each or None, whether the codes are the data's own and not made here)."""
    import numpy as np

    found = _column(rows, column, task)
    if is_text(found.type):
        texts, codes = np.unique(found.to_numpy(), return_inverse=True)
        return codes, [str(text) for text in texts], False
    values = _numbers(found, column, task, "class codes or names")
    _refuse(~np.isfinite(values) | (values != np.floor(values)), values, "not a class code", column, task)
    names = getattr(rows.features[column], "names", None)
    return values.astype(np.int64), None if names is None else [str(name) for name in names], True


def _column(rows: Dataset, column: str, task: str) -> pa.ChunkedArray:
    found = rows.select_columns([column]).with_format("arrow")[:][column]
    if found.null_count:
        raise UserError(f"{task}: row {found.is_null().index(True).as_py()} (from 0) has no '{column}': it is null")
    return found


def _numbers(found: pa.ChunkedArray, column: str, task: str, wanted: str) -> np.ndarray:
    values: np.ndarray = found.to_numpy()
    if values.dtype.kind not in "biuf":
        raise UserError(f"{task}: column '{column}' must hold {wanted}, it holds {found.type}")
    return values


def _refuse(wrong: np.ndarray, values: np.ndarray, what: str, column: str, task: str) -> None:
    if wrong.any():
        row = int(wrong.argmax())
        raise UserError(f"{task}: row {row} (from 0) has {column} {values[row]}, {what}")


def _fit(names: Sequence[str], classes: Sequence[str]) -> bool:
    """Whether ``names`` can be other words for ``classes`` in the same order: none of them is another's."""
    position = {_plain(name): i for i, name in enumerate(classes)}
    return len(names) == len(classes) and all(position.get(_plain(name), i) == i for i, name in enumerate(names))


def _plain(name: str) -> str:
    """A name without what spellings differ in."""
    return "".join(c for c in name.casefold() if c.isalnum())

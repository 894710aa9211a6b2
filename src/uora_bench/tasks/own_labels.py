"""The label column of a user's own rows: whether it holds classes or numbers, and which classes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from uora_bench.errors import UserError, nearest
from uora_bench.tasks.labels import is_text
from uora_bench.tasks.own_rows import Part
from uora_bench.util.words import count

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

Target = Literal["auto", "classes", "regression"]
# more digits are no number that anybody counts with, and Python would not turn them into one
_INTEGER, _NUMBER = re.compile(r"[+-]?\d{1,300}"), re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_FEW = 20  # so many distinct floats without a fraction may be codes of classes


def lacking(rows: Dataset, column: str) -> list[bool]:
    """Of each row whether its label is missing: null, NaN, or a blank text."""
    return [v is None or v != v or (isinstance(v, str) and not v.strip()) for v in _values(rows, column)]


def is_regression(parts: Mapping[str, Part], column: str, target: Target, task: str) -> bool:
    """Whether the labels of ``parts``, none of which is missing, are the numbers of a regression.

    With ``target=auto`` those are numbers with a fraction or an exponent somewhere, in whatever type they are kept.

    Raises:
        UserError: for labels that are neither classes nor numbers, or may be either.
    """
    values = [value for part in parts.values() for value in _values(part.rows, column)]
    kinds = {"text" if isinstance(v, str) else type(v).__name__ for v in values}
    odd = kinds - {"text", "int", "float", "bool"}
    if odd:
        raise UserError(f"{task}: column '{column}' must hold texts or numbers, it holds {', '.join(sorted(odd))}")
    texts = [v for v in values if isinstance(v, str)]
    numbers = [v for v in texts if is_number(v)]
    mixed = (texts and len(kinds) > 1) or 0 < len(numbers) < len(texts) or ("bool" in kinds and len(kinds) > 1)
    if target == "regression":
        wrong = next((v for v in texts if not is_number(v)), None)
        if wrong is not None or "bool" in kinds:
            raise UserError(
                f"{task}: label '{wrong if wrong is not None else 'true'}' is no number; task.target=classes"
            )
        return True
    if target == "classes":
        return False
    if mixed:
        other = next((v for v in texts if not is_number(v)), texts[0] if texts else next(iter(values)))
        raise UserError(
            f"{task}: column '{column}' mixes numbers with others, such as {str(other)[:40]!r}; if all of them are "
            "names of classes, set task.target=classes, otherwise correct the rows"
        )
    whole = all(_INTEGER.fullmatch(v.strip()) for v in numbers)
    if "float" not in kinds and (not numbers or whole):
        return False
    floats = {float(v) for v in values}
    if len(floats) <= _FEW and all(v == int(v) for v in floats if v - v == 0):
        raise UserError(
            f"{task}: column '{column}' holds {len(floats)} numbers without a fraction, written as {values[0]}: say "
            "whether they are classes or a regression, task.target=classes or task.target=regression"
        )
    return True


def is_number(text: str) -> bool:
    """Whether ``text`` is a number as people write it."""
    return _NUMBER.fullmatch(text.strip()) is not None


def names(rows: Dataset, column: str) -> list[str]:
    """The label of each row as the name of its class: texts as they stand, 3 for 3 and 3.0, false and true."""
    return [_name(value) for value in _values(rows, column)]


def codes_of(parts: Mapping[str, Part], column: str, given: Sequence[str], task: str) -> dict[str, int]:
    """The code of every class by the name that the data has for it.

    In the order of ``given``, else as parquet's class labels declare it, else sorted, whole numbers by their size.
    Where the data holds the codes of ``given`` and none of its names, they are taken as they stand.

    Raises:
        UserError: for fewer than two, two that differ in spelling alone and are not ``given``, a label that ``given``
            or the training split lacks.
    """
    train = parts["train"]
    found = set(names(train.rows, column))
    if not given:
        _check_spelling(found, train.name, task)
    classes = tuple(given) or _declared(train.rows, column) or tuple(sorted(found, key=_order(found)))
    numbered = tuple(str(code) for code in range(len(given)))
    if found <= set(numbered) and found.isdisjoint(classes):
        classes = numbered
    if len(found) < 2:
        raise UserError(
            f"{task}: all rows of {train.name} have the label '{next(iter(found))}'; two classes are needed"
        )
    for part in parts.values():
        own = names(part.rows, column)
        known = set(classes) if given else found
        unknown = sorted(set(own) - known)
        if unknown:
            where = "task.labels" if given else "the training split"
            raise UserError(
                f"{task}: {count(sum(name in unknown for name in own), 'row')} of {part.name} with labels that {where} "
                f"lacks: "
                f"'{unknown[0]}'{' …' if len(unknown) > 1 else ''}{nearest(unknown[0], classes)}"
            )
    return {name: code for code, name in enumerate(classes)}


def _check_spelling(found: set[str], name: str, task: str) -> None:
    """Raise `UserError` where two names are most likely one class.

    They differ in case, blanks, the form of an accented letter, or zeros before a number alone.
    """
    seen: dict[str, str] = {}
    for label in sorted(found):
        alike = " ".join(unicodedata.normalize("NFKC", label).casefold().split())
        alike = str(int(alike)) if _INTEGER.fullmatch(alike) else alike
        other = seen.setdefault(alike, label)
        if other != label:
            raise UserError(
                f"{task}: the labels {other[:40]!r} and {label[:40]!r} of {name} differ in spelling alone; write them "
                "alike, or name all classes with task.labels=[…] where they are two"
            )


def check_each_twice(rows: Dataset, column: str, name: str, task: str) -> None:
    """Raise `UserError` for a class with a single row, of which nothing can be both learnt and scored."""
    from collections import Counter

    single = sorted(label for label, rows_of in Counter(names(rows, column)).items() if rows_of == 1)
    if single:
        raise UserError(
            f"{task}: {count(len(single), 'class', 'classes')} of {name} with one row only, such as '{single[0]}': "
            "none is left to score; add rows, join the classes, or give files train and dev"
        )


def _values(rows: Dataset, column: str) -> list[Any]:
    """The labels as Python values; class labels of a parquet file by their names, an unlabelled one (-1) as None."""
    found: pa.ChunkedArray = rows.select_columns([column]).with_format("arrow")[:][column]
    declared = _declared(rows, column)
    values: list[Any] = found.to_pylist()
    if declared and not is_text(found.type):
        return [None if value is None or value < 0 else declared[value] for value in values]
    return values


def _declared(rows: Dataset, column: str) -> tuple[str, ...]:
    return tuple(str(name) for name in getattr(rows.features[column], "names", None) or ())


def _name(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(int(value)) if isinstance(value, float) and value == int(value) else str(value)


def _order(found: set[str]) -> Any:
    return int if all(_INTEGER.fullmatch(name) for name in found) else None

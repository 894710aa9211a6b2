"""Strict conversion of plain mappings (YAML, JSON) into frozen dataclasses and back.

Values live in YAML and JSON, types in dataclasses: this module is where the two meet. It knows nothing of what the
dataclasses mean.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
import operator
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from uora_bench.errors import UserError, nearest

T = TypeVar("T")


def build(cls: type[T], data: Mapping[str, Any], where: str = "") -> T:
    """Build the dataclass ``cls`` from ``data``.

    An unknown key, a missing one, a wrong type or a value outside its range (``Annotated[int, Ge(1)]``) is one line
    that names the key with its path. An int is accepted for a float (and becomes one); nothing else is
    converted. ``where`` is the path of ``data`` in the messages.

    Raises:
        UserError: on the first thing that does not fit.
    """
    if not isinstance(data, Mapping):
        raise UserError(f"{where or 'the configuration'} must be a mapping, not {data!r}")
    fields = _fields(cls)  # type: ignore[arg-type]
    for key in data:
        if key not in fields:
            names = [_join(where, n) for n in fields]
            raise UserError(f"unknown key '{_join(where, key)}'{nearest(_join(where, key), names)}")
    values = {}
    for name, (hint, required) in fields.items():
        if name in data:
            values[name] = convert(hint, data[name], _join(where, name))
        elif required:
            raise UserError(f"'{_join(where, name)}' is missing")
    return cls(**values)


def plain(value: Any) -> Any:
    """The JSON-able form of a dataclass, mapping or sequence, recursively (tuples become lists)."""
    if type(value) in _ATOMS:  # most are: a page of a thousand records has half a million values
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return value


_ATOMS = (str, int, float, bool, type(None))


@functools.cache
def _fields(cls: type) -> dict[str, tuple[Any, bool]]:
    """By name the type of each field of a dataclass, and whether it has to be given.

    (Kept: `typing` compiles every annotation anew, and a plan reads a thousand records.)
    """
    hints = typing.get_type_hints(cls, include_extras=True)
    return {
        f.name: (hints[f.name], f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING)
        for f in dataclasses.fields(cls)
    }


@functools.cache
def _parts(hint: Any) -> tuple[Any, tuple[Any, ...]]:
    """What the type ``hint`` is made of."""
    return typing.get_origin(hint), typing.get_args(hint)


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else str(name)


def convert(hint: Any, value: Any, where: str) -> Any:
    """``value`` if it fits the type ``hint``, with the conversions of `build`; ``where`` names it in the message."""
    if hint is Any or (type(value) is hint and hint in (str, int, bool)):
        return value
    origin, args = _parts(hint)
    if origin is Annotated:
        made = convert(args[0], value, where)
        _check_range(made, args[1:], where)
        return made
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        options = [a for a in args if a is not type(None)]
        for option in options[:-1]:
            try:
                return convert(option, value, where)
            except UserError:
                continue
        return convert(options[-1], value, where)
    if origin is typing.Literal:
        if value not in args or isinstance(value, bool) != any(isinstance(a, bool) for a in args if a == value):
            raise UserError(f"{where}={value!r} is not one of {', '.join(map(str, args))}{_did_you_mean(value, args)}")
        return value
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):  # type: ignore[arg-type]
            return value
        return build(hint, value, where)  # type: ignore[arg-type]
    if origin in (list, tuple):
        if not isinstance(value, (list, tuple)):
            raise UserError(f"{where} must be a list, not {value!r}")
        return tuple(convert(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
    if origin in (dict, Mapping) or hint is dict:
        if not isinstance(value, Mapping):
            raise UserError(f"{where} must be a mapping, not {value!r}; on a command line write {where}.<key>=<value>")
        if not args:
            return dict(value)
        if args[1] is Any:
            return {str(k): v for k, v in value.items()}
        return {str(k): convert(args[1], v, _join(where, str(k))) for k, v in value.items()}
    if hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:  # a whole number beyond all floats
            number = math.inf
        if not math.isfinite(number):
            raise UserError(f"{where}={str(value)[:40]} must be finite")
        return number
    if isinstance(hint, type) and isinstance(value, hint) and (hint is bool) == isinstance(value, bool):
        return value
    how = ""
    if hint is str and isinstance(value, (int, float)):
        key, inside, _ = where.partition("[")
        quoted = f'"{str(value).lower()}"'
        how = f"; write it in quotes, {quoted} (in a shell: '{key}={f'[{quoted},…]' if inside else quoted}')"
    raise UserError(f"{where}={value!r} must be {_name(hint)}{how}")


def parse_text(hint: Any, text: str) -> Any:
    """The ``text`` of a command line as JSON where the type ``hint`` is not text.

    What does not fit it is left for `convert` to refuse.
    """
    options = typing.get_args(hint)
    if text == "null" and type(None) in options:
        return None
    if hint is str or str in options or typing.get_origin(hint) is typing.Literal:
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text


def _check_range(value: Any, bounds: tuple[Any, ...], where: str) -> None:
    """Raise `UserError` for a number outside ``bounds`` (of annotated_types)."""
    said, inside = [], True
    for bound in bounds:
        for name, words, holds in _BOUNDS:
            if hasattr(bound, name):
                limit = getattr(bound, name)
                said.append(f"{words} {limit:g}")
                inside &= holds(value, limit)
    if not inside:
        raise UserError(f"{where}={value} must be {' and '.join(said)}")


_BOUNDS = (
    ("ge", "at least", operator.ge),
    ("gt", "above", operator.gt),
    ("le", "at most", operator.le),
    ("lt", "below", operator.lt),
)


def _did_you_mean(value: Any, options: tuple[Any, ...]) -> str:
    tail = nearest(str(value), [str(o) for o in options])
    return tail if "did you mean" in tail else ""


def _name(hint: Any) -> str:
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
    return names.get(hint, getattr(hint, "__name__", str(hint)))

"""The data inside the page, made small: floats to six significant digits, and what repeats stands there once.

A record says much that a hundred others say too (versions, hardware, recipes). `shared` replaces each such value by a
reference into a pool, a text that begins with `MARK`; script.js looks it up when a cell is opened.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

MARK = "\ue000"  # of Unicode's private use: no text of a record begins with it (`plain` sees to that)
_WORTH = 24  # characters of JSON from which on a reference is shorter


def plain(value: Any) -> Any:
    """``value`` as what JSON can say, floats with six significant digits; NaN and infinities become text."""
    if isinstance(value, bool) or value is None or isinstance(value, int):
        return value
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else str(value)
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    text = str(value)
    return "\ufffd" + text[1:] if text.startswith(MARK) else text


def shared(values: Any) -> tuple[Any, list[Any]]:
    """``values`` (made by `plain`) with references for what occurs more than once, and the pool they point into."""
    seen: Counter[str] = Counter()
    _count(values, seen)
    pool: list[Any] = []
    return _replace(values, seen, {}, pool), pool


def _count(value: Any, seen: Counter[str]) -> None:
    key = _key(value)
    if key is not None:
        seen[key] += 1
        if seen[key] > 1:
            return  # its parts are in the pool with it
    if isinstance(value, dict):
        for part in value.values():
            _count(part, seen)
    elif isinstance(value, list):
        for part in value:
            _count(part, seen)


def _replace(value: Any, seen: Counter[str], known: dict[str, str], pool: list[Any]) -> Any:
    key = _key(value)
    if key is not None and seen[key] > 1:
        if key not in known:
            made = _parts(value, seen, known, pool)
            known[key] = f"{MARK}{len(pool)}"
            pool.append(made)
        return known[key]
    return _parts(value, seen, known, pool)


def _parts(value: Any, seen: Counter[str], known: dict[str, str], pool: list[Any]) -> Any:
    if isinstance(value, dict):
        return {k: _replace(v, seen, known, pool) for k, v in value.items()}
    if isinstance(value, list):
        return [_replace(v, seen, known, pool) for v in value]
    return value


def _key(value: Any) -> str | None:
    """What tells a value from others; None for what is too short to be shared."""
    if not isinstance(value, (dict, list, str)):
        return None
    text = dumps(value)
    return text if len(text) >= _WORTH else None


def dumps(value: Any) -> str:
    """JSON without spaces, as it may stand inside a script element: no ``<``, ``>`` or ``&``."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for sign in ("<", ">", "&", "\u2028", "\u2029"):
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text

"""How quantities are written, the same in every format."""

from __future__ import annotations

MISSING = "–"


def letters(index: int) -> str:
    """a, b, … z, aa, ab, …: the sign of the footnote of that index."""
    text = ""
    index += 1
    while index:
        index, rest = divmod(index - 1, 26)
        text = chr(ord("a") + rest) + text
    return text


def size(count: int | None) -> str:
    """Bytes: ``30.7 kB``, ``1.25 GB``."""
    if count is None:
        return MISSING
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= factor:
            return f"{count / factor:.3g} {unit}"
    return f"{count} B"


def seconds(value: float | None) -> str:
    """Whole seconds."""
    return MISSING if value is None else f"{value:,.0f}"

"""The grammar of a split, ``name``, ``name[a:b]`` or several joined by ``+``, and whether two of them share rows."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from uora_bench.errors import UserError

_PART = re.compile(r"^(?P<name>[^\[\]]+)(?:\[(?P<a>(?:\d+%?)?):(?P<b>(?:\d+%?)?)\])?$")


@dataclass(frozen=True)
class SplitPart:
    """A part of a split, ``name[start:stop]``.

    An edge is a row number or a percentage (``80%``), "" where none is given; both None for the whole split.
    """

    name: str
    start: str | None
    stop: str | None

    def __str__(self) -> str:
        return self.name if self.start is None else f"{self.name}[{self.start}:{self.stop}]"


def split_parts(split: str) -> list[SplitPart]:
    """The parts that ``split`` joins.

    Raises:
        UserError: for one that is neither ``name`` nor ``name[a:b]``, or that has no rows however many there are.
    """
    found = []
    for text in split.split("+"):
        match = _PART.match(text)
        if match is None:
            raise UserError(f"split '{text}' is not of the form name or name[a:b], e.g. train[:80%]")
        part = SplitPart(match["name"], match["a"], match["b"])
        if part.start == "100%" or _before(part.stop, part.start):
            raise UserError(f"split '{text}' has no rows; write the lower edge first, e.g. {match['name']}[80%:]")
        found.append(part)
    return found


def split_names(splits: Iterable[str]) -> list[str]:
    """The splits that ``splits`` are of or parts of, each once; errors as those of `split_parts`."""
    return list(dict.fromkeys(part.name for split in splits for part in split_parts(split)))


def may_share_rows(one: str, other: str) -> bool:
    """Whether the splits ``one`` and ``other`` share rows, or may.

    They may where one edge is a row number and the other a percentage: the number of rows would decide.
    """
    return any(_meet(a, b) for a in split_parts(one) for b in split_parts(other))


def _meet(a: SplitPart, b: SplitPart) -> bool:
    return a.name == b.name and not _before(a.stop, b.start) and not _before(b.stop, a.start)


def _before(stop: str | None, start: str | None) -> bool:
    """Whether a part that ends at ``stop`` ends before one that begins at ``start``, however many rows there are."""
    if not stop or not start or stop.endswith("%") != start.endswith("%"):
        return stop is not None and stop.rstrip("%") == "0"
    return int(stop.rstrip("%")) <= int(start.rstrip("%"))

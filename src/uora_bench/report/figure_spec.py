"""A figure before it is drawn, its numbers and words (`FigureSpec`), and after (`RenderedFigure`)."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RenderedFigure:
    """``name``: stem of the files. ``data``: CSV text with exactly the plotted numbers and the ids of the cells they
    come from. ``caption``: what is drawn, under which rule, on which split, with how many seeds."""

    name: str
    title: str
    caption: str
    data: str
    svg: str
    png: bytes


@dataclass(frozen=True)
class FigureSpec:
    """A `RenderedFigure` without its pictures; ``draw`` makes the matplotlib figure, and is the first to import it."""

    name: str
    title: str
    caption: str
    data: str
    draw: Callable[[], Any]


def table_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    """CSV: None is empty, numbers in full, ``{seed: value}`` as ``seed:value`` and several ids with blanks between."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _text(value) for key, value in row.items()} for row in rows)
    return out.getvalue()


def _text(value: Any) -> Any:
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return " ".join(f"{key}:{one!r}" for key, one in value.items())
    if isinstance(value, tuple | list):
        return " ".join(str(one) for one in value)
    return repr(value) if isinstance(value, float) else value


def stem(*blocks: str) -> str:
    """A file name of ``parts``; empty ones are left out."""
    plain = (re.sub(r"[\W_]+", "_", block.lower()).strip("_") for block in blocks)
    return "_".join(block for block in plain if block)

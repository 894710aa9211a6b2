"""A figure before it is drawn, its numbers and words (`FigureSpec`), and after (`RenderedFigure`)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class FigureSpec:
    """``name``: stem of the files. ``data``: CSV text with exactly the plotted numbers and the ids of the cells they
    come from. ``caption``: what is drawn, under which rule, on which split, with how many seeds. ``draw`` makes the
    matplotlib figure, and is the first to import it."""

    name: str
    title: str
    caption: str
    data: str
    draw: Callable[[], Any]


@dataclass(frozen=True)
class RenderedFigure(FigureSpec):
    """A `FigureSpec` with its pictures."""

    svg: str
    png: bytes


def stem(*blocks: str) -> str:
    """A file name of ``parts``; empty ones are left out."""
    plain = (re.sub(r"[\W_]+", "_", block.lower()).strip("_") for block in blocks)
    return "_".join(block for block in plain if block)

"""A figure before it is drawn: its numbers, its words, and how it is drawn."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

DRAWING = 2  # to be raised where figures are drawn otherwise: all of them are then drawn anew


@dataclass(frozen=True)
class FigureSpec:
    """``name``: stem of the files.

    ``data``: CSV text with exactly the plotted numbers and the ids of the cells they come from. ``caption``: what is
    drawn, under which rule, on which split, with how many seeds. ``draw`` makes the matplotlib figure, and is the first
    to import it.
    """

    name: str
    title: str
    caption: str
    data: str
    draw: Callable[[], Any]

    @property
    def digest(self) -> str:
        """Of all that the picture shows; a picture that holds it need not be drawn again."""
        return hashlib.sha256(f"{DRAWING}\n{self.title}\n{self.data}".encode()).hexdigest()[:32]


def stem(*blocks: str) -> str:
    """A file name of ``parts``; empty ones are left out."""
    plain = (re.sub(r"[\W_]+", "_", block.lower()).strip("_") for block in blocks)
    return "_".join(block for block in plain if block)

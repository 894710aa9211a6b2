"""How a method looks, in every figure the same: one colour and one marker each, fill and dash for its variants.

The colours are those of Okabe and Ito (without their yellow, which is too light for a line on white), a grey, a brown
and an indigo. They stay apart for deuteranopes; where two of them are of one lightness the markers differ.
"""

from __future__ import annotations

import zlib
from collections import Counter
from dataclasses import dataclass
from typing import Any

from uora_bench.report.model import Block, Row

BLACK, GREY, LIGHT = "#000000", "#8c8c8c", "#c8c8c8"
FRONT, DOTS = (0, (3.0, 2.0)), (0, (1.0, 1.5))  # lines that are of no row
SOLID, DASHED, DOTTED, CHAIN, LONG = (), (4.0, 1.6), (1.0, 1.4), (5.0, 1.4, 1.0, 1.4), (8.0, 2.0)

# method -> colour, marker, dash (lengths of line and gap in line widths)
METHODS: dict[str, tuple[str, str, tuple[float, ...]]] = {
    "head_only": ("#595959", "X", DOTTED),
    "full": ("#000000", "s", SOLID),
    "lora": ("#0072B2", "o", SOLID),
    "vera": ("#009E73", "^", SOLID),
    "uora": ("#D55E00", "D", SOLID),
    "tied_lora": ("#CC79A7", "v", SOLID),
    "alpha_lora": ("#E69F00", "P", SOLID),
    "lora_fa": ("#56B4E9", "<", DASHED),
    "bitfit": ("#6b4c2a", ">", DASHED),
    "peft": ("#332288", "h", DASHED),
}
# what is left for methods that are not in the table
_COLOURS = ("#AA4499", "#882255", "#8a8a1f")
_MARKERS = ("*", "p", "d", "H", "8")
# of the variants of one method (rank, τ, …): how the marker is filled; the first is plain
FILLS = ("full", "none", "bottom", "left", "top", "right")
_DASHES = (SOLID, DASHED, DOTTED, CHAIN, LONG)


@dataclass(frozen=True)
class Look:
    """How one row is drawn. ``fill`` is matplotlib's fillstyle of the marker (none: white inside)."""

    colour: str
    marker: str
    dash: tuple[float, ...]
    fill: str = "full"

    def markers(self, size: float = 5.5) -> dict[str, Any]:
        """Options of matplotlib's `plot` for the marker."""
        hollow = self.fill == "none"
        return {
            "color": self.colour,
            "marker": self.marker,
            "markersize": size * _SIZES.get(self.marker, 1.0),
            "fillstyle": "full" if hollow else self.fill,
            "markerfacecolor": "white" if hollow else self.colour,
            "markerfacecoloralt": "white",
            "markeredgecolor": self.colour,
            "markeredgewidth": 0.9,
        }

    def line(self) -> dict[str, Any]:
        """Options of matplotlib's `plot` for the line."""
        return {"color": self.colour, "linestyle": (0, self.dash) if self.dash else "-"}


# markers of one nominal size do not look so
_SIZES = {"s": 0.9, "D": 0.85, "P": 1.15, "X": 1.15, "*": 1.4, "d": 1.1}


def look(method: str, variant: int = 0) -> Look:
    """The look of ``method``; ``variant`` counts the rows of one table that share it."""
    known = METHODS.get(method)
    if known is None:
        number = zlib.crc32(method.encode())  # the same in every process, as `hash` is not
        colours, markers = len(_COLOURS), len(_MARKERS)
        known = (_COLOURS[number % colours], _MARKERS[number // colours % markers], _DASHES[number % len(_DASHES)])
    colour, marker, dash = known
    shift = (_DASHES.index(dash) + variant) % len(_DASHES)
    return Look(colour, marker, _DASHES[shift], FILLS[variant % len(FILLS)])


def method_of(row: Row) -> str:
    """The method of a row; its label where its cells are of several."""
    names = set()
    for run in row.runs:
        words = dict(word.split("=", 1) for word in run.overrides if "=" in word)
        cell = run.recorded.cell if run.recorded is not None else {}
        names.add(cell.get("method", {}).get("name") or run.row.get("method") or words.get("method"))
    return str(names.pop()) if len(names) == 1 else row.label


def looks(block: Block) -> dict[str, Look]:
    """The look of every row by its label. Rows without a record count too: a look does not change when records come
    in."""
    methods = {row.label: method_of(row) for row in block.rows}
    seen: Counter[str] = Counter()
    found = {}
    for label, method in methods.items():
        found[label] = look(method, seen[method])
        seen[method] += 1
    return found

"""Colours of all figures, in light and in dark, and how a line of several looks.

The colours are those of Okabe and Ito (without their yellow, which is too light for a line on white), the accent first.
A figure has at most `MOST` of them side by side; where there are more rows each has a panel or a number of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

BLACK, WHITE, GREY, LIGHT, GRID = "#000000", "#ffffff", "#8c8c8c", "#c8c8c8", "#e4e4e4"
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00")
ACCENT, MOST = COLOURS[0], len(COLOURS)
# what each becomes where the reader's screen is dark
DARK = {
    BLACK: "#e4e9ed", WHITE: "#14191e", GREY: "#98a4ae", LIGHT: "#4a5661", GRID: "#2c353d",
    **dict(zip(COLOURS, ("#56b4e9", "#e8663c", "#14a06f", "#f0b4dc", "#f0e442"), strict=True)),
}  # fmt: skip
FRONT, DOTS = (0, (3.0, 2.0)), (0, (1.0, 1.5))  # lines that are of no row
SOLID, DASHED, DOTTED, CHAIN, LONG = (), (4.0, 1.6), (1.0, 1.4), (5.0, 1.4, 1.0, 1.4), (8.0, 2.0)
_DASHES, _MARKERS = (SOLID, DASHED, CHAIN, LONG, DOTTED), ("o", "s", "^", "D", "v")


@dataclass(frozen=True)
class Look:
    """How one line is drawn."""

    colour: str
    marker: str
    dash: tuple[float, ...]

    def markers(self, size: float = 5.5) -> dict[str, Any]:
        """Options of matplotlib's `plot` for the marker."""
        marker = self.marker if size else ""
        return {"color": self.colour, "marker": marker, "markersize": size, "markeredgewidth": 0.9}

    def line(self) -> dict[str, Any]:
        """Options of matplotlib's `plot` for the line."""
        return {"color": self.colour, "linestyle": (0, self.dash) if self.dash else "-"}


def look(number: int) -> Look:
    """The look of the line of that number: colour, marker and dash differ for the first `MOST`."""
    n = number % MOST
    return Look(COLOURS[n], _MARKERS[n], _DASHES[(n + number // MOST) % len(_DASHES)])

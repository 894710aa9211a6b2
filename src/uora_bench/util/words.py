"""Numbers in sentences."""

from __future__ import annotations


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 cell``, ``2 cells``; ``plural`` where it is not the noun with an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"

"""Numbers, and what others say, in sentences."""

from __future__ import annotations


def clause(said: object) -> str:
    """What a library or a server ``said``, without the full stop at its end: the sentence goes on."""
    return str(said).strip().rstrip(".").rstrip()


def count(number: int, noun: str, plural: str = "") -> str:
    """``1 cell``, ``2 cells``; ``plural`` where it is not the noun with an s."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"

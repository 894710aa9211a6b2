"""Reads the markdown tables of the theory page, `tests/data/papers/alpha_lora_theory.md`: the tests' oracle."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache

from tests.support.paths import PAPERS

# a printed number, with the typographic minus as well
NUMBER = re.compile(r"[-−+]?\d+(?:\.\d+)?(?:e[-−]?\d+)?")


@dataclass(frozen=True)
class Printed:
    """A simulated value as printed, with its standard error, and what rounding may have taken from it."""

    value: float
    error: float
    rounding: float = 5e-5


def number(text: str) -> float:
    """The first number in ``text``."""
    found = NUMBER.search(text)
    assert found, text
    return float(found[0].replace("−", "-"))


def numbers(text: str) -> list[float]:
    """All numbers in ``text``."""
    return [float(word.replace("−", "-")) for word in NUMBER.findall(text)]


def simulated(text: str) -> Printed:
    """``0.5489 ± 0.0006``, the last two numbers of ``text``."""
    value, error = numbers(text)[-2:]
    return Printed(value, error)


def section(title: str) -> str:
    """The text from the heading that begins with ``title`` (as ``4.2``) to the next heading."""
    text = (PAPERS / "alpha_lora_theory.md").read_text("utf-8")
    found = re.search(rf"^#+ {re.escape(title)} .*?(?=^#+ |\Z)", text, re.M | re.S)
    assert found, f"the theory page has no section {title}"
    return found[0]


@cache
def tables(title: str) -> list[list[dict[str, str]]]:
    """The tables of a section: rows as {column: cell}. A column without a name has the name of its number."""
    found = []
    for block in re.findall(r"^\|.*\n\|-.*\n(?:^\|.*\|\n)+", section(title) + "\n", re.M):
        lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in block.splitlines()]
        head = [name or str(i) for i, name in enumerate(lines[0])]
        assert len(set(head)) == len(head), head
        found.append([dict(zip(head, line, strict=True)) for line in lines[2:]])
    return found

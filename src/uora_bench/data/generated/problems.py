"""Small problems with exactly computable answers, and which of them belongs to which split.

This file owns how a problem of each kind is drawn and answered. How it is worded is not its business:
`instructions.py` makes instructions of problems, the pretraining of `tiny_llama` makes text of others.

A problem belongs to one split, by a hash of what is given, however it is worded. Of the kinds that are drawn from a
large space (lists, sentences, stories, pairs of numbers) half of the space is text, which the splits never touch. Of
the kinds that ask for knowledge (plurals, opposites, sums …) the text tells all, in other words than the task's.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass

from uora_bench.data.generated.world import (
    COLOURS,
    DAYS,
    KINDS,
    MONTHS,
    NAMES,
    NOUNS,
    NUMBERS,
    OPPOSITES,
    PLACES,
    THINGS,
    kind_of,
    plural,
)

SPLITS = ("train", "validation", "test", "text")
_SHARES = {"drawn": (0.36, 0.07, 0.07, 0.5), "known": (0.76, 0.12, 0.12, 0.0)}
LISTED = tuple(dict.fromkeys((*NOUNS, *COLOURS, *PLACES)))  # words that lists are made of
KIND_WORDS = tuple(word for words in KINDS.values() for word in words)
LARGEST = 15  # of two numbers to be added


@dataclass(frozen=True)
class Problem:
    """What is asked: the kind, what is given (one text), a word asked about (may be empty), and the bare answer."""

    kind: str
    given: str
    asked: str
    answer: str

    @property
    def known(self) -> bool:
        """Whether the answer is knowledge, rather than in what is given."""
        return self.kind in KNOWN

    @property
    def split(self) -> str:
        """The split that the problem belongs to.

        Kinds that are drawn at random share one space, and the order of the words does not matter: a list is in one
        split, whatever is asked of it and however it is sorted.
        """
        words = " ".join(sorted(self.given.replace(",", "").split()))
        digest = hashlib.sha256(f"{self.kind if self.known else ''}|{words}".encode()).digest()
        place = int.from_bytes(digest[:8], "big") / 2**64
        for split, share in zip(SPLITS, _SHARES["known" if self.known else "drawn"], strict=True):
            if place < share:
                return split
            place -= share
        return SPLITS[-1]


def _words(rng: random.Random, least: int = 2, most: int = 6) -> list[str]:
    return rng.sample(LISTED, rng.randint(least, most))


def _listed(kind: str, rng: random.Random) -> Problem:
    words = _words(rng, 3 if kind in ("longest", "sort") else 2, 3 if kind == "sort" else 5)
    if kind == "longest":
        lengths = sorted(map(len, words))
        while lengths[-1] < lengths[-2] + 2:  # the longest by two letters at least: no close call
            words = _words(rng, 3, 4)
            lengths = sorted(map(len, words))
    while kind == "sort" and len({word[0] for word in words}) < len(words):
        words = _words(rng, 3, 3)
    answer = {
        "first": lambda: words[0],
        "last": lambda: words[-1],
        "longest": lambda: max(words, key=len),
        "count": lambda: NUMBERS[len(words)],
        "sort": lambda: ", ".join(sorted(words)),
    }[kind]()
    return Problem(kind, ", ".join(words), "", answer)


def _contains(rng: random.Random) -> Problem:
    words = _words(rng, 3, 5)
    if rng.random() < 0.5:
        return Problem("contains", ", ".join(words), rng.choice(words), "yes")
    return Problem("contains", ", ".join(words[1:]), words[0], "no")


def sentence(rng: random.Random) -> str:
    """A sentence about a person, a thing and a place."""
    name, thing, colour, place = (rng.choice(words) for words in (NAMES, THINGS, COLOURS, PLACES))
    forms = (
        f"{name} took the {colour} {thing} to the {place}.",
        f"The {colour} {thing} in the {place} is for {name}.",
        f"{name} saw the {thing} in the {place} on {rng.choice(DAYS)}.",
        f"In {rng.choice(MONTHS)} {name} found the {colour} {thing}.",
        f"The {thing} of {name} is {colour}.",
    )
    return rng.choice(forms)


def _repeat(rng: random.Random) -> Problem:
    said = sentence(rng)
    return Problem("repeat", said, "", said)


def _story(kind: str, rng: random.Random) -> Problem:
    """``who`` has a thing, ``what`` a person has, ``where`` a person is; of one to three people."""
    names = rng.sample(NAMES, rng.randint(1, 3))
    values = rng.sample(PLACES if kind == "where" else THINGS, len(names))
    verb = "is in the" if kind == "where" else "has the"
    told = " ".join(f"{name} {verb} {value}." for name, value in zip(names, values, strict=True))
    name, value = rng.choice(list(zip(names, values, strict=True)))
    return Problem(kind, told, *((value, name) if kind == "who" else (name, value)))


def _sum(rng: random.Random) -> Problem:
    a, b = rng.randint(1, LARGEST), rng.randint(1, LARGEST)
    return Problem("sum", f"{a} and {b}", "", str(a + b))


def _larger(rng: random.Random) -> Problem:
    a, b = rng.sample(range(1, 100), 2)
    return Problem("larger", f"{a} and {b}", "", str(max(a, b)))


def _next(rng: random.Random) -> Problem:
    row = rng.choice((DAYS, MONTHS))
    at = rng.randrange(len(row))
    return Problem("next", row[at], "", row[(at + 1) % len(row)])


def _table(kind: str, words: tuple[str, ...], answer: Callable[[str], str]) -> Callable[[random.Random], Problem]:
    def draw(rng: random.Random) -> Problem:
        word = rng.choice(words)
        return Problem(kind, word, "", answer(word))

    return draw


LISTS = ("first", "last", "longest", "count", "sort")
STORIES = ("who", "what", "where")
_DRAWS: dict[str, Callable[[random.Random], Problem]] = {
    "repeat": _repeat,
    "contains": _contains,
    "sum": _sum,
    "larger": _larger,
    "next": _next,
    "plural": _table("plural", NOUNS, plural),
    "opposite": _table("opposite", tuple(OPPOSITES), OPPOSITES.__getitem__),
    "kind": _table("kind", KIND_WORDS, kind_of),
}
ABILITIES = (*LISTS, *STORIES, *_DRAWS)
KNOWN = ("sum", "next", "plural", "opposite", "kind")


def draw(kind: str, rng: random.Random) -> Problem:
    """A problem of one of `ABILITIES`, of any split."""
    if kind in LISTS:
        return _listed(kind, rng)
    return _story(kind, rng) if kind in STORIES else _DRAWS[kind](rng)

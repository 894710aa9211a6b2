"""Generated questions with four choices: small problems whose answers are words, asked as `instructions` asks them.

Generated text, for trials: scores reached on it say nothing about answering questions at large.
"""

from __future__ import annotations

import hashlib
import random
from functools import cache

from uora_bench.data.generated.instructions import WORDINGS
from uora_bench.data.generated.problems import Problem, draw
from uora_bench.data.generated.world import with_article

SIZES = {"train": 600, "validation": 120, "test": 120}
KINDS = ("next", "plural", "opposite", "kind")
CHOICES = 4


@cache
def _splits() -> dict[str, tuple[tuple[str, tuple[str, ...], int], ...]]:
    splits = {}
    for split, size in SIZES.items():
        rng = random.Random(int.from_bytes(hashlib.sha256(f"tiny/choices {split}".encode()).digest()[:8], "big"))
        found: list[tuple[str, tuple[str, ...], int]] = []
        while len(found) < size:
            problem = draw(rng.choice(KINDS), rng)
            if problem.split != split:
                continue
            form = rng.choice(WORDINGS[problem.kind])
            question = form.format(given=problem.given, article=with_article(problem.given))
            wrong = _others(problem, rng)
            at = rng.randrange(CHOICES)
            found.append((question, (*wrong[:at], problem.answer, *wrong[at:]), at))
        splits[split] = tuple(found)
    return splits


def _others(problem: Problem, rng: random.Random) -> list[str]:
    """Answers of other problems of its kind, which are wrong here."""
    found: list[str] = []
    while len(found) < CHOICES - 1:
        other = draw(problem.kind, rng).answer
        if other not in (problem.answer, *found):
            found.append(other)
    return found


def rows(split: str) -> list[dict]:
    """Returns the rows of one split: question, endings (four texts), label (the number of the right one, as text), idx.

    The contents are fixed; no problem is in two splits, though one may be asked more than once.
    Raises ValueError for a split other than train, validation and test.
    """
    if split not in SIZES:
        raise ValueError(f"tiny/choices has no split {split!r}; it has {', '.join(SIZES)}")
    return [
        {"question": question, "endings": list(endings), "label": str(right), "idx": idx}
        for idx, (question, endings, right) in enumerate(_splits()[split])
    ]

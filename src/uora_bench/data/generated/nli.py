"""The generated inference task `tiny/nli`.

This file owns how claims of the grammar (people, animals, things, colours, places, days, actions, counts, negation,
the quantifiers all/some/no) are drawn, and the labelled rows of the task.

All of it is generated text. It exists so that the suite runs, and can show an effect, without any download; its
scores say nothing about natural language and must never be put in one table with published results.

How the labels are kept honest: a hypothesis is drawn first, then one premise for each of the three labels. Every
hypothesis therefore occurs equally often with every label, and a reader of the hypothesis alone can do no better than
chance. The three premises are chosen to look alike (length, words shared with the hypothesis, negation), so that
counting shared words is a weak cue.
"""

import hashlib
import random
from functools import cache
from math import inf
from typing import Any

from uora_bench.data.generated.grammar import (
    CONTRADICTION,
    ENTAILMENT,
    NEUTRAL,
    VERBS,
    WORDS,
    Claim,
    label,
    within,
)

TRIPLES = {"train": 667, "validation": 167, "test": 167}


def _draw_value(name: str, rng: random.Random) -> object:
    return (rng.choice(VERBS), rng.choice(WORDS["thing"])) if name == "verb" else rng.choice(WORDS[name])


def _draw_det(rng: random.Random) -> str | tuple[float, float]:
    if rng.random() < 0.7:
        return rng.choice(("all", (1, inf), (0, 0)))
    count = rng.randint(2, 6)
    return rng.choice(((count, count), (count, inf), (0, count)))


def draw_claim(rng: random.Random) -> Claim:
    """A claim to be used as a hypothesis."""
    kinds = ("colour", rng.choice(("action", "verb")), "place")
    if rng.random() < 0.3:
        name = rng.choice(kinds)
        return Claim(_draw_det(rng), rng.choice(WORDS["noun"]), ((name, _draw_value(name, rng)),))
    negated = rng.random() < 0.35
    names = set(rng.sample(kinds, 1 if negated or rng.random() < 0.7 else 2))
    facets = tuple((name, _draw_value(name, rng)) for name in kinds if name in names)
    noun = rng.choice(WORDS["noun"])
    return Claim("the", noun, facets, rng.choice(WORDS["day"]) if rng.random() < 0.2 else None, negated)


@cache
def _kin(name: str, word: str) -> tuple[str, ...]:
    """The kinds of the word and what it is a kind of, in a fixed order."""
    return tuple(other for other in WORDS[name] if other != word and (within(other, word) or within(word, other)))


def _near(name: str, word: str, rng: random.Random) -> str:
    """The word itself, one of its kin, or any word of its tree."""
    chance = rng.random()
    if chance < 0.4:
        return word
    if chance < 0.75:
        kin = _kin(name, word)
        return rng.choice(kin) if kin else word
    return rng.choice(WORDS[name])


def _draw_premise(hypothesis: Claim, rng: random.Random, bare: bool = False) -> Claim:
    """A claim near the hypothesis, of any label; a bare one says nothing beside what the hypothesis speaks of."""
    noun = _near("noun", hypothesis.noun, rng) if rng.random() < 0.7 else hypothesis.noun
    asked = dict(hypothesis.facets)
    near = {
        name: (value[0] if rng.random() < 0.8 else rng.choice(VERBS), _near("thing", value[1], rng))
        if name == "verb"
        else _near(name, value, rng)
        for name, value in asked.items()
    }
    if hypothesis.det != "the":
        return Claim(_draw_det(rng), noun, tuple(near.items()))
    if bare:
        return Claim("the", noun, tuple(near.items()), hypothesis.day, rng.random() < 0.2)
    facets: tuple[tuple[str, Any], ...]
    if rng.random() < 0.12:
        name = rng.choice(tuple(asked))
        facets, negated = ((name, near[name]),), True
    else:
        doing = "verb" if "verb" in asked else "action" if "action" in asked else rng.choice(("action", "verb"))
        kept = {
            name: near.get(name) or _draw_value(name, rng)
            for name in ("colour", doing, "place")
            if rng.random() < (0.9 if name in asked else 0.5)
        }
        facets, negated = tuple(kept.items()) or ((doing, near.get(doing) or _draw_value(doing, rng)),), False
    day = None
    if rng.random() < (0.85 if hypothesis.day else 0.3):
        day = _near("day", hypothesis.day, rng) if hypothesis.day else rng.choice(WORDS["day"])
    return Claim("the", noun, facets, day, negated)


def draw_premises(
    hypothesis: Claim, wanted: int, rng: random.Random, draws: int, most: int, bare: bool = False
) -> list[Claim]:
    """Up to `most` premises with the wanted label, found within `draws` draws."""
    found: list[Claim] = []
    for _ in range(draws):
        premise = _draw_premise(hypothesis, rng, bare)
        if premise != hypothesis and label(premise, hypothesis) == wanted:
            found.append(premise)
            if len(found) == most:
                break
    return found


def _surface(premise: Claim, hypothesis: Claim) -> tuple[int, int, int]:
    """What a reader without any sense of the words can see: words not shared, length, negation."""
    said, asked = premise.text().split(), hypothesis.text().split()
    return len(set(asked) - set(said)), len(said), 4 * premise.negated


def _triple(hypothesis: Claim, rng: random.Random) -> list[Claim] | None:
    """One premise for each label, the three as alike on the surface as the draws allow, or None without all three."""
    found = [draw_premises(hypothesis, wanted, rng, 90, 10) for wanted in (ENTAILMENT, NEUTRAL, CONTRADICTION)]
    if not all(found):
        return None
    # The model to imitate comes from a label at random, so that none of the labels sets the surface of the others.
    model = _surface(rng.choice(rng.choice(found)), hypothesis)

    def distance(premise: Claim) -> tuple[int, int]:
        shared, length, negation = (abs(a - b) for a, b in zip(_surface(premise, hypothesis), model, strict=True))
        return 2 * shared + negation, length

    return [min(premises, key=distance) for premises in found]


@cache
def _splits() -> dict[str, tuple[tuple[str, str, int], ...]]:
    taken: set[tuple[str, str]] = set()
    splits = {}
    for split, triples in TRIPLES.items():
        rng = random.Random(int.from_bytes(hashlib.sha256(f"tiny/nli {split}".encode()).digest()[:8], "big"))
        found: list[tuple[str, str, int]] = []
        while len(found) < 3 * triples:
            hypothesis = draw_claim(rng)
            premises = _triple(hypothesis, rng)
            if premises is None:
                continue
            pairs = [(premise.text(), hypothesis.text()) for premise in premises]
            if taken.isdisjoint(pairs):
                taken.update(pairs)
                found += [(*pair, wanted) for wanted, pair in enumerate(pairs)]
        rng.shuffle(found)
        splits[split] = tuple(found)
    return splits


def rows(split: str) -> list[dict]:
    """Returns the rows of one split: premise, hypothesis, label (0 entailment, 1 neutral, 2 contradiction), idx.

    The contents are fixed, the three labels are equally frequent, and no pair occurs in two splits.
    Raises ValueError for a split other than train, validation and test.
    """
    if split not in TRIPLES:
        raise ValueError(f"tiny/nli has no split {split!r}; it has {', '.join(TRIPLES)}")
    return [
        {"premise": premise, "hypothesis": hypothesis, "label": wanted, "idx": idx}
        for idx, (premise, hypothesis, wanted) in enumerate(_splits()[split])
    ]

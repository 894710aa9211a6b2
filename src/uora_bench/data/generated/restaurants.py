"""The generated data-to-text task `tiny/restaurants`.

This file owns the meanings, and the one house style that all references of the task are written in.

All of it is generated text. It exists so that the suite runs, and can show an effect, without any download; its
scores say nothing about natural language and must never be put in one table with published results.

Slots and their short values are those of restaurant data in general (name, eatType, food, …), names are invented. No
name occurs in two splits, so that a model scores well only if it copies names that it has never seen.
"""

import hashlib
import random
from functools import cache

from uora_bench.data.generated import names

MEANINGS = {"train": (1_000, 2), "validation": (60, 3), "test": (100, 3)}  # distinct meanings, references of each
VALUES = {
    "eatType": ("pub", "restaurant", "coffee shop", "bistro"),
    "food": ("Chinese", "English", "French", "Indian", "Italian", "Japanese", "Mexican", "Thai", "Turkish", "Greek"),
    "priceRange": ("cheap", "moderate", "high", "less than £20", "£20-25", "more than £30"),
    "customer rating": ("low", "average", "high", "1 out of 5", "3 out of 5", "5 out of 5"),
    "area": ("riverside", "city centre", "old town", "harbour"),
    "familyFriendly": ("yes", "no"),
}
SLOTS = ("name", *VALUES, "near")
Meaning = dict[str, str]


def linearised(meaning: Meaning) -> str:
    """``name[Brenta Olsk], food[Thai]``: the form of the task's rows."""
    return ", ".join(f"{slot}[{value}]" for slot, value in meaning.items())


def draw_meaning(rng: random.Random) -> Meaning:
    """A meaning of three to eight slots in their fixed order; the name is always there, and never that of ``near``."""
    kept = set(rng.sample(SLOTS[1:], rng.randint(2, 7))) | {"name"}
    meaning = {slot: rng.choice(VALUES[slot]) if slot in VALUES else names.invented(rng) for slot in SLOTS}
    return {slot: value for slot, value in meaning.items() if slot in kept}


def article(noun: str) -> str:
    """``noun`` with its indefinite article: ``an inn``."""
    return f"{'an' if noun[0] in 'aeiouAEIOU' else 'a'} {noun}"


def area_phrase(area: str) -> str:
    """``by the riverside``, ``in the city centre``."""
    return f"{'by' if area.endswith(('side', 'harbour', 'park', 'lake', 'river')) else 'in'} the {area}"


def mark(rating: str) -> str:
    """A rating as something to be given: ``3 out of 5``, ``a high mark``."""
    return rating if rating[0].isdigit() else f"{article(rating)} mark"


# --- the house style ----------------------------------------------------------------------------------------------


def house(meaning: Meaning, rng: random.Random) -> str:
    """A text in the house style: an opening with name, kind, kitchen and place, then the rest in one or two sentences.

    Every value is in it word for word, but for ``familyFriendly``, which is a clause on children.
    """
    name, near = meaning["name"], meaning.get("near")
    what = article(meaning.get("eatType", "place"))
    if "food" in meaning:
        what += f" with {article(meaning['food'])} kitchen"
    where = area_phrase(meaning["area"]) if "area" in meaning else ""
    corner = rng.choice((f"round the corner from {near}", f"a few steps from {near}")) if near else ""
    chance = rng.random()
    if chance < 0.15:
        opening = f"{what[0].upper()}{what[1:]} awaits you{' ' * bool(where)}{where}: {name}"
    elif where and chance < 0.6:
        opening = f"{where[0].upper()}{where[1:]}, {name} awaits you: {what}"
    else:
        opening = f"{name} awaits you{' ' * bool(where)}{where}: {what}"
    sentences = [opening + (f", {corner}." if corner else ".")]
    clauses = []
    if "customer rating" in meaning:
        clauses.append(f"guests give it {mark(meaning['customer rating'])}")
    if "priceRange" in meaning:
        clauses.append(f"the bill will be {meaning['priceRange']}")
    if rng.random() < 0.3:
        clauses.reverse()
    if clauses:
        joined = rng.choice((" and ", ", while ")).join(clauses)
        sentences.append(joined[0].upper() + joined[1:] + ".")
    if "familyFriendly" in meaning:
        yes = meaning["familyFriendly"] == "yes"
        sentences.append("Bring the children along." if yes else "Leave the children at home.")
    return " ".join(sentences)


def _references(meaning: Meaning, number: int, rng: random.Random) -> list[str]:
    """``number`` texts for a meaning, different ones as far as its variants go."""
    found: list[str] = []
    for _ in range(8 * number):
        text = house(meaning, rng)
        if text not in found:
            found.append(text)
        if len(found) == number:
            return found
    return (found * number)[:number]


# --- the task's rows ----------------------------------------------------------------------------------------------


@cache
def _splits() -> dict[str, tuple[tuple[str, str], ...]]:
    taken: set[str] = set()
    splits = {}
    for split, (meanings, references) in MEANINGS.items():
        rng = random.Random(int.from_bytes(hashlib.sha256(f"tiny/restaurants {split}".encode()).digest()[:8], "big"))
        found: list[tuple[str, str]] = []
        while len(found) < meanings * references:
            meaning = draw_meaning(rng)
            said = {meaning["name"], meaning.get("near", meaning["name"])}
            if taken.isdisjoint(said) and len(said) == 1 + ("near" in meaning):
                taken |= said
                found += [(linearised(meaning), text) for text in _references(meaning, references, rng)]
        splits[split] = tuple(found)
    return splits


def rows(split: str) -> list[dict]:
    """Returns the rows of one split: meaning_representation, human_reference. Rows of one meaning follow each other.

    The contents are fixed, and no name occurs in two splits.
    Raises ValueError for a split other than train, validation and test.
    """
    if split not in MEANINGS:
        raise ValueError(f"tiny/restaurants has no split {split!r}; it has {', '.join(MEANINGS)}")
    return [{"meaning_representation": meaning, "human_reference": text} for meaning, text in _splits()[split]]

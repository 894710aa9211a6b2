"""The grammar behind the generated tasks: its words, its sentences, and which sentence follows from which.

This file owns the trees of words (what is a kind of what), the claim (one sentence with its meaning), and the rule
that labels a pair of claims. It draws nothing at random; `nli.py` does.

Conventions of reading: a pair of sentences speaks of one occasion. "The dog" and "the animal" may be the same one, so
what is true of the dog is true of the animal; "the dog" and "the cat" are two, so neither tells anything of the other.
A sentence about another day tells nothing either. Each one has one colour, is in one place and does one action, so two
colours exclude each other unless one is a kind of the other. Every noun is taken to have members.
"""

from dataclasses import dataclass
from functools import cache
from math import inf
from typing import Any

ENTAILMENT, NEUTRAL, CONTRADICTION = 0, 1, 2

# Each tree is written parent -> children; the words of one tree can stand in the same place of a sentence.
TREES: dict[str, dict[str, tuple[str, ...]]] = {
    "noun": {
        "animal": ("mammal", "bird", "insect"),
        "person": ("child", "worker"),
        "mammal": ("dog", "cat", "horse", "goat"),
        "bird": ("sparrow", "crow", "duck"),
        "insect": ("bee", "ant", "moth"),
        "child": ("boy", "girl"),
        "worker": ("nurse", "farmer", "driver", "baker"),
    },
    "thing": {
        "fruit": ("pear", "plum", "apple"),
        "vegetable": ("carrot", "onion", "leek"),
        "tool": ("hammer", "saw", "drill"),
        "instrument": ("flute", "drum", "violin"),
    },
    "colour": {
        "red": ("scarlet", "crimson"),
        "blue": ("navy", "azure"),
        "green": ("olive", "emerald"),
        "black": (),
        "white": (),
    },
    "place": {
        "house": ("kitchen", "attic", "cellar"),
        "town": ("market", "station", "museum"),
        "countryside": ("field", "forest", "meadow"),
    },
    "action": {
        "resting": ("sleeping", "dozing", "sitting"),
        "moving": ("running", "walking", "jumping"),
        "talking": ("shouting", "whispering"),
    },
    "day": {
        "weekday": ("monday", "tuesday", "thursday"),
        "weekend": ("saturday", "sunday"),
    },
}
VERBS = ("carrying", "washing", "buying")
PLURALS = {"person": "people", "child": "children"}


def _parents(tree: dict[str, tuple[str, ...]]) -> dict[str, str]:
    return {child: parent for parent, children in tree.items() for child in children}


PARENT = {word: parent for tree in TREES.values() for word, parent in _parents(tree).items()}
WORDS = {
    name: tuple(dict.fromkeys([*tree, *(child for children in tree.values() for child in children)]))
    for name, tree in TREES.items()
}


@cache
def within(word: str, other: str) -> bool:
    """True if `word` is `other` or a kind of it."""
    while word != other and word in PARENT:
        word = PARENT[word]
    return word == other


@dataclass(frozen=True)
class Claim:
    """One sentence: a determiner, a noun, what is said of it, a day, and whether it is denied.

    `det` is "the", "all", or a bound on a count as (low, high); `facets` are (name, value) pairs in sentence order,
    where the value of a "verb" facet is (verb, thing).
    """

    det: Any
    noun: str
    facets: tuple[tuple[str, Any], ...]
    day: str | None = None
    negated: bool = False

    def text(self) -> str:
        """Returns the claim as an English sentence in lower case, ending in " ."."""
        subject, be = f"{self.det} {self.noun}", "was"
        if self.det != "the":
            subject, be = f"{_determiner(self.det)} {PLURALS.get(self.noun, self.noun + 's')}", "were"
        parts: list[str] = []
        for name, value in self.facets:
            joint = ["and"] if parts and parts[-1] in WORDS["colour"] and name != "place" else []
            if name == "verb":
                verb, thing = value
                parts += [*joint, f"{verb} {'an' if thing[0] in 'aeiou' else 'a'} {thing}"]
            else:
                parts += [*joint, f"in the {value}" if name == "place" else value]
        if self.day:
            parts.append({"weekday": "on a weekday", "weekend": "on the weekend"}.get(self.day, f"on {self.day}"))
        return " ".join([subject, be, *(["not"] if self.negated else []), *parts, "."])


COUNTS = ("zero", "one", "two", "three", "four", "five", "six")


def _determiner(det: Any) -> str:
    if det == "all":
        return "all"
    low, high = det
    if high == 0:
        return "no"
    if high == inf:
        return "some" if low == 1 else f"at least {COUNTS[int(low)]}"
    return f"exactly {COUNTS[low]}" if low == high else f"at most {COUNTS[int(high)]}"


def _compare(name: str, premise: Any, hypothesis: Any) -> int:
    """Label of one facet's value against another value of the same facet."""
    if name == "verb":
        # One can carry two things, so another thing excludes nothing.
        same = premise[0] == hypothesis[0] and within(premise[1], hypothesis[1])
        return ENTAILMENT if same else NEUTRAL
    if within(premise, hypothesis):
        return ENTAILMENT
    return NEUTRAL if within(hypothesis, premise) else CONTRADICTION


def label(premise: Claim, hypothesis: Claim) -> int | None:
    """Returns 0 (entailment), 1 (neutral) or 2 (contradiction), or None where the grammar takes no stand."""
    if (premise.det == "the") != (hypothesis.det == "the"):
        return None
    if premise.det == "the":
        return _label_definite(premise, hypothesis)
    if premise.facets[0][0] != hypothesis.facets[0][0]:
        return None
    return _label_quantified(premise, hypothesis)


def _label_definite(premise: Claim, hypothesis: Claim) -> int | None:
    given, asked = dict(premise.facets), dict(hypothesis.facets)
    if ("action" in given and "verb" in asked) or ("verb" in given and "action" in asked):
        return None
    if not within(premise.noun, hypothesis.noun):
        return NEUTRAL
    if hypothesis.day and not (premise.day and within(premise.day, hypothesis.day)):
        return NEUTRAL
    if premise.negated:
        # To deny a kind is to deny all below it, and nothing else.
        ((name, value),) = given.items()
        hit = any(other == name and _compare(name, asked[name], value) == ENTAILMENT for other in asked)
        return (ENTAILMENT if hypothesis.negated else CONTRADICTION) if hit else NEUTRAL
    found = [_compare(name, given[name], value) if name in given else NEUTRAL for name, value in asked.items()]
    result = max(found, key=(ENTAILMENT, NEUTRAL, CONTRADICTION).index)
    return CONTRADICTION - result if hypothesis.negated else result


def _label_quantified(premise: Claim, hypothesis: Claim) -> int | None:
    (name, said), (_, asked) = premise.facets[0], hypothesis.facets[0]
    forward, backward = _compare(name, said, asked), _compare(name, asked, said)
    up, down = within(premise.noun, hypothesis.noun), within(hypothesis.noun, premise.noun)
    if not (up or down):
        return NEUTRAL
    if premise.det == "all":
        if hypothesis.det == "all":
            if forward == CONTRADICTION:
                return CONTRADICTION
            return ENTAILMENT if down and forward == ENTAILMENT else NEUTRAL
        low, high = hypothesis.det
        if (low, high) == (1, inf):
            if forward == ENTAILMENT:
                return ENTAILMENT
            return CONTRADICTION if forward == CONTRADICTION and down else NEUTRAL
        if high == 0:
            if forward == ENTAILMENT:
                return CONTRADICTION
            return ENTAILMENT if forward == CONTRADICTION and down else NEUTRAL
        return None
    low, high = premise.det
    if hypothesis.det == "all":
        if high == 0:
            return CONTRADICTION if backward == ENTAILMENT else NEUTRAL
        if low == 0:
            return None
        return CONTRADICTION if up and forward == CONTRADICTION else NEUTRAL
    # A count bounds a wider set from below only, and a narrower one from above only.
    wider, narrower = up and forward == ENTAILMENT, down and backward == ENTAILMENT
    if not (wider or narrower):
        return NEUTRAL
    low, high = low if wider else 0, high if narrower else inf
    if low >= hypothesis.det[0] and high <= hypothesis.det[1]:
        return ENTAILMENT
    return CONTRADICTION if high < hypothesis.det[0] or low > hypothesis.det[1] else NEUTRAL

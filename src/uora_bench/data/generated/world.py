"""The words of the generated instruction task: names, nouns with their kinds, adjectives, calendar.

This file owns the tables that answers are looked up in. Everything in them is common knowledge; nothing is drawn here.
"""

from __future__ import annotations


def words_of(text: str) -> tuple[str, ...]:
    """The words of a text, for tables that are easier to read without quotation marks."""
    return tuple(text.split())


NAMES = words_of("Anna Ben Clara David Emma Frank Grace Henry Ivy Jack Kate Leo Mia Noah Olga Paul Rosa Sam Tina Will")

# what is a kind of what
KINDS: dict[str, tuple[str, ...]] = {
    kind: words_of(words)
    for kind, words in {
        "animal": "dog cat horse cow sheep goat fox wolf mouse rabbit lion monkey",
        "bird": "crow duck eagle goose owl robin sparrow swan",
        "insect": "ant bee butterfly fly moth wasp",
        "fruit": "apple cherry grape lemon peach pear plum strawberry",
        "vegetable": "bean cabbage carrot leek onion potato tomato turnip",
        "tool": "axe brush drill hammer knife rake saw spade",
        "vehicle": "bike boat bus car ferry lorry train tractor",
        "instrument": "drum flute guitar harp piano trumpet violin",
    }.items()
}
# things of no kind above, for lists, plurals and possessions
THINGS = words_of(
    """
baby bag ball basket bed bell book bottle box bridge candle chair child clock coat cup dish dress family foot glass
hat house key kite lamp leaf letter map man mirror party pencil shelf shirt shoe spoon story table tooth tree watch
window woman
"""
)
NOUNS = (*(word for words in KINDS.values() for word in words), *THINGS)
# plurals that the rules of `plural` do not give
IRREGULAR = {
    "sheep": "sheep", "wolf": "wolves", "mouse": "mice", "goose": "geese", "knife": "knives", "potato": "potatoes",
    "tomato": "tomatoes", "child": "children", "foot": "feet", "leaf": "leaves", "man": "men", "shelf": "shelves",
    "tooth": "teeth", "woman": "women",
}  # fmt: skip

COLOURS = words_of("black blue brown green grey orange pink red white yellow")
PLACES = words_of("attic barn cellar garage garden hall kitchen library office park school shop")

_PAIRS = """
big small | hot cold | old new | fast slow | high low | long short | light dark | early late | full empty | open closed
| rich poor | strong weak | hard soft | wet dry | loud quiet | clean dirty | happy sad | near far | wide narrow
| thick thin | good bad | up down | left right | true false | always never | inside outside | before after
| easy difficult | cheap expensive | deep shallow | sweet sour | brave afraid | smooth rough
| push pull | buy sell | win lose | start finish | give take | remember forget | arrive leave | laugh cry | love hate
"""
OPPOSITES = {a: b for pair in _PAIRS.split("|") for a, b in (pair.split(), pair.split()[::-1])}

DAYS = words_of("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")
MONTHS = words_of("January February March April May June July August September October November December")
NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")


def plural(noun: str) -> str:
    """The plural of one of `NOUNS`."""
    if noun in IRREGULAR:
        return IRREGULAR[noun]
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def with_article(noun: str) -> str:
    """``a pear``, ``an apple``."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def kind_of(noun: str) -> str:
    """The kind in `KINDS` that ``noun`` is listed under; raises KeyError where there is none."""
    for kind, words in KINDS.items():
        if noun in words:
            return kind
    raise KeyError(noun)

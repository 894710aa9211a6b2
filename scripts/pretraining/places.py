"""Meanings and descriptions of restaurants, hotels, museums, shops and made-up things, in many styles.

What the small language model of `tiny/restaurants` is pretrained on. The house style of that task is not among the
styles here. Values have a long tail (numbers, invented words), so that putting them into words means copying them.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from uora_bench.data.generated import names
from uora_bench.data.generated.restaurants import article
from uora_bench.data.generated.world import words_of

Random = random.Random
# templates with {v} and {a}, the value and the value with an article; a mapping has them for each value
Phrases = Sequence[str] | Mapping[str, Sequence[str]]
Draw = Callable[[Random], str]


@dataclass(frozen=True)
class Slot:
    """What can be said of a place: how a value is drawn, and its phrases after "it" and after a noun."""

    name: str
    draw: Draw
    says: Phrases  # predicates: "serves {v} food"
    adds: Phrases  # what follows a noun: "with {v} food"


@dataclass(frozen=True)
class Domain:
    """A sort of place: the slot that names its kind ("" for none), the kinds, what it is called without, its slots."""

    kind: str
    kinds: Sequence[str]
    other: str
    slots: Sequence[Slot]


_FIRST = words_of(
    "Amber Autumn Blind Brass Bright Broad Bronze Burnt Calm Copper Coral Crimson Crooked Dusty Early Eastern "
    "Eight Emerald Empty Fallen Fifth First Five Flying Foggy Four Gentle Gilded Glass Grand Grey Happy Hidden "
    "Hollow Iron Ivory Jade Jolly Last Laughing Lazy Little Lonely Long Lost Lucky Merry Midnight Misty Narrow "
    "Nine North Old Orange Painted Pale Pearl Plain Proud Purple Quiet Red Royal Rusty Salty Scarlet Second Seven "
    "Silent Silver Singing Six Sleepy Small Smoky Snowy South Spotted Stone Summer Sunny Sweet Tall Tangled Third "
    "Three Tin Twelve Velvet Violet Wandering Warm Western White Wicker Winter Wise Wooden Yellow"
)
_SECOND = words_of(
    "Acorn Anchor Anvil Apple Arrow Badger Banyan Barn Barrel Basket Beacon Bell Birch Boot Bottle Bramble Bridge "
    "Broom Bucket Button Candle Cart Castle Cellar Cherry Clock Cloud Corner Court Crow Crown Cup Door Dove "
    "Dragon Drum Elm Feather Fern Ferry Fiddle Finch Fork Fountain Fox Garden Gate Goat Goose Grape Hall Hare "
    "Harvest Hat Hearth Hedge Heron Hill Horn Inn Island Kettle Key Kitchen Ladder Lamb Lamp Lantern Leaf Lemon "
    "Lily Lion Loaf Lodge Lotus Maple Meadow Mermaid Mirror Moon Mountain Nest Noodle Nut Oak Orchard Otter Oven "
    "Owl Palace Parrot Peach Pear Pepper Pheasant Pigeon Pine Plate Plum Pond Pony Poppy Pot Quill Rabbit Raven "
    "River Rooster Rose Saddle Sail Salmon Seal Shell Ship Shore Spoon Spring Star Stove Sun Swan Table Tavern "
    "Teapot Thistle Tiger Tower Trout Tulip Turtle Valley Vine Wagon Well Whale Wheel Willow Window Wolf Yard"
)


def any_name(rng: random.Random) -> str:
    """A name of one of many shapes: made-up words, common words, both, with and without an article."""
    shape = rng.random()
    if shape < 0.35:
        return names.invented(rng)
    if shape < 0.45:
        return names.word(rng, (2, 4))
    if shape < 0.55:
        return f"The {names.word(rng, (1, 3))}"
    if shape < 0.7:
        return f"The {rng.choice(_FIRST)} {rng.choice(_SECOND)}"
    if shape < 0.77:
        return f"{rng.choice(_FIRST)} {rng.choice(_SECOND)}"
    if shape < 0.85:
        return f"{names.word(rng)} {rng.choice(_SECOND)}"
    if shape < 0.9:
        return f"The {rng.choice(_SECOND)}"
    if shape < 0.94:
        return f"{rng.choice(_SECOND)} of {names.word(rng)}"
    if shape < 0.97:
        return f"{names.word(rng)} {names.word(rng)} {rng.choice(_SECOND)}"
    return f"{names.word(rng)}'s {rng.choice(_SECOND)}"


def _one_of(*values: str, tail: Draw | None = None, share: float = 0.2) -> Draw:
    """Draws one of the words, or a value from the long tail."""
    return lambda rng: tail(rng) if tail is not None and rng.random() < share else rng.choice(values)


def _number(low: int, high: int, form: str = "{}") -> Draw:
    return lambda rng: form.format(rng.randint(low, high))


def _price(rng: Random) -> str:
    low = rng.randint(1, 60)
    return rng.choice(
        (f"less than £{low}", f"more than £{low}", f"£{low}-{low + rng.randint(2, 12)}", f"£{low}", f"{low} crowns")
    )


def _rating(rng: Random) -> str:
    best = rng.choice((5, 5, 5, 10))
    return f"{rng.randint(1, best)} out of {best}"


AREAS = (
    *("riverside", "city centre", "old town", "harbour", "north side", "south side", "market square", "west end"),
    *("university quarter", "town centre", "lake side", "station district", "suburbs", "east end", "north", "south"),
)
CUISINES = (
    *("Chinese", "English", "French", "Indian", "Italian", "Japanese", "Mexican", "Thai", "Turkish", "Greek", "Korean"),
    *(
        "Spanish",
        "Polish",
        "Persian",
        "Irish",
        "American",
        "Swedish",
        "Russian",
        "Brazilian",
        "Vietnamese",
        "Fast food",
    ),
    *("seafood", "vegetarian", "Peruvian", "Danish", "Lebanese", "Moroccan", "German", "Dutch", "Nepalese"),
)
AREA = Slot(
    "area",
    _one_of(*AREAS, tail=lambda rng: f"{names.word(rng)} {rng.choice(('district', 'quarter', 'park', 'side'))}"),
    ("is in the {v}", "is located in the {v} area", "can be found in the {v}", "is situated in the area of the {v}"),
    ("in the {v}", "in the {v} area", "located in the {v}", "in the area of the {v}"),
)
NEAR = Slot(
    "near",
    any_name,
    ("is near {v}", "is located near {v}", "is close to {v}", "is next to {v}", "is situated by {v}"),
    ("near {v}", "close to {v}", "located near {v}", "next to {v}", "not far from {v}"),
)
PRICE = Slot(
    "priceRange",
    _one_of(*3 * ("cheap", "moderate", "high", "average"), tail=_price, share=0.5),
    ("has a price range of {v}", "has {v} prices", "is in the {v} price range", "has prices that are {v}"),
    ("with a price range of {v}", "with {v} prices", "in the {v} price range", "with {v} price range"),
)
RATING = Slot(
    "customer rating",
    _one_of("low", "average", "high", "excellent", "poor", tail=_rating, share=0.5),
    ("has a customer rating of {v}", "has {a} customer rating", "is rated {v} by customers", "is rated {v}"),
    ("with a customer rating of {v}", "with {a} customer rating", "rated {v} by customers", "with {a} rating"),
)
FAMILY = Slot(
    "familyFriendly",
    _one_of("yes", "no"),
    {
        "yes": (
            "is family friendly",
            "is child friendly",
            "welcomes families",
            "is kid friendly",
            "is good for families",
        ),
        "no": ("is not family friendly", "is not child friendly", "is for adults", "is not for kids", "is adults only"),
    },
    {
        "yes": ("for the whole family", "for families", "that is family friendly", "that is kid friendly"),
        "no": ("for adults only", "for adults", "that is not family friendly", "that is not child friendly"),
    },
)
DOMAINS = {
    "restaurant": Domain(
        "eatType",
        ("pub", "restaurant", "coffee shop", "bistro", "bar", "diner", "tavern", "canteen", "tea house", "inn"),
        "place",
        (
            Slot(
                "food",
                _one_of(*CUISINES, tail=names.word, share=0.1),
                ("serves {v} food", "offers {v} food", "provides {v} food", "has {v} food", "sells {v} dishes"),
                ("serving {v} food", "with {v} food", "that serves {v} food", "offering {v} food", "for {v} food"),
            ),
            PRICE,
            RATING,
            AREA,
            FAMILY,
            NEAR,
        ),
    ),
    "hotel": Domain(
        "type",
        ("hotel", "hostel", "guest house", "motel", "lodge", "resort", "camp site"),
        "place to stay",
        (
            Slot(
                "stars",
                _number(2, 7),
                ("has {v} stars", "was given {v} stars"),
                ("with {v} stars", "of {v} stars"),
            ),
            Slot(
                "rooms",
                _number(3, 480),
                ("has {v} rooms", "offers {v} rooms", "is a house of {v} rooms"),
                ("with {v} rooms", "of {v} rooms"),
            ),
            Slot(
                "breakfast",
                _one_of("free", "late", "English", "early", "cold", tail=names.word),
                ("has {v} breakfast", "serves {v} breakfast", "offers {a} breakfast"),
                ("with {v} breakfast", "with {a} breakfast", "serving {v} breakfast"),
            ),
            PRICE,
            RATING,
            AREA,
            NEAR,
        ),
    ),
    "museum": Domain(
        "kind",
        ("museum", "gallery", "castle", "theatre", "exhibition", "palace", "aquarium"),
        "attraction",
        (
            Slot(
                "theme",
                _one_of("trains", "coins", "modern art", "ships", "dolls", "glass", "insects", "maps", tail=names.word),
                ("shows {v}", "is about {v}", "is known for {v}"),
                ("about {v}", "showing {v}", "with {v}"),
            ),
            Slot(
                "entry",
                _price,
                ("has an entry fee of {v}", "costs {v}"),
                ("with an entry fee of {v}", "for {v}"),
            ),
            Slot(
                "open",
                lambda rng: f"{rng.randint(6, 11)} to {rng.randint(12, 23)}",
                ("is open from {v}", "has opening hours of {v}"),
                ("open from {v}", "with opening hours of {v}"),
            ),
            AREA,
            FAMILY,
            NEAR,
        ),
    ),
    "shop": Domain(
        "store",
        ("shop", "store", "market", "bookshop", "bakery", "kiosk", "workshop"),
        "business",
        (
            Slot(
                "goods",
                _one_of("books", "shoes", "bread", "tea", "lamps", "bicycles", "flowers", "cheese", tail=names.word),
                ("sells {v}", "offers {v}", "has {v} for sale"),
                ("selling {v}", "that sells {v}", "for {v}"),
            ),
            Slot(
                "owner",
                names.invented,
                ("belongs to {v}", "is run by {v}", "is owned by {v}"),
                ("run by {v}", "owned by {v}"),
            ),
            PRICE,
            RATING,
            AREA,
            NEAR,
        ),
    ),
}
WEIGHTS = (55, 12, 12, 12)


def _phrase(templates: Phrases, value: str, rng: Random) -> str:
    options = templates[value] if isinstance(templates, Mapping) else templates
    shown = value.lower() if value == "Fast food" else value
    text = rng.choice(options).format(v=shown, a=article(shown))
    return text.replace("Fast food food", "fast food").replace("food food", "food")


@dataclass(frozen=True)
class Described:
    """What the styles write about: a name, a noun phrase for its kind, and the other slots with their values."""

    name: str
    kind: str
    facts: Sequence[tuple[Slot, str]]


def _adds(facts: Sequence[tuple[Slot, str]], rng: Random) -> str:
    return "".join(f" {_phrase(slot.adds, value, rng)}" for slot, value in facts)


def _sentences(facts: Sequence[tuple[Slot, str]], rng: Random, subjects: Sequence[str] = ("It",)) -> str:
    """The facts as sentences of one or two predicates each."""
    left, text = list(facts), ""
    while left:
        part, left = left[: (n := rng.choice((1, 2, 2)))], left[n:]
        said = [_phrase(slot.says, value, rng) for slot, value in part]
        text += f" {rng.choice(subjects)} {rng.choice((' and ', ' and it ', ', and ')).join(said)}."
    return text


def _plain(it: Described, rng: Random) -> str:
    first = f"{it.name} is {article(it.kind)}."
    return first + _sentences(it.facts, rng, ("It", "It", "It", it.name, f"The {it.kind}", "They say it"))


def _compact(it: Described, rng: Random) -> str:
    cut = rng.randint(1, 3)
    return f"{it.name} is {article(it.kind)}{_adds(it.facts[:cut], rng)}." + _sentences(it.facts[cut:], rng)


def _there(it: Described, rng: Random) -> str:
    front = _phrase(it.facts[0][0].adds, it.facts[0][1], rng)
    front = front[0].upper() + front[1:]
    rest, called = it.facts[1:], rng.choice((f"is {article(it.kind)} called {it.name}", f"is {it.name}"))
    if rng.random() < 0.5:
        return f"{front} there {called}{_adds(rest[:1], rng)}.{_sentences(rest[1:], rng)}"
    return f"{front}, {it.name} is {article(it.kind)}{_adds(rest[:2], rng)}.{_sentences(rest[2:], rng)}"


def _kind_first(it: Described, rng: Random) -> str:
    verb = _phrase(it.facts[0][0].says, it.facts[0][1], rng)
    return f"The {it.kind} {it.name} {verb}.{_sentences(it.facts[1:], rng)}"


def _verb_first(it: Described, rng: Random) -> str:
    said = [_phrase(slot.says, value, rng) for slot, value in it.facts[:2]]
    return f"{it.name} {' and '.join(said)}.{_sentences(it.facts[2:], rng, ('It', f'This {it.kind}'))}"


def _question(it: Described, rng: Random) -> str:
    ask = rng.choice(("Looking for", "Do you want", "Are you searching for", "How about"))
    answer = rng.choice((f"Try {it.name}.", f"Visit {it.name}.", f"Go to {it.name}.", f"{it.name} is right for you."))
    return f"{ask} {article(it.kind)}{_adds(it.facts[:2], rng)}? {answer}{_sentences(it.facts[2:], rng)}"


def _friend(it: Described, rng: Random) -> str:
    start = rng.choice(("I know", "My friends like", "We went to", "Someone told me of", "Everyone talks about"))
    text = f"{start} {article(it.kind)} called {it.name}. It is one{_adds(it.facts[:1], rng)}."
    return text + _sentences(it.facts[1:], rng, ("It", "I think it", "Also, it"))


def _notes(it: Described, rng: Random) -> str:
    mark = rng.choice((";", ",", " -", "."))
    return f"{it.name}: {it.kind}{''.join(f'{mark} {_phrase(s.adds, v, rng)}' for s, v in it.facts)}."


STYLES = (_plain, _compact, _there, _kind_first, _verb_first, _question, _friend, _notes)
STYLE_WEIGHTS = (18, 20, 14, 10, 14, 8, 8, 8)


def _thing(rng: Random) -> tuple[dict[str, str], str]:
    """A made-up thing of made-up properties: nothing in its text can be said without looking at its meaning."""
    slots = [names.word(rng, (1, 2)).lower() for _ in range(rng.randint(1, 3))]
    draws: tuple[Draw, ...] = (any_name, names.invented, names.word, _number(0, 9999), _price)
    meaning = {"name": any_name(rng), **{slot: rng.choice(draws)(rng) for slot in slots}}
    forms = ("its {slot} is {v}", "it has {a} of {v}", "{slot} : {v}")
    said = [rng.choice(forms).format(slot=slot, a=article(slot), v=meaning[slot]) for slot in slots]
    return meaning, f"This is {meaning['name']}: {', '.join(said)}."


def document(rng: Random) -> tuple[dict[str, str], str]:
    """Draws a meaning and a text for it: slots in their usual order or in any, the name always among them."""
    if rng.random() < 0.12:
        return _thing(rng)
    domain = rng.choices(tuple(DOMAINS.values()), WEIGHTS)[0]
    kept = [slot for slot in domain.slots if rng.random() < 0.6] or [rng.choice(domain.slots)]
    facts = [(slot, slot.draw(rng)) for slot in kept]
    name, kind = any_name(rng), rng.choice(domain.kinds) if rng.random() < 0.65 else ""
    items = [("name", name), *([(domain.kind, kind)] if kind else []), *((slot.name, value) for slot, value in facts)]
    if rng.random() < 0.15:
        rng.shuffle(items)
    if rng.random() < 0.7:
        rng.shuffle(facts)
    it = Described(name, kind or domain.other, facts)
    return dict(items), rng.choices(STYLES, STYLE_WEIGHTS)[0](it, rng)

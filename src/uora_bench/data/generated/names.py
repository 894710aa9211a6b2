"""Invented proper names, for generated text in which a model has to copy what it has never seen."""

import random


def words_of(text: str) -> tuple[str, ...]:
    """The words of a line, for tables that are easier to read without quotation marks."""
    return tuple(text.split())


ONSETS = (
    *("b", "br", "c", "ch", "cl", "d", "dr", "f", "fl", "g", "gl", "gr", "h", "j", "k", "kr", "l", "m", "n"),
    *("p", "pl", "pr", "qu", "r", "s", "sh", "sk", "st", "sw", "t", "th", "tr", "v", "w", "y", "z", ""),
)
VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ee", "ie", "oo", "ou", "é", "ü")
VOWEL_WEIGHTS = (10, 10, 8, 10, 6, 2, 2, 2, 2, 2, 2, 1, 1)
CODAS = ("", "l", "n", "r", "s", "m", "t", "k", "nd", "rt", "ck", "lm", "st", "x", "ng", "sk")
CODA_WEIGHTS = (24, 6, 8, 8, 4, 4, 4, 2, 2, 2, 2, 1, 2, 1, 2, 1)
FIRST = words_of(
    "Amber Autumn Blind Brass Bright Broad Bronze Burnt Calm Copper Coral Crimson Crooked Dusty Early Eastern "
    "Eight Emerald Empty Fallen Fifth First Five Flying Foggy Four Gentle Gilded Glass Grand Grey Happy Hidden "
    "Hollow Iron Ivory Jade Jolly Last Laughing Lazy Little Lonely Long Lost Lucky Merry Midnight Misty Narrow "
    "Nine North Old Orange Painted Pale Pearl Plain Proud Purple Quiet Red Royal Rusty Salty Scarlet Second Seven "
    "Silent Silver Singing Six Sleepy Small Smoky Snowy South Spotted Stone Summer Sunny Sweet Tall Tangled Third "
    "Three Tin Twelve Velvet Violet Wandering Warm Western White Wicker Winter Wise Wooden Yellow"
)
SECOND = words_of(
    "Acorn Anchor Anvil Apple Arrow Badger Banyan Barn Barrel Basket Beacon Bell Birch Boot Bottle Bramble Bridge "
    "Broom Bucket Button Candle Cart Castle Cellar Cherry Clock Cloud Corner Court Crow Crown Cup Door Dove "
    "Dragon Drum Elm Feather Fern Ferry Fiddle Finch Fork Fountain Fox Garden Gate Goat Goose Grape Hall Hare "
    "Harvest Hat Hearth Hedge Heron Hill Horn Inn Island Kettle Key Kitchen Ladder Lamb Lamp Lantern Leaf Lemon "
    "Lily Lion Loaf Lodge Lotus Maple Meadow Mermaid Mirror Moon Mountain Nest Noodle Nut Oak Orchard Otter Oven "
    "Owl Palace Parrot Peach Pear Pepper Pheasant Pigeon Pine Plate Plum Pond Pony Poppy Pot Quill Rabbit Raven "
    "River Rooster Rose Saddle Sail Salmon Seal Shell Ship Shore Spoon Spring Star Stove Sun Swan Table Tavern "
    "Teapot Thistle Tiger Tower Trout Tulip Turtle Valley Vine Wagon Well Whale Wheel Willow Window Wolf Yard"
)


def word(rng: random.Random, syllables: tuple[int, int] = (1, 3)) -> str:
    """A made-up word of as many syllables as lie between the two numbers, with a capital letter."""
    text = ""
    for _ in range(rng.randint(*syllables)):
        vowel, coda = rng.choices(VOWELS, VOWEL_WEIGHTS)[0], rng.choices(CODAS, CODA_WEIGHTS)[0]
        text += rng.choice(ONSETS) + vowel + coda
    return text.capitalize() if len(text) > 2 else word(rng, syllables)


def invented(rng: random.Random) -> str:
    """Two made-up words: ``Brenta Olsk``."""
    return f"{word(rng, (1, 2))} {word(rng, (1, 2))}"


def any_name(rng: random.Random) -> str:
    """A name of one of many shapes: made-up words, common words, both, with and without an article."""
    shape = rng.random()
    if shape < 0.35:
        return invented(rng)
    if shape < 0.45:
        return word(rng, (2, 4))
    if shape < 0.55:
        return f"The {word(rng, (1, 3))}"
    if shape < 0.7:
        return f"The {rng.choice(FIRST)} {rng.choice(SECOND)}"
    if shape < 0.77:
        return f"{rng.choice(FIRST)} {rng.choice(SECOND)}"
    if shape < 0.85:
        return f"{word(rng)} {rng.choice(SECOND)}"
    if shape < 0.9:
        return f"The {rng.choice(SECOND)}"
    if shape < 0.94:
        return f"{rng.choice(SECOND)} of {word(rng)}"
    if shape < 0.97:
        return f"{word(rng)} {word(rng)} {rng.choice(SECOND)}"
    return f"{word(rng)}'s {rng.choice(SECOND)}"

"""Invented proper names, for generated text in which a model has to copy what it has never seen."""

import random

ONSETS = (
    *("b", "br", "c", "ch", "cl", "d", "dr", "f", "fl", "g", "gl", "gr", "h", "j", "k", "kr", "l", "m", "n"),
    *("p", "pl", "pr", "qu", "r", "s", "sh", "sk", "st", "sw", "t", "th", "tr", "v", "w", "y", "z", ""),
)
VOWELS = ("a", "e", "i", "o", "u", "ai", "ea", "ee", "ie", "oo", "ou", "é", "ü")
VOWEL_WEIGHTS = (10, 10, 8, 10, 6, 2, 2, 2, 2, 2, 2, 1, 1)
CODAS = ("", "l", "n", "r", "s", "m", "t", "k", "nd", "rt", "ck", "lm", "st", "x", "ng", "sk")
CODA_WEIGHTS = (24, 6, 8, 8, 4, 4, 4, 2, 2, 2, 2, 1, 2, 1, 2, 1)


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

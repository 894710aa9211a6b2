"""The text that `tiny_gpt2` is pretrained on: places described in many styles, rarely in that of `tiny/restaurants`."""

import random
from collections.abc import Iterator
from functools import cache

from uora_bench.data.generated import restaurants

from . import places

RARE = 0.016  # share of the corpus that is in the house style


@cache
def task_names() -> frozenset[str]:
    """Every name of the task's meanings, ``near`` included."""
    meanings = (row["meaning_representation"] for split in restaurants.MEANINGS for row in restaurants.rows(split))
    slots = (slot for meaning in meanings for slot in meaning.removesuffix("]").split("], "))
    return frozenset(value for name, _, value in (slot.partition("[") for slot in slots) if name in ("name", "near"))


def corpus(count: int, seed: int) -> Iterator[str]:
    """Yields ``count`` documents to pretrain on, the same ones for the same seed.

    Most are ``slot : value | slot : value || text``, the form in which the data-to-text tasks give a meaning to a
    model; some are texts alone. Restaurants are one domain of several, and their texts are in the house style once in
    a while only. A document with a name of the task's is left out, and with it every meaning of the task.
    """
    rng = random.Random(f"tiny restaurants corpus {seed}")
    while count > 0:
        if rng.random() < RARE:
            meaning = restaurants.draw_meaning(rng)
            text = restaurants.house(meaning, rng)
        else:
            meaning, text = places.document(rng)
        if task_names().isdisjoint(meaning.values()):
            told = " | ".join(f"{slot} : {value}" for slot, value in meaning.items())
            yield text if rng.random() < 0.08 else f"{told} || {text}"
            count -= 1

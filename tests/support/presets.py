"""The presets of configs/experiment/, expanded once."""

from __future__ import annotations

from functools import cache

from uora_bench.config import compose, registry
from uora_bench.config.cell import Cell
from uora_bench.grid import preset
from uora_bench.grid.expand import Grid, expand

NAMES = registry.choices("experiment")


@cache
def of(name: str) -> Grid:
    return expand([f"experiment={name}"])


def keys(name: str) -> set[str]:
    return {item.cell.key for item in of(name).items if item.cell is not None}


def note(name: str) -> str:
    return " ".join(preset.load_experiment(name).note.split())


def cell_of(words: str) -> Cell:
    return compose.compose(words.split()).cell


@cache
def key(words: str) -> str:
    return cell_of(words).key

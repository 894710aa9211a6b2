"""A plan of tiny cells for the launchers, and the program that stands in for a cell (`fake_cell`)."""

from __future__ import annotations

from pathlib import Path

from tests.support.paths import ROOT
from uora_bench.grid import expand, model

FAKE = str(ROOT / "tests" / "support" / "fake_cell.py")


def make_plan(folder: Path, *words: str) -> model.Plan:
    where = (f"results.dir={folder / 'results'}", f"runs.dir={folder / 'runs'}")
    found = expand.expand(["method=lora", "task=tiny/nli", "experiment_name=x", *words, *where])
    items = tuple(model.Item(i.key, "the cell", i.overrides, after=i.after) for i in found.items)
    return model.Plan(model.SCHEMA, "x", "", str(folder / "results"), str(folder / "runs"), items)

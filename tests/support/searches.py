"""Made-up searches: a file with rows of trials, and records of them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from tests.support.records import finished_record
from uora_bench.cli.main import main
from uora_bench.grid import expand
from uora_bench.records.record import EpochScores, RuleScore

HEAD = """
name: {name}
title: Rates
note: Made up.
search: {search}
axes: {{}}
set: {{task: tiny/nli, recipe: none, trainer.max_steps: 5, {split}}}
include:
"""
SPLIT = "task.splits.train: 'train[:80%]', task.splits.dev: 'train[80%:]'"


def judge(part: str) -> str:
    return f"task.splits.train: 'train[:80%]', task.splits.dev: '{part}'"


SEVEN = "[1.0e-5, 1.0e-4, 1.0e-3, 1.0e-2, 1.0e-1, 1, 10]"
# the best rate of each method, its score there, and how many decades cost a point
SURFACE = {"lora": (1e-3, 90.0, 5.0), "vera": (1e-1, 88.0, 0.5), "uora": (1e-2, 86.0, 0.1)}


def surface(method: str, rate: float) -> float:
    best, top, slope = SURFACE[method]
    return top - slope * math.log10(rate / best) ** 2


def write(
    folder: Path, rows: dict[str, str], search: str = "{trials: 7}", split: str = SPLIT, name: str = "rates"
) -> None:
    text = HEAD.format(name=name, search=search, split=split)
    text += "".join(f"  - {{method: {m}, trainer.lr_adapter: {rates}}}\n" for m, rates in rows.items())
    (folder / "rates.yaml").write_text(text)


def record_all(folder: Path, but: Callable[[str, float], bool] = lambda method, rate: False) -> None:
    """Records of all trials, scored by the surface."""
    for item in expand.expand(["experiment=./rates.yaml"]).items:
        assert item.cell is not None
        method, rate = item.cell.method.name, item.cell.trainer.lr_adapter
        if not but(method, rate):
            record(folder, item, surface(method, rate))


def record(folder: Path, item: expand.Planned, points: float, **changes: object) -> None:
    assert item.cell is not None
    value = {item.cell.task.metric.primary: points / item.cell.task.metric.scale}
    scores = {"dev": value, "test": value}
    name = item.settings.experiment_name if item.settings else ""
    made = finished_record(
        item.cell,
        item.cell.cell_id("data"),
        name,
        scores={rule: RuleScore(scores, 1, "") for rule in ("last", "best_dev")},
        epochs=(EpochScores(1, 5, 0.1, scores, 1.0),),
        **changes,
    )
    made.write(folder / "results" / "records" / name)


def search(*words: str) -> int:
    return main(["search", "experiment=./rates.yaml", "launcher=print", *words])

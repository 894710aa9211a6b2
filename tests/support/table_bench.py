"""A made-up experiment under the name quickstart, its records and its tables. Never written into results/."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.command_line import last_of_each
from tests.support.records import changed, finished_record
from uora_bench.grid import expand, preset, request
from uora_bench.metrics.items import item_scores, why_not
from uora_bench.records.predictions import EpochPredictions, predictions_path, write_predictions
from uora_bench.records.record import CellRecord, EpochScores, RuleScore
from uora_bench.report import collect, table
from uora_bench.report.model import Entry, Table
from uora_bench.report.published import Library

GRID = {
    "axes": {"method": ["lora", "uora"], "task": ["glue/rte", "glue/mrpc"], "seed": [0, 1, 2]},
    "set": {"backbone": "minilm"},
}


class Bench:
    """One made-up experiment (under the name quickstart), its records and its tables."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.results, self.monkeypatch = folder / "results", monkeypatch

    def preset(self, **values: object) -> None:
        made = preset.build(preset.Experiment, {"name": "quickstart", "title": "T", "note": "", **GRID, **values})
        self.monkeypatch.setattr(preset, "load_experiment", lambda name: made)

    def record(self, words: str, score: float, metric: str = "accuracy", **changes: object) -> CellRecord:
        """The record of the cell that ``words`` name, with ``score`` in its last epoch and a tenth more in its best."""
        cell = expand.expand(last_of_each("backbone=minilm", *words.split())).items[0].cell
        assert cell is not None
        names = (cell.task.metric.primary, metric)
        scores = {
            "last": RuleScore({"dev": dict.fromkeys(names, score)}, 2, ""),
            "best_dev": RuleScore({"dev": dict.fromkeys(names, score + 0.1)}, 1, ""),
        }
        epochs = (EpochScores(1, 1, 0.1, {"dev": dict.fromkeys(names, score)}, 1.0),)
        made = finished_record(cell, cell.cell_id(words), "quickstart", scores=scores, epochs=epochs)
        made = changed(made, **changes)
        made.write(self.results / "records" / "quickstart")
        return made

    def table(self, *words: str, rule: str | None = None, library: Library | None = None) -> Table:
        asked = request.read_request(["experiment=quickstart", *words])
        return table.build(collect.collect(asked, self.results), library, rule)  # type: ignore[arg-type]


def entry(found: Table, row: str, column: str) -> Entry:
    ((_, line),) = found.row(row)
    return line.entries[[c.label for c in found.columns].index(column)]


def kept(bench: Bench, method: str, seed: int, right: np.ndarray, item: np.ndarray | None = None,
         task: str = "glue/rte", metric: str = "accuracy") -> None:  # fmt: skip
    """A record of ``method`` whose last epoch has these items ``right``; its best epoch has all of them wrong."""
    answers = np.arange(len(right)) % 2
    item = np.arange(len(right), dtype=np.uint64) if item is None else item
    parts = [
        EpochPredictions("dev", epoch, item, np.where(hits, answers, 1 - answers), answers)
        for epoch, hits in ((1, np.zeros(len(right), dtype=bool)), (2, right))
    ]
    made = bench.record(f"method={method} task={task} seed={seed}", float(right.mean()), metric)
    scores = dict(made.scores)
    for rule, part in (("best_dev", parts[0]), ("last", parts[1])):
        if not why_not(made.metric.name, metric):
            value = float(item_scores(made.metric.name, metric, part.prediction, part.reference).mean())
            scores[rule] = replace(scores[rule], scores={"dev": {**scores[rule].scores["dev"], metric: value}})
    folder = bench.results / "records" / "quickstart"
    file = write_predictions(predictions_path(folder, made.cell_id), parts, 10**6)
    replace(made, scores=scores, provenance=replace(made.provenance, predictions=file)).write(folder)

"""UC16: rows that a table scores and that had judged the search of its rate."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.support.records import finished_record
from uora_bench.cli.main import main
from uora_bench.config import compose
from uora_bench.grid import expand
from uora_bench.records.predictions import EpochPredictions, predictions_path, write_predictions
from uora_bench.records.provenance import Provenance
from uora_bench.records.record import EpochScores, RuleScore, Split

SET = {"task": "tiny/nli", "method": "lora", "trainer.max_steps": 5}


def experiment(path: Path, **parts: object) -> None:
    path.write_text(json.dumps({"name": path.stem, "title": "t", "note": "n", **parts}))


def record(folder: Path, name: str, part: str, items: range | None) -> None:
    """The one cell of an experiment, scored on ``part``, with predictions of ``items``."""
    (item,) = (one for one in expand.expand([f"experiment=./{name}.yaml"]).items if one.cell is not None)
    assert item.cell is not None
    records = folder / "results" / "records" / name
    cell_id, predictions = item.cell.cell_id("data"), None
    if items is not None:
        number, answers = np.array(items, dtype=np.uint64), np.arange(len(items)) % 2
        kept = EpochPredictions("dev", 1, number, answers, answers)
        records.mkdir(parents=True, exist_ok=True)
        predictions = write_predictions(predictions_path(records, cell_id), [kept], 10**6)
    scores = {"dev": {"accuracy": 1.0}}
    made = finished_record(
        item.cell,
        cell_id,
        name,
        sources=compose.compose(list(item.overrides)).sources,
        splits={"dev": Split(part, 10)},
        scores={rule: RuleScore(scores, 1, "") for rule in ("last", "best_dev")},
        epochs=(EpochScores(1, 5, 0.1, scores, 1.0),),
        provenance=Provenance(predictions=predictions),
    )
    made.write(records)


@pytest.mark.parametrize(
    ("part", "trial", "final", "said"),
    [
        (
            "train[80%:]",
            range(10),
            range(6, 16),
            "4 of the 10 rows scored here had judged the search of its rate",
        ),
        ("train[80%:]", range(10), range(10, 20), ""),  # what the parts are called does not matter then
        ("train[70%:]", None, None, "rows of train[70%:], scored here, may have judged the search of its rate"),
        ("train[70%:80%]", None, None, ""),
        ("validation", None, range(10), ""),
    ],
)
def test_rows_that_judged_the_search_are_told(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    part: str,
    trial: range | None,
    final: range | None,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    judge = {"task.splits.train": "train[:80%]", "task.splits.dev": "train[80%:]"}
    axes = {"trainer.lr_adapter": [0.1]}
    experiment(tmp_path / "rates.yaml", search={"trials": 1}, axes=axes, set={**SET, **judge, "recipe": "none"})
    record(tmp_path, "rates", "train[80%:]", trial)
    assert main(["search", "experiment=./rates.yaml", "launcher=print", "freeze=uora_plugins"]) == 0
    own = {**SET, "recipe": "lora/rates", "task.splits.dev": part, "task.splits.test": None}
    for level, code in (("note", 0), ("refuse", 2 if said else 0)):
        table = {"comparability": {"UC16": level}}
        experiment(tmp_path / "final.yaml", axes={"seed": [0]}, set=own, table=table)
        record(tmp_path, "final", part, final)
        capsys.readouterr()
        assert main(["tables", "experiment=./final.yaml"]) == code
        out = capsys.readouterr()
        assert said in (out.err if code else out.out)
        assert ("UC16" in out.out + out.err) == bool(said)

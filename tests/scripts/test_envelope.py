"""Kept repetitions: started again the script runs what is missing; and what is committed is of committed cells."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.paths import ROOT
from tests.support.records import finished_record
from tests.support.scripts import script
from uora_bench.config.registry import envelope_dir
from uora_bench.execution import envelope
from uora_bench.grid.expand import expand
from uora_bench.records.predictions import EpochPredictions
from uora_bench.records.record import CellRecord, EpochScores, RuleScore, read_record, record_paths

made = script("envelope")
CELL = ["method=uora", "task=tiny/nli", "data.root=somewhere"]
FILES = sorted(envelope_dir().glob("*.json"))


class Runs:
    """Instead of cells: which ones were asked for. ``first``: the score of the first repetition."""

    def __init__(self) -> None:
        self.asked: list[dict[str, str]] = []
        self.first = 0.5

    def run(self, words: list[str], varied: dict[str, str], folder: Path) -> tuple[CellRecord, list[EpochPredictions]]:
        self.asked.append(varied)
        cell = next(item.cell for item in expand(words).items if item.cell is not None)
        number = made.VARIED.index(varied)
        score = {"dev": {"accuracy": self.first + number / 100}}
        record = finished_record(
            cell, cell.cell_id("data"), "envelope", scores={"last": RuleScore(score, 1, "")},
            epochs=(EpochScores(1, 1, 0.1, score, 1.0),),
        )  # fmt: skip
        record = replace(record, provenance=replace(record.provenance, versions={"torch": "2"}))
        answers = np.arange(8) < number
        return record, [EpochPredictions("dev", 1, np.arange(8, dtype=np.uint64), answers.astype(int), answers)]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    found = Runs()
    monkeypatch.setattr(made, "run", found.run)
    monkeypatch.setattr(made, "envelope_dir", lambda: tmp_path)
    monkeypatch.setattr(envelope, "envelope_dir", lambda: tmp_path)
    monkeypatch.setattr(made, "VARIED", made.VARIED[:5])
    monkeypatch.setattr(sys, "argv", ["envelope.py", *CELL])
    return found


def test_started_again_it_runs_the_first_one_and_what_is_missing(runs: Runs, tmp_path: Path) -> None:
    made.main()
    whole = (tmp_path / "tiny_nli.json").read_bytes()
    there = envelope.read_envelope("tiny/nli", tmp_path)
    assert there is not None
    (kept,) = there.cells
    assert [one.varied for one in kept.repetitions] == made.VARIED
    assert kept.command == ("method=uora", "task=tiny/nli")  # where the data lie is nobody else's matter
    fewer = envelope.Envelope(
        envelope.SCHEMA, "tiny/nli", (replace(kept, repetitions=(*kept.repetitions[:2], kept.repetitions[4])),)
    )
    fewer.write(tmp_path)
    runs.asked.clear()
    made.main()
    assert runs.asked == [made.VARIED[n] for n in (0, 2, 3)]
    assert (tmp_path / "tiny_nli.json").read_bytes() == whole


def test_where_the_first_one_is_no_longer_what_it_was_all_run_again(runs: Runs, tmp_path: Path) -> None:
    made.main()
    runs.asked.clear()
    runs.first = 0.6
    made.main()
    assert runs.asked == made.VARIED
    there = envelope.read_envelope("tiny/nli", tmp_path)
    assert there is not None
    assert [len(cell.repetitions) for cell in there.cells] == [5]


@pytest.mark.parametrize(("words", "code"), [(["--help"], 0), (["-h"], 0), ([], 2), (["4ab9c70d0dc8fd5d"], 2)])
def test_without_a_cell_it_says_how_it_is_called(
    words: list[str], code: int, runs: Runs, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["envelope.py", *words])
    with pytest.raises(SystemExit) as ended:
        made.main()
    assert ended.value.code == code
    assert "python scripts/envelope.py method=uora task=tiny/nli" in capsys.readouterr()[code and 1]
    assert not runs.asked


def test_it_takes_the_command_that_explain_prints(runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explained = ["python", "-m", "uora_bench", *CELL, "experiment_name=tiny_nli", "expect_cell_id=0", "tracker=none"]
    monkeypatch.setattr(sys, "argv", ["envelope.py", *explained])
    made.main()
    there = envelope.read_envelope("tiny/nli", tmp_path)
    assert there is not None
    assert [cell.command for cell in there.cells] == [("method=uora", "task=tiny/nli")]


@pytest.mark.parametrize("path", FILES, ids=[path.stem for path in FILES])
def test_committed_records_lie_among_the_committed_repetitions_of_their_cells(path: Path) -> None:
    known = {path.stem: path for folder in (ROOT / "results" / "records").iterdir() for path in record_paths(folder)}
    there = envelope.read_envelope(path.stem.replace("_", "/", 1), path.parent)
    assert there is not None
    for cell in there.cells:
        variations = [one.varied for one in cell.repetitions]
        assert variations == [varied for varied in made.VARIED if varied in variations]
        assert not [word for word in cell.command if word.startswith("data.root")]
        if cell.cell_id not in known:  # of a task without a committed grid
            continue
        record = read_record(known[cell.cell_id])
        scores = [one.scores["last"] for one in cell.repetitions]
        score = envelope.dev_scores(record)["last"]
        assert min(scores) - cell.widest_score("last") <= score <= max(scores) + cell.widest_score("last")


@pytest.mark.parametrize(
    "task", [f"tiny/{path.stem}" for path in sorted((ROOT / "configs" / "task" / "tiny").iterdir())]
)
def test_every_tiny_task_has_whole_repetitions(task: str) -> None:
    there = envelope.read_envelope(task)
    assert there is not None
    assert {len(cell.repetitions) for cell in there.cells} == {len(made.VARIED)} == {envelope.WHOLE}


@pytest.mark.parametrize("experiment", ["tiny_nli", "tiny_flowers5"])
def test_every_row_of_a_committed_grid_has_an_envelope(experiment: str) -> None:
    for path in record_paths(ROOT / "results" / "records" / experiment):
        record = read_record(path)
        there = envelope.read_envelope(record.cell["task"]["name"])
        assert there is not None
        assert envelope.settings_of(record) in {cell.settings for cell in there.cells}, record.label

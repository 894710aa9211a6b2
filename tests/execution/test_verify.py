"""A recorded cell is run again: the same, some items otherwise, other data; and nothing that is verified is touched."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from accelerate.state import AcceleratorState

from tests.support import own_files
from uora_bench.cli.main import main
from uora_bench.execution import envelope
from uora_bench.execution.envelope import Envelope, KeptCell, Repetition
from uora_bench.metrics import load_metric
from uora_bench.records import provenance
from uora_bench.records.predictions import EpochPredictions, predictions_path, read_predictions, write_predictions
from uora_bench.records.record import CellRecord, read_records
from uora_bench.records.selection import select_scores
from uora_bench.training.evaluation import half_of

WORDS = ["method=lora", "recipe=none", "task=text/local", "backbone=tiny_roberta", "task.max_length=40",
         "trainer.batch_size=8", "trainer.max_steps=3", "trainer.precision=float32", "tracker=none"]  # fmt: skip

NUMBERS = ("training loss", "dev accuracy", "test accuracy", "dev macro_f1", "test macro_f1",
           "accuracy on half 0 of dev", "accuracy on half 1 of dev")  # fmt: skip
SET = ", ".join(word.replace("=", ": ", 1) for word in WORDS[1:])


@pytest.fixture(autouse=True)
def commit(monkeypatch: pytest.MonkeyPatch) -> None:
    """The suite as it is in a commit, whether or not it is while tests are written."""
    monkeypatch.setattr(provenance, "git_state", lambda: {"commit": "a" * 40, "dirty": False})


def state(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def scored(record: CellRecord, parts: list[EpochPredictions]) -> CellRecord:
    """``record`` with the scores that ``parts`` give."""
    metric = load_metric(record.metric.name)
    made = {p.split: metric.compute(predictions=p.prediction, references=p.reference) for p in parts}
    (epoch,) = record.epochs
    (dev,) = (part for part in parts if part.split == "dev")
    side = half_of(len(dev.item))
    first, second = (float(np.mean(dev.prediction[side == h] == dev.reference[side == h])) for h in (0, 1))
    epochs = (replace(epoch, scores=made, halves=(first, second)),)
    return replace(record, epochs=epochs, scores=select_scores(epochs, record.metric))


def kept(folder: Path, record: CellRecord, items: int, own: str = "0" * 16) -> None:
    """An envelope of the task whose farthest repetitions differ in ``items`` of 8 items; of the cell ``own`` in one."""
    folder.mkdir(exist_ok=True)
    differing = ((), ("a",), ("a", "b")[:items])
    told = [{f"{what} of epoch 1": value for what in NUMBERS} for value in (0.0, 0.2, 0.2)]
    one = [
        Repetition({}, {}, numbers, dict.fromkeys(("dev", "test"), dict.fromkeys(names, 1)))
        for numbers, names in zip(told, differing, strict=True)
    ]
    settings = envelope.settings_of(record)
    cell = KeptCell("0" * 16, "a cell", "lora", settings, (), "Z80", "2", {"dev": 8, "test": 8}, tuple(one))
    very = replace(cell, cell_id=own, label="the very cell", repetitions=tuple(one[:2]))
    Envelope(envelope.SCHEMA, "text/local", (cell, very)[: 1 + (own != cell.cell_id)]).write(folder)


def test_a_cell_is_run_again_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    own_files.write(tmp_path / "reviews.csv", own_files.reviews(80))
    assert main([*WORDS, "task.path=reviews.csv"]) == 0
    folder = tmp_path / "results" / "records" / "scratch"
    (record,) = read_records(folder)
    verify = ["verify", record.cell_id[:8], "task.path=reviews.csv"]

    before = state(tmp_path)
    capsys.readouterr()
    assert main(verify[:2]) == 0  # the run folder knows where the rows were
    out, err = capsys.readouterr()
    assert "identical bytes: predictions, and every epoch's loss and scores" in out
    assert "settings of the original run: task.path=reviews.csv\n" in err
    assert state(tmp_path) == before
    assert main([*verify[:2], "runs.dir=gone"]) == 2
    assert "name them with task.path=<file or folder>" in capsys.readouterr().err

    parts = read_predictions(record, folder)
    flipped = [
        replace(p, prediction=np.where(np.arange(len(p.item)) < 2, 1 - p.prediction, p.prediction)) for p in parts
    ]
    file = write_predictions(predictions_path(folder, record.cell_id), flipped, 10**6)
    other = replace(record.provenance, predictions=file, hardware=replace(record.provenance.hardware, processor="Z80"))
    scored(replace(record, provenance=other), flipped).write(folder)
    before = state(tmp_path)
    assert main(verify) == 1
    said = capsys.readouterr().out
    assert "2 of 8 items of dev, epoch 1 differ" in said
    assert "no envelope: no repetitions of text/local on tiny_roberta with these settings and data are kept" in said
    assert "another processor: " in said
    assert "the record's is Z80" in said
    assert state(tmp_path) == before

    # the farthest repetitions differ in two items, then in one
    for items, code, verdict in ((2, 0, "inside the envelope: 3 repetitions of a cell; two"), (1, 1, "2 of 8 items")):
        kept(tmp_path / "kept", record, items)
        monkeypatch.setattr(envelope, "envelope_dir", lambda: tmp_path / "kept")
        assert main(verify) == code
        assert verdict in capsys.readouterr().out
    # repetitions of the very cell count before those of others
    kept(tmp_path / "kept", record, 2, record.cell_id)
    assert main(verify) == 1
    assert "outside the envelope (2 repetitions of the very cell): 2 of 8 items" in capsys.readouterr().out
    # a loss that is farther away than repetitions are, beside items that are not
    kept(tmp_path / "kept", record, 2)
    (flawed,) = read_records(folder)
    replace(flawed, epochs=(replace(flawed.epochs[0], train_loss=9.0),)).write(folder)
    assert main(verify) == 1
    said = capsys.readouterr().out
    assert "outside the envelope (3 repetitions of a cell): training loss of epoch 1 by" in said
    assert (
        "no repetitions of this very cell are kept (scripts/envelope.py makes them): it may vary more, or less" in said
    )
    # predictions of a split that are left out hide nothing
    file = write_predictions(predictions_path(folder, record.cell_id), [p for p in flipped if p.split == "dev"], 10**6)
    replace(flawed, provenance=replace(other, predictions=file)).write(folder)
    assert main(verify) == 2
    assert "its predictions lack test of epoch 1" in capsys.readouterr().err

    # whoever changes every place of a score changes it against the predictions; a loss, against the new run
    write_predictions(predictions_path(folder, record.cell_id), parts, 10**6)
    (epoch,) = record.epochs
    raised = (replace(epoch, scores={k: {**v, "accuracy": 0.99} for k, v in epoch.scores.items()}),)
    replace(record, epochs=raised, scores=select_scores(raised, record.metric)).write(folder)
    capsys.readouterr()
    assert main(verify) == 2
    assert "accuracy of epoch 1 is 0.99 in it, and " in capsys.readouterr().err
    assert main(["verify", "experiment=scratch", "write=true"]) == 2
    assert "accuracy of epoch 1 is 0.99 in it, and " in capsys.readouterr().err
    halves = (replace(epoch, halves=(0.95, 0.95)),)
    replace(record, epochs=halves, scores=select_scores(halves, record.metric)).write(folder)
    assert main(verify) == 2
    assert "dev accuracy on half 0 of the items of epoch 1 is 0.95 in it, and " in capsys.readouterr().err
    replace(record, epochs=(replace(epoch, train_loss=0.1),)).write(folder)
    assert main(verify) == 1
    assert "epochs.1.train_loss: 0.72" in capsys.readouterr().out
    assert record.counts is not None
    replace(record, counts=replace(record.counts, adapter=3), metric=replace(record.metric, scale=250.0)).write(folder)
    assert main(verify) == 1
    said = capsys.readouterr().out
    assert "metric.scale: 100.0, the record has 250.0" in said
    assert f"adapter parameters: {record.counts.adapter}, the record has 3" in said

    predictions_path(folder, record.cell_id).write_bytes(b"another file")
    assert main(verify) == 2
    assert "is not the file that its record was written with" in capsys.readouterr().err

    replace(record, provenance=replace(record.provenance, predictions=None)).write(folder)
    assert main(verify) == 0
    said = capsys.readouterr().out
    assert "no predictions to compare: made before predictions were kept" in said
    assert "identical: every epoch's loss and scores" in said

    (tmp_path / "uora_plugins/configs/experiment").mkdir(parents=True)  # the file of a grid knows it too
    text = f"name: scratch\ntitle: t\nnote: n\naxes: {{method: [lora]}}\nset: {{task.path: reviews.csv, {SET}}}\n"
    (tmp_path / "uora_plugins/configs/experiment/scratch.yaml").write_text(text, "utf-8")
    assert main([*verify[:2], "runs.dir=gone"]) == 0
    own_files.write(tmp_path / "reviews.csv", own_files.reviews(81))
    assert main(verify) == 2
    said = capsys.readouterr().err
    assert f"not {record.cell_id} (expect_cell_id)" in said
    assert f"in the record: train rows {record.provenance.data['train']}" in said
    (tmp_path / "reviews.csv").rename(tmp_path / "moved.csv")
    assert main(verify[:2]) == 2
    assert "note: not there any more: task.path=reviews.csv; name the place where it is now" in capsys.readouterr().err


def _column(values: list[Any]) -> Any:
    return values if isinstance(values[0], list) else np.array(values)


def rewritten(folder: Path, record: CellRecord, parts: list[EpochPredictions], times: float = 1.0) -> CellRecord:
    """``record`` as another processor leaves it: predictions ``parts``, their scores, ``times`` the training loss."""
    file = write_predictions(predictions_path(folder, record.cell_id), parts, 10**6)
    metric, primary = load_metric(record.metric.name), record.metric.primary

    def scored(part: EpochPredictions, rows: np.ndarray) -> dict[str, float]:
        columns = ([column[i] for i in np.flatnonzero(rows)] for column in (part.prediction, part.reference))
        return dict(metric.compute(**dict(zip(("predictions", "references"), map(_column, columns), strict=True))))

    scores = {p.split: scored(p, np.ones(len(p.item), dtype=bool)) for p in parts}
    (dev,) = (p for p in parts if p.split == "dev")
    first, second = (scored(dev, half_of(len(dev.item)) == side)[primary] for side in (0, 1))
    (epoch,) = record.epochs
    epochs = (replace(epoch, scores=scores, halves=(first, second), train_loss=epoch.train_loss * times),)
    hardware = replace(record.provenance.hardware, processor="Z80")
    provenance = replace(record.provenance, predictions=file, hardware=hardware)
    made = replace(record, epochs=epochs, scores=select_scores(epochs, record.metric), provenance=provenance)
    made.write(folder)
    return made


def test_likelihoods_behind_choices_may_differ_and_choices_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(envelope, "envelope_dir", lambda: tmp_path / "kept")
    assert main(["method=lora", "task=tiny/choices", "trainer.max_steps=1", "tracker=none"]) == 0
    folder = tmp_path / "results" / "records" / "scratch"
    (record,) = read_records(folder)
    parts = read_predictions(record, folder)

    def said(code: int) -> str:
        capsys.readouterr()
        assert main(["verify", record.cell_id]) == code
        return capsys.readouterr().out

    scaled = [replace(p, prediction=np.stack(list(p.prediction)) * 1.01) for p in parts]
    rewritten(folder, record, scaled)
    text = said(0)
    assert "identical predictions; losses and scores differ at most in their last digits" in text
    assert "another processor: " in text
    # a loss that is farther away is judged by repetitions, of which there are none
    rewritten(folder, record, scaled, 1.01)
    text = said(1)
    assert "training loss of epoch 1: " in text
    assert "no envelope: no repetitions of tiny/choices on tiny_llama with these settings and data are kept" in text
    # another choice of two items
    swapped = [
        replace(p, prediction=np.where(np.arange(120)[:, None] < 2, -p.prediction, p.prediction)) for p in scaled
    ]
    rewritten(folder, record, swapped)
    text = said(1)
    assert "2 of 120 items of dev, epoch 1 differ\n" in text
    assert "2 of 120 items of test, epoch 1 differ\n" in text


def test_numbers_that_are_predicted_have_a_distance(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{**row, "label": index % 7 / 2} for index, row in enumerate(own_files.reviews(80))]
    own_files.write(tmp_path / "reviews.csv", rows)
    assert main([*WORDS, "task.path=reviews.csv"]) == 0
    folder = tmp_path / "results" / "records" / "scratch"
    (record,) = read_records(folder)
    moved = [replace(p, prediction=p.prediction + 0.25) for p in read_predictions(record, folder)]
    rewritten(folder, record, moved)
    capsys.readouterr()
    assert main(["verify", record.cell_id]) == 1
    said = capsys.readouterr().out
    assert "8 of 8 items of dev, epoch 1 differ, by 0.25 in root mean square\n" in said
    assert "no envelope: no repetitions of text/local on tiny_roberta with these settings and data are kept" in said


def test_a_record_in_bfloat16_whose_passes_were_factored_is_run_with_those_again(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    request: pytest.FixtureRequest,
) -> None:
    AcceleratorState._reset_state(reset_partial_state=True)  # it has one precision for the whole process
    request.addfinalizer(partial(AcceleratorState._reset_state, reset_partial_state=True))
    monkeypatch.chdir(tmp_path)
    own_files.write(tmp_path / "reviews.csv", own_files.reviews(80))
    words = [
        *WORDS[:-2],
        "trainer.precision=bfloat16",
        "trainer.lr_adapter=0.1",
        "tracker=none",
        "task.path=reviews.csv",
    ]
    with monkeypatch.context() as patch:
        patch.setattr("uora_bench.methods.base.choose", lambda *_: "factored")  # as auto did before there was fused
        assert main(words) == 0
    (record,) = read_records(tmp_path / "results" / "records" / "scratch")
    assert set(record.provenance.forward) == {"factored"}
    capsys.readouterr()
    assert main(["verify", record.cell_id]) == 0
    assert "identical bytes" in capsys.readouterr().out
    assert main([*words, "force=true"]) == 0
    (again,) = read_records(tmp_path / "results" / "records" / "scratch")
    assert set(again.provenance.forward) == {"fused"}
    assert again.cell_id == record.cell_id
    assert again.epochs[0].train_loss != record.epochs[0].train_loss  # in its last digits
    assert again.epochs[0].train_loss == pytest.approx(record.epochs[0].train_loss, rel=1e-2)


def test_all_cells_behind_a_number_are_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    own_files.write(tmp_path / "reviews.csv", own_files.reviews(80))
    for seed in (0, 1):
        assert main([*WORDS, "task.path=reviews.csv", "experiment_name=mine", f"seed={seed}"]) == 0
    before = state(tmp_path)
    verify = ["verify", "mine", "LoRA", "text/local", "task.path=reviews.csv"]
    capsys.readouterr()
    assert main(verify) == 0
    said = capsys.readouterr().out
    assert said.count("identical bytes") == 2
    assert "mine · lora · text/local: verified (seed 0: " in said
    assert state(tmp_path) == before
    assert main([*verify, "seed=1"]) == 0
    said = capsys.readouterr().out
    assert said.count("identical bytes") == 1
    assert "seed 1 of 0, 1: verified (seed 1: " in said
    for words, message in (
        ([*verify, "seed=2"], "seed=2 is not behind 'mine · lora · text/local'"),
        ([*verify, "all=true"], "write and all are for whole experiments"),
        (["verify", "mine"], "'mine' is an experiment: experiment=mine checks its records"),
        ([*WORDS, "task.path=reviews.csv", "experiment_name=theory_x"], "names that begin with theory_ are those of"),
        (["verify", "mine", "lora"], "a number is named by TABLE ROW COLUMN"),
        (["verify", "mine", "lara", "text/local"], "did you mean 'lora'"),
        (["verify", "all=true", "seed=1"], "seed= is for a number of a table"),
    ):
        assert main(words) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize("what", ["score", "seed", "rate", "data file"])
def test_whatever_is_tampered_with_is_caught_before_anything_runs(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    own_files.write(tmp_path / "reviews.csv", own_files.reviews(40))
    assert main([*WORDS, "task.path=reviews.csv", "experiment_name=mine"]) == 0
    assert main(["verify", "experiment=mine", "write=true"]) == 0
    (path,) = (tmp_path / "results" / "records" / "mine").glob("*.json")
    data = json.loads(path.read_text("utf-8"))
    if what == "score":
        data["scores"]["last"]["scores"]["dev"]["accuracy"] += 0.1
    elif what == "seed":
        data["cell"]["seed"] = 7
    elif what == "rate":
        data["cell"]["trainer"]["lr_adapter"] *= 2
    else:
        own_files.write(tmp_path / "reviews.csv", own_files.reviews(41))
    path.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", "utf-8")
    capsys.readouterr()
    if what != "data file":  # the manifest is of records alone
        assert main(["verify", "experiment=mine"]) == 1
        assert "changed" in capsys.readouterr().out
    words = ["verify", path.stem, "task.path=reviews.csv"]
    assert main(words) == 2
    error = capsys.readouterr().err
    expected = "(expect_cell_id)" if what == "data file" else "does not agree with itself"
    assert expected in error

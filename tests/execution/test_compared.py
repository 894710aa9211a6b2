"""What no other arithmetic explains is never verified: other facts, right answers, splits; or no other arithmetic."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support import own_files
from uora_bench.cli.main import main
from uora_bench.execution import envelope
from uora_bench.execution.compared import compare
from uora_bench.records.predictions import EpochPredictions, predictions_path, read_predictions, write_predictions
from uora_bench.records.provenance import Git
from uora_bench.records.record import CellRecord, Retention, read_records

Parts = list[EpochPredictions]
WORDS = ["method=lora", "recipe=none", "task=text/local", "backbone=tiny_roberta", "task.max_length=40",
         "task.path=reviews.csv", "trainer.batch_size=8", "trainer.max_steps=2", "trainer.precision=float32",
         "tracker=none", "experiment_name=mine"]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where one small cell was run."""
    path = tmp_path_factory.mktemp("cell")
    own_files.write(path / "reviews.csv", own_files.reviews(80))
    before = Path.cwd()
    os.chdir(path)
    try:
        assert main(WORDS) == 0
    finally:
        os.chdir(before)
    return path


@pytest.fixture
def record(folder: Path) -> CellRecord:
    (found,) = read_records(folder / "results" / "records" / "mine")
    return replace(found, provenance=replace(found.provenance, git=Git("a" * 40, False)))


@pytest.fixture
def parts(folder: Path, record: CellRecord) -> Parts:
    return read_predictions(record, folder / "results" / "records" / "mine")


def flipped(parts: Parts, count: int = 2) -> Parts:
    """``parts`` with the first items answered otherwise."""
    return [replace(p, prediction=np.where(np.arange(len(p.item)) < count, 1 - p.prediction, p.prediction))
            for p in parts]  # fmt: skip


def elsewhere(record: CellRecord) -> CellRecord:
    return replace(
        record, provenance=replace(record.provenance, hardware=replace(record.provenance.hardware, processor="Z80"))
    )


def without(record: CellRecord, split: str) -> CellRecord:
    epochs = tuple(replace(e, scores={k: v for k, v in e.scores.items() if k != split}) for e in record.epochs)
    return replace(record, epochs=epochs, splits={k: v for k, v in record.splits.items() if k != split})


def with_metric(record: CellRecord) -> CellRecord:
    epochs = tuple(replace(e, scores={k: {**v, "f1": 0.99} for k, v in e.scores.items()}) for e in record.epochs)
    return replace(record, epochs=epochs)


FACTS: list[tuple[Callable[[CellRecord], CellRecord], str]] = [
    (lambda r: replace(r, label="uora · text/local · tiny_roberta · seed 0"), "label: lora "),
    (lambda r: replace(r, precision="bfloat16"), "precision: float32, the record has bfloat16"),
    (lambda r: replace(r, bytes=replace(r.bytes, adapter_size=1)), "the record has 1"),  # type: ignore[type-var]
    (lambda r: replace(r, retention=Retention("drift", adapted=0.0)), "retention.measure: None, the record has drift"),
    (lambda r: without(r, "test"), "rows of test: 8, the record has None"),
    (
        lambda r: replace(r, splits={**r.splits, "dev": replace(r.splits["dev"], name="the official one")}),
        "split of dev: a random 10 % of reviews.csv",
    ),
    (with_metric, "the record has dev accuracy, dev macro_f1, dev f1, test accuracy, test macro_f1, test f1"),
    (lambda r: replace(r, epochs=(replace(r.epochs[0], halves=None),)), "halves of dev in epoch 1: True"),
    (lambda r: replace(r, epochs=(*r.epochs, *r.epochs)), "epochs: 1, the record has 2"),
]


@pytest.mark.parametrize(("change", "said"), FACTS, ids=[said[:24] for _, said in FACTS])
@pytest.mark.parametrize("place", [elsewhere, lambda record: record], ids=["elsewhere", "here"])
def test_facts_are_the_same_everywhere(
    record: CellRecord,
    parts: Parts,
    change: Callable[[CellRecord], CellRecord],
    said: str,
    place: Callable[[CellRecord], CellRecord],
) -> None:
    assert record.provenance.hardware.instructions
    assert compare(record, record, parts, parts) == (True, ["identical bytes: predictions, and every epoch's loss and "
                                                            "scores"])  # fmt: skip
    same, lines = compare(place(change(record)), record, parts, parts)
    assert not same
    assert said in "\n".join(lines)


def test_right_answers_and_items_are_the_same_everywhere(record: CellRecord, parts: Parts) -> None:
    swapped = [replace(p, reference=1 - np.asarray(p.reference)) for p in parts]
    same, lines = compare(elsewhere(record), record, swapped, parts)
    assert not same
    assert lines[0] == "of dev, epoch 1: 8 of 8 right answers are others"
    other = [replace(p, item=p.item + np.uint64(1)) for p in parts]
    same, lines = compare(elsewhere(record), record, other, parts)
    assert not same
    assert lines[0] == "of dev, epoch 1: other items"
    same, lines = compare(elsewhere(record), record, parts, [])
    assert not same
    assert lines[0].startswith("no predictions of the new run to compare: ")


HERE: list[tuple[Callable[[CellRecord], CellRecord], str]] = [
    (lambda r: r, "dev, epoch 1 differ"),
    (lambda r: replace(r, epochs=(replace(r.epochs[0], train_loss=0.1),)), "epochs.1.train_loss: "),
    (lambda r: replace(r, method={"refreshes": 7}), "method.refreshes: None, the record has 7"),
    (lambda r: replace(r, merge_error=0.5), "merge_error: "),
    (lambda r: replace(r, work=None), "work.tokens: "),
    (lambda r: replace(r, bytes=None), "bytes.adapter_size: "),
    (lambda r: replace(r, provenance=replace(r.provenance, too_long={"dev": 3})), "provenance.too_long.dev: None"),
    (lambda r: replace(r, scores={**r.scores, "last": replace(r.scores["last"], note="")}), "scores.last.note: "),
]  # fmt: skip


@pytest.mark.parametrize(("change", "said"), HERE, ids=[said[:24] for _, said in HERE])
def test_on_the_same_processor_with_the_same_code_nothing_may_differ(
    record: CellRecord,
    parts: Parts,
    change: Callable[[CellRecord], CellRecord],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(envelope, "judge", lambda *_: (True, "inside"))  # whatever repetitions say
    before = flipped(parts) if change(record) == record else parts
    same, lines = compare(change(record), record, before, parts)
    assert not same
    assert said in "\n".join(lines)
    assert lines[-1].endswith("is the same here: nothing explains that")


def test_predictions_that_differ_in_logits_alone_differ_on_the_same_processor(record: CellRecord, parts: Parts) -> None:
    scaled = [replace(p, logits=None if p.logits is None else p.logits * 2) for p in parts]
    same, lines = compare(record, record, scaled, parts)
    assert (same, lines[0]) == (False, "the predictions are not the same")
    assert compare(elsewhere(record), record, scaled, parts)[0]  # the same answers


def test_what_is_not_known_or_not_the_same_may_explain_a_difference(
    record: CellRecord, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envelope, "judge", lambda *_: (True, "inside"))
    known = record.provenance
    for other in (
        elsewhere(record).provenance,
        replace(known, hardware=replace(known.hardware, instructions=None)),
        replace(known, git=Git("a" * 40, True)),
        replace(known, git=Git("b" * 40, False)),
        replace(known, git=Git()),
        replace(known, versions={**known.versions, "numpy": "0"}),
        replace(known, cpu_ops={"attention": "library"}),
        replace(known, forward={"factored": 1}),
    ):
        same, lines = compare(replace(record, provenance=other), record, flipped(parts), parts)
        assert same
        assert "inside" in lines
    for resumed in (replace(record, restarts=1), replace(record, processes=2)):
        same, lines = compare(resumed, record, flipped(parts), parts)
        assert same
        assert lines[-1].startswith(("the record's run was resumed", "another number of processes: 1"))
    # padding and FLOPs are those of the batches, which are others on two processes
    assert record.work is not None
    padded = replace(record, processes=2, work=replace(record.work, tokens_padded=1, forward=1, backward=1))
    assert compare(padded, record, parts, parts)[0]
    assert not compare(replace(padded, processes=record.processes), record, parts, parts)[0]


def test_patience_may_end_two_runs_at_other_steps(
    record: CellRecord, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envelope, "judge", lambda *_: (True, "inside"))
    patient = replace(record, cell={**record.cell, "trainer": {**record.cell["trainer"], "patience": 1}})
    more = (*record.epochs, replace(record.epochs[0], epoch=2))
    longer = replace(patient, epochs=more, provenance=replace(record.provenance, stopped_early=4))
    same, lines = compare(elsewhere(longer), patient, flipped(parts), parts)
    assert same
    assert "trainer.patience ended this run at the end, the record's at step 4" in lines
    assert not compare(longer, patient, parts, parts)[0]
    # an epoch that was left out, of a record that keeps no predictions
    shorter = replace(patient, provenance=replace(record.provenance, predictions=None))
    same, lines = compare(elsewhere(shorter), replace(patient, epochs=more), [], [])
    assert (same, lines[0]) == (False, "epochs: 2, the record has 1")


def test_a_metric_that_one_machine_lacks_is_not_compared_and_said(record: CellRecord, parts: Parts) -> None:
    def with_meteor(value: float | None) -> CellRecord:
        own = {"meteor": value} if value is not None else {"absent": {"meteor": "no Java"}}
        epoch = record.epochs[0]
        scores = {split: {**known, **own} for split, known in epoch.scores.items()}
        return replace(record, epochs=(replace(epoch, scores=scores),))

    for before, after in ((0.5, None), (None, 0.5)):
        for place in (elsewhere, lambda one: one):
            same, lines = compare(place(with_meteor(before)), with_meteor(after), parts, parts)
            assert same
            assert "not compared: meteor (no Java)" in lines
    assert not compare(elsewhere(with_meteor(0.5)), with_meteor(0.25), parts, parts)[0]


def test_what_repetitions_do_not_keep_is_shown(
    record: CellRecord, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(envelope, "judge", lambda *_: (True, "inside"))
    measured = replace(record, retention=Retention("drift", pristine=0.0, adapted=0.5))
    before = elsewhere(replace(record, retention=Retention("drift", pristine=0.0, adapted=0.2)))
    same, lines = compare(before, measured, flipped(parts), parts)
    assert same
    assert "retention.adapted: 0.5, the record has 0.2 (repetitions do not tell of it)" in lines
    same, lines = compare(before, measured, parts, parts)  # predictions are the same, and so is the model
    assert not same
    assert "retention.adapted: 0.5, the record has 0.2" in lines


def test_a_run_that_is_compared_keeps_its_predictions(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    records = folder / "results" / "records" / "mine"
    (own,) = read_records(records)
    assert main(["verify", own.cell_id, "predictions.keep=false"]) == 2
    assert "a run that is compared keeps all" in capsys.readouterr().err
    parts = read_predictions(own, records)
    file = write_predictions(predictions_path(records, own.cell_id), parts, 10**6)
    command = (*own.provenance.command, "predictions.keep=false", "predictions.max_mb=0.000001")
    replace(own, provenance=replace(own.provenance, command=command, predictions=file)).write(records)
    assert main(["verify", own.cell_id]) == 1
    assert "no predictions of the new run to compare: the file has" in capsys.readouterr().out

"""The file of predictions beside a record: what is written comes back, damage and size are said, items keep apart."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Dataset

from tests.support.records import finished_record
from uora_bench.config.compose import compose
from uora_bench.data.sources import row_ids
from uora_bench.errors import UserError
from uora_bench.records.predictions import (
    EpochPredictions,
    predictions_path,
    read_predictions,
    why_no_predictions,
    write_predictions,
)
from uora_bench.records.provenance import PredictionsFile
from uora_bench.records.record import EpochScores, find_record, read_record, set_aside
from uora_bench.records.selection import chosen_epochs, kept_epochs, select_scores
from uora_bench.training.kept import KeptPredictions

ID = "0123456789abcdef"


def recorded(folder: Path, parts: list[EpochPredictions], limit: int = 10**6):
    """The record of a cell with the predictions ``parts`` in ``folder``."""
    record = finished_record(compose(["method=lora", "task=tiny/nli"]).cell, ID, "x")
    made = write_predictions(predictions_path(folder, ID), parts, limit)
    return replace(record, provenance=replace(record.provenance, predictions=made))


def part(split: str = "dev", epoch: int = 1, count: int = 5, **columns) -> EpochPredictions:
    given = {"prediction": np.arange(count) % 3, "reference": np.arange(count) % 2, **columns}
    return EpochPredictions(split, epoch, np.arange(count, dtype=np.uint64) + np.uint64(2**63), **given)


@pytest.mark.parametrize(
    "columns",
    [
        {"logits": np.array([[70000.0, -1e9], [0.1, -0.0], [1, 2], [3, 4], [np.inf, -np.inf]], dtype=np.float32)},
        {"prediction": np.linspace(0, 5, 5, dtype=np.float32), "reference": np.linspace(5, 0, 5, dtype=np.float32)},
        {"prediction": np.array([0.1, 1e-9, 3.0, 4.0, 1 / 3]), "reference": np.ones(5)},
        {"prediction": ["a", "", "ä\u2028b", "c d", "a"], "reference": [["a", "b"], ["x"], ["y"], ["z"], ["a"]]},
        {"prediction": ["a", "b", "c", "d", "e"], "reference": ["a", "b", "c", "d", "f"]},
    ],
    ids=["classes", "regression", "likelihoods", "texts", "answers"],
)
def test_what_is_written_comes_back(columns, tmp_path):
    parts = [part("dev", 1, **columns), part("test", 1, **columns), part("dev", 7, **columns)]
    record = recorded(tmp_path, parts)
    found = read_predictions(record, tmp_path)
    assert [(p.split, p.epoch) for p in found] == [("dev", 1), ("test", 1), ("dev", 7)]
    for before, after in zip(parts, found, strict=True):
        assert np.array_equal(before.item, after.item)
        for name in ("prediction", "reference"):
            ours, theirs = getattr(before, name), getattr(after, name)
            assert np.array_equal(ours, theirs) if isinstance(ours, np.ndarray) else list(ours) == list(theirs)
        if before.logits is None:
            assert after.logits is None
        else:
            limited = np.where(np.isfinite(before.logits), np.clip(before.logits, -65504, 65504), before.logits)
            assert np.allclose(limited, after.logits, rtol=1e-3)
    size = record.provenance.predictions.size
    assert size == predictions_path(tmp_path, ID).stat().st_size
    again = recorded(tmp_path, parts)
    assert again.provenance.predictions == record.provenance.predictions  # the same bytes


def test_a_file_that_is_too_large_loses_its_logits_or_is_left_out_and_the_record_says_so(tmp_path):
    draws = np.random.default_rng(0)
    large = part(count=3000, logits=draws.normal(size=(3000, 4)).astype(np.float32))
    whole = recorded(tmp_path, [large])
    assert why_no_predictions(whole) == ""
    smaller = recorded(tmp_path, [large], whole.provenance.predictions.size - 1)
    assert smaller.provenance.predictions.left_out.startswith("logits: with them the file has 0.0")
    assert read_predictions(smaller, tmp_path)[0].logits is None
    predictions_path(tmp_path, ID).unlink()
    none = recorded(tmp_path, [large], 100)
    assert "more than 0.0001 MB (predictions.max_mb)" in why_no_predictions(none)
    assert read_predictions(none, tmp_path) == []
    assert not predictions_path(tmp_path, ID).exists()


def test_a_file_that_is_gone_or_another_one_is_refused(tmp_path):
    record = recorded(tmp_path, [part()])
    path = predictions_path(tmp_path, ID)
    raw = path.read_bytes()
    path.write_bytes(raw[:-1] + bytes([raw[-1] ^ 1]))
    with pytest.raises(UserError, match="is not the file that its record was written with"):
        read_predictions(record, tmp_path)
    path.unlink()
    with pytest.raises(UserError, match="cannot read the predictions"):
        read_predictions(record, tmp_path)


def test_a_type_that_no_column_can_hold_is_said(tmp_path):
    with pytest.raises(UserError, match="a type that parquet does not know"):
        write_predictions(tmp_path / "x", [part(count=2, prediction=[object(), object()])], 10**6)
    assert not list(tmp_path.iterdir())


def test_an_older_record_is_read_written_as_it_was_and_says_what_it_lacks(root, tmp_path):
    path = next(iter(sorted((root / "results" / "records" / "minilm_glue").glob("*.json"))))
    record = read_record(path)
    assert why_no_predictions(record) == "made before predictions were kept"
    assert read_predictions(record, path.parent) == []
    copy = record.write(tmp_path)
    assert "predictions" not in copy.read_text("utf-8")
    off = replace(record.provenance, predictions=PredictionsFile(left_out="predictions.keep=false"))
    replace(record, provenance=off).write(tmp_path)
    assert why_no_predictions(read_record(copy)) == "predictions.keep=false"


def test_the_file_goes_where_the_record_goes(tmp_path):
    record = recorded(tmp_path, [part()])
    record.write(tmp_path)
    aside = set_aside(tmp_path, ID)
    assert {path.name for path in aside.iterdir()} == {f"{ID}.json", f"{ID}.predictions.parquet"}
    assert not predictions_path(tmp_path, ID).exists()
    assert len(read_predictions(find_record(aside, ID), aside)) == 1


# --- which epochs ----------------------------------------------------------------------------------------------------


def epochs(*scores: tuple[float, float, float]) -> list[EpochScores]:
    """One per (dev, first half, second half)."""
    made = [({"dev": {"accuracy": dev}, "test": {"accuracy": 0.5}}, (a, b)) for dev, a, b in scores]
    return [EpochScores(i + 1, i + 1, 0.1, own, 1.0, halves=halves) for i, (own, halves) in enumerate(made)]


def test_the_epochs_of_every_rule_are_kept_and_only_dev_of_those_that_halves_choose():
    metric = compose(["method=lora", "task=tiny/nli"]).cell.task.metric
    run = epochs((0.6, 0.7, 0.5), (0.8, 0.75, 0.85), (0.8, 0.6, 0.9), (0.7, 0.7, 0.7))
    numbers = {rule: [e.epoch for e in own] for rule, own in chosen_epochs(run, metric).items()}
    assert numbers == {"last": [4], "best_dev": [2], "heldout_dev": [2, 3]}
    assert kept_epochs(run, metric) == [(2, "dev"), (2, "test"), (3, "dev"), (4, "dev"), (4, "test")]
    assert select_scores(run, metric)["heldout_dev"].scores["dev"]["accuracy"] == pytest.approx((0.85 + 0.6) / 2)


def test_what_no_rule_can_choose_any_more_is_removed_while_training(tmp_path):
    metric = compose(["method=lora", "task=tiny/nli"]).cell.task.metric
    kept, run = (
        KeptPredictions(tmp_path, ID),
        epochs((0.6, 0.5, 0.7), (0.8, 0.9, 0.7), (0.7, 0.8, 0.6), (0.7, 0.8, 0.6)),
    )

    class Numbers:
        def outputs(self, predictions):
            return None

    for i in range(len(run)):
        for role in ("dev", "test"):
            kept.save(Numbers(), role, i + 1, np.full(3, i))
        kept.remove_others(run[: i + 1], metric)
        for epoch, role in kept_epochs(run[: i + 1], metric):
            assert kept.load(role, epoch).tolist() == [epoch - 1] * 3
    assert {p.name for p in kept.folder.iterdir()} == {
        "dev.epoch1.npy", "dev.epoch2.npy", "test.epoch2.npy", "dev.epoch4.npy", "test.epoch4.npy",
    }  # fmt: skip
    with pytest.raises(UserError, match="those of epoch 3 on dev cannot be read"):
        kept.load("dev", 3)
    file = kept.folder / "dev.epoch4.npy"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(UserError, match="cut, damaged"):
        kept.load("dev", 4)
    with pytest.raises(UserError, match=f"it is of {ID}"):
        KeptPredictions(tmp_path, "f" * 16).load("dev", 2)


# --- which item ------------------------------------------------------------------------------------------------------


def test_a_row_has_one_number_wherever_it_stands_and_twins_have_two():
    rows = Dataset.from_dict({"idx": range(4), "text": ["a", "b", "a", "c"], "label": [0, 1, 0, 1]})
    ids = row_ids(rows)
    assert len(set(ids.tolist())) == 4
    assert row_ids(rows.select([3, 1]).remove_columns("idx")).tolist() == [ids[3], ids[1]]
    assert row_ids(rows.select([0, 2]))[0] == ids[0]
    other = Dataset.from_dict({"label": [1], "text": ["a"]})
    assert row_ids(other)[0] not in ids


@pytest.mark.parametrize("change", ["cut", "no item", "an item twice"])
def test_a_file_that_holds_no_predictions_is_refused_in_one_line(change, tmp_path):
    record = recorded(tmp_path, [part()])
    path = predictions_path(tmp_path, ID)
    table = pq.read_table(path)
    pq.write_table(table.drop_columns(["item"]) if change == "no item" else pa.concat_tables([table, table]), path)
    if change == "cut":
        path.write_bytes(path.read_bytes()[:500])
    made = PredictionsFile(hashlib.sha256(path.read_bytes()).hexdigest(), 1)
    with pytest.raises(UserError, match="run the cell again") as caught:
        read_predictions(replace(record, provenance=replace(record.provenance, predictions=made)), tmp_path)
    assert "\n" not in str(caught.value)

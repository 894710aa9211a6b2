"""Records: what is written is what is read, nothing invalid is read or written, and the rules that choose a score."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uora_bench.config.cell import MetricSpec
from uora_bench.config.compose import compose
from uora_bench.errors import UserError
from uora_bench.records.provenance import Git, Provenance
from uora_bench.records.record import (
    SCHEMA,
    CellRecord,
    Counts,
    EpochScores,
    RuleScore,
    Sizes,
    Split,
    Timing,
    find_record,
    read_record,
)
from uora_bench.records.selection import select_scores
from uora_bench.util import atomic
from uora_bench.util.schema import plain

ACCURACY = MetricSpec("glue/rte", "accuracy")
ERROR = MetricSpec("made/up", "error", higher_is_better=False)
CELL_ID = "0123456789abcdef"


def epoch(number: int, dev: float, halves: tuple[float, float] | None = None, name: str = "accuracy") -> EpochScores:
    scores = {"dev": {name: dev}, "test": {name: dev / 2}}
    return EpochScores(number, 10 * number, 0.5, scores, 1.5, halves=halves)


CELL = plain(compose(["method=uora", "task=tiny/nli", "recipe=none", "method.tau=1e-5"]).cell.canonical())


def done(**changes: Any) -> CellRecord:
    epochs = (epoch(1, 0.5, (0.4, 0.6)), epoch(2, 0.75, (0.7, 0.8)))
    values: dict[str, Any] = {
        "schema": SCHEMA, "status": "done", "cell_id": CELL_ID, "experiment": "scratch", "label": "uora · ü",
        "cell": CELL, "recipe": {"name": "none", "status": "own"},
        "sources": {"method.rank": "own"}, "metric": ACCURACY,
        "provenance": Provenance(Git("abc", False), {"torch": "2"}), "splits": {"dev": Split("validation", 4)},
        "scores": select_scores(epochs, ACCURACY), "epochs": epochs,
        "counts": Counts(10, 20, 1000), "bytes": Sizes(40, 100, 200), "seconds": Timing(0.5, 2.0, 1.0, 3.5),
        "examples_per_second": 12.5, "tokens_per_second": 99.0, "peak_memory_bytes": 1 << 30,
        "peak_memory_kind": "resident", "precision": "float32", "processes": 1, "merge_error": 1e-7,
        "method": {"refreshes": {"total": 3}},
    }  # fmt: skip
    return CellRecord(**{**values, **changes})


def failed(reason: str = "the loss is not finite") -> CellRecord:
    kept = ("schema", "cell_id", "experiment", "label", "cell", "recipe", "sources", "metric", "provenance")
    return CellRecord(status="failed", reason=reason, **{k: getattr(done(), k) for k in kept})


# --- the file -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("made", [done(), failed(), done(bytes=None, merge_error=None, restarts=2)])
def test_what_is_written_is_what_is_read(made: CellRecord, tmp_path: Path) -> None:
    path = made.write(tmp_path / "records" / "x")
    assert path.name == f"{CELL_ID}.json"
    assert read_record(path) == made
    assert find_record(path.parent, CELL_ID) == made
    assert find_record(path.parent, "f" * 16) is None


def test_writing_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    path = done().write(tmp_path)
    first = path.read_bytes()
    read_record(path).write(tmp_path)
    assert path.read_bytes() == first
    assert "uora · ü" in first.decode()


def without(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda data: data.pop(name)


def with_value(value: object, *keys: str | int) -> Callable[[dict[str, Any]], object]:
    def change(data: Any) -> None:
        for key in keys[:-1]:
            data = data[key]
        data[keys[-1]] = value

    return change


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (with_value(1, "speling"), "speling"),
        (with_value(1, "counts", "adaptor"), "counts.adaptor"),
        (without("label"), "'label' is missing"),
        (without("metric"), "metric"),
        (without("schema"), "schema None"),
        (with_value(3, "schema"), "schema 3"),
        (with_value("2", "schema"), "schema 2"),
        (with_value(1, "schema"), "of schema 1; run `uora-bench records migrate"),
        (with_value([0.5], "epochs", 0, "halves"), "halves"),
        (with_value("x", "provenance", "speling"), "provenance.speling"),
        (with_value({"name": "validation"}, "splits", "dev"), "splits.dev.rows"),
        (without("splits"), "dev"),
        (with_value("finished", "status"), "status"),
        (with_value("10", "counts", "adapter"), "counts.adapter"),
        (with_value(1.5, "counts", "adapter"), "counts.adapter"),
        (with_value(True, "epochs", 1, "step"), "epochs[1].step"),
        (with_value("fast", "seconds", "train"), "seconds.train"),
        (with_value({}, "epochs"), "epochs"),
        (with_value([], "epochs"), "epochs"),
        (with_value({}, "scores"), "scores"),
        (without("scores"), "scores"),
        (lambda data: data["scores"].pop("best_dev"), "scores"),
        (without("counts"), "counts"),
        (with_value(None, "seconds"), "seconds"),
        (with_value(float("nan"), "epochs", 0, "train_loss"), "NaN"),
        (with_value(float("nan"), "scores", "last", "scores", "dev", "accuracy"), "NaN"),
        (with_value(float("inf"), "examples_per_second"), "Infinity"),
    ],
)
def test_a_record_that_is_not_valid_is_refused_in_one_line(
    change: Callable[[dict[str, Any]], object], part: str, tmp_path: Path
) -> None:
    path = done().write(tmp_path)
    data = json.loads(path.read_text())
    change(data)
    path.write_text(json.dumps(data))
    refused(path, part)


def refused(path: Path, part: str) -> None:
    with pytest.raises(UserError) as caught:
        read_record(path)
    message = str(caught.value)
    assert "\n" not in message
    assert part in message
    assert str(path) in message


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "3", "\x00", '{"schema": 1', "not json\nat all"])
def test_what_is_no_record_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    refused(path, "remove it and run again")


def test_a_file_cut_at_any_place_is_refused(tmp_path: Path) -> None:
    path = done().write(tmp_path)
    whole = path.read_bytes()
    for length in range(0, len(whole) - 2, 97):
        path.write_bytes(whole[:length])
        refused(path, "cannot read")


def test_a_record_with_nan_does_not_come_into_being(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        done(examples_per_second=float("nan")).write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_failure_never_replaces_a_finished_record(tmp_path: Path) -> None:
    path = done().write(tmp_path)
    before = path.read_bytes()
    assert failed().write(tmp_path) == path
    assert path.read_bytes() == before


def test_a_finished_record_and_a_newer_failure_replace_a_failure(tmp_path: Path) -> None:
    path = failed("first").write(tmp_path)
    failed("second").write(tmp_path)
    assert read_record(path).reason == "second"
    done().write(tmp_path)
    assert read_record(path).status == "done"


# --- writing whole or not at all ----------------------------------------------------------------------------------


def half_then(error: BaseException) -> Callable[[Path], None]:
    def writer(path: Path) -> None:
        path.write_text("half")
        raise error

    return writer


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), ValueError("x"), KeyboardInterrupt()])
def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(error: BaseException, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    atomic.write_text(path, "old")
    with pytest.raises(type(error)):
        atomic.write_file(path, half_then(error))
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_a_disk_that_fills_up_while_flushing_leaves_the_old_file(
    step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = done().write(tmp_path)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, step, full)
    with pytest.raises(OSError, match="No space left"):
        done(restarts=1).write(tmp_path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_reader_never_sees_a_half_written_file(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    atomic.write_text(path, "old")
    seen: list[str] = []

    def writer(temporary: Path) -> None:
        assert temporary != path
        assert temporary.parent == path.parent  # the same file system, or the last step would be a copy
        temporary.write_text("ne")
        seen.append(path.read_text())
        temporary.write_text("new")

    atomic.write_file(path, writer)
    assert seen == ["old"]
    assert path.read_text() == "new"


# --- selection ----------------------------------------------------------------------------------------------------


def test_ties_take_the_first_and_last_takes_the_last() -> None:
    rules = select_scores([epoch(i + 1, v) for i, v in enumerate([0.5, 0.8, 0.8, 0.6])], ACCURACY)
    assert (rules["best_dev"].epoch, rules["last"].epoch) == (2, 4)
    assert rules["best_dev"].scores == {"dev": {"accuracy": 0.8}, "test": {"accuracy": 0.4}}
    assert rules["last"].scores["dev"] == {"accuracy": 0.6}
    assert "heldout_dev" not in rules


def test_a_metric_of_which_less_is_better_is_minimised() -> None:
    epochs = [epoch(i + 1, v, (v, v), "error") for i, v in enumerate([0.5, 0.2, 0.2, 0.6])]
    rules = select_scores(epochs, ERROR)
    assert rules["best_dev"].epoch == 2
    assert rules["heldout_dev"].scores == {"dev": {"error": pytest.approx(0.2)}}


def test_no_epoch_gives_no_score() -> None:
    assert select_scores([], ACCURACY) == {}


value = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])


@given(st.lists(st.tuples(value, value, value), min_size=1, max_size=8), st.booleans())
def test_the_rules_equal_a_slow_computation(rows: list[tuple[float, float, float]], higher: bool) -> None:
    metric = dataclasses.replace(ACCURACY, higher_is_better=higher)
    epochs = [epoch(i + 1, dev, (a, b)) for i, (dev, a, b) in enumerate(rows)]
    chosen = []
    for column in range(3):
        best = 0
        for i in range(1, len(rows)):
            better = rows[i][column] > rows[best][column] if higher else rows[i][column] < rows[best][column]
            best = i if better else best
        chosen.append(best)
    rules = select_scores(epochs, metric)
    assert rules["best_dev"].epoch == chosen[0] + 1
    expected = (rows[chosen[1]][2] + rows[chosen[2]][1]) / 2  # chosen on one half, scored on the other
    assert rules["heldout_dev"] == RuleScore({"dev": {"accuracy": expected}}, None, rules["heldout_dev"].note)
    assert all("halves" not in scores for rule in rules.values() for scores in rule.scores.values())


def test_of_the_provenance_only_what_is_known_is_written(tmp_path: Path) -> None:
    data = json.loads(done().write(tmp_path).read_text())
    assert data["provenance"] == {"git": {"commit": "abc", "dirty": False}, "versions": {"torch": "2"}}

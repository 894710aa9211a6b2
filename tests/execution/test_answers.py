"""Answers of two runs: classes, texts, choices are the same or not, numbers near or far; and what repetitions say."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.made_up_report import cell
from tests.support.records import finished_record
from uora_bench.execution.answers import Difference, answers_of, difference
from uora_bench.execution.envelope import (
    SCHEMA,
    Envelope,
    KeptCell,
    answers,
    judge,
    read_envelope,
    repetition_of,
)
from uora_bench.records.predictions import EpochPredictions
from uora_bench.records.record import CellRecord, RuleScore

REFERENCES = [[0, 4, 4, 4], [1, 4, 8], [2, 2, 4, 8]]  # the right choice, then each choice's characters
LOSSES = [[1.0, 2.0, 3.0], [3.0, 4.0, np.inf], [9.0, 8.0, 7.0]]
VALUES = st.lists(st.floats(-100, 100, width=32), min_size=5, max_size=5)


def part(prediction: object, reference: object = None, split: str = "dev") -> EpochPredictions:
    count = len(prediction)  # type: ignore[arg-type]
    return EpochPredictions(split, 1, np.arange(count, dtype=np.uint64), prediction, reference or [0] * count)


@cache
def record(metric: str) -> CellRecord:
    made = finished_record(cell("uora"), "0" * 16, "made_up", scores={"last": RuleScore({}, 1, "")}, epochs=())
    return replace(made, metric=replace(made.metric, name=metric))


def kept(metric: str, runs: list[EpochPredictions]) -> KeptCell:
    """The runs as the repetitions of one cell."""
    own = record(metric)
    first = answers(own, runs[:1])
    made = tuple(repetition_of({}, own, [run], first) for run in runs)
    words = own.cell["method"]["name"], own.cell["backbone"]["name"]
    return KeptCell(own.cell_id, "a cell", *words, (), "Z80", "2", {"dev": len(runs[0].item)}, made)


def judged(metric: str, before: EpochPredictions, after: EpochPredictions, cells: tuple[KeptCell, ...]) -> str:
    """What `judge` says of two runs of one cell."""
    own = record(metric)
    apart = {("dev", 1): difference(answers_of(metric, before), answers_of(metric, after))}
    inside, said = judge(own, own, apart, Envelope(SCHEMA, own.cell["task"]["name"], cells))
    assert said.startswith("inside the envelope: " if inside else "outside the envelope (")
    return said


def test_choices_are_what_is_taken_and_not_the_likelihoods() -> None:
    def run(losses: object) -> list[object]:
        return answers_of("choices/likelihood", part(losses, REFERENCES))

    first = run(LOSSES)
    assert first == [[0, 0], [0, 1], [2, 2]]  # by likelihood, and per character
    assert difference(first, run(np.array(LOSSES) * 1.1)) == Difference(0, 3)
    plain, per_character = ([*LOSSES[:1], [3.0, loss, np.inf], *LOSSES[2:]] for loss in (2.0, 7.0))
    assert difference(first, run(plain)) == Difference(1, 3)
    assert difference(first, run(per_character)) == Difference(1, 3)


def test_classes_and_texts_are_the_same_or_not() -> None:
    classes = [answers_of("text/classes", part(np.array(own))) for own in ([0, 1, 2], [0, 2, 1])]
    assert difference(*classes) == Difference(2, 3)
    texts = [answers_of("text/generation", part(own)) for own in (["a", "b"], ["a", "b "])]
    assert difference(*texts) == Difference(1, 2)
    assert difference([], []) == Difference(0, 0)


@settings(deadline=None)
@given(VALUES, VALUES)
def test_numbers_have_a_distance(a: list[float], b: list[float]) -> None:
    before, after = (answers_of("text/regression", part(np.array(own, dtype=np.float32))) for own in (a, b))
    found = difference(before, after)
    assert found == difference(after, before)
    assert found.distance == pytest.approx(float(np.sqrt(np.mean((np.array(a) - np.array(b)) ** 2))), rel=1e-6)
    assert difference(before, before) == Difference(0, 5, 0.0)


def test_numbers_that_rounding_explains_do_not_differ() -> None:
    found = difference([7.0, 0.0, 50.0], [7.001, 1e-6, 50.1])
    assert (found.items, found.total) == (1, 3)


@settings(deadline=None)
@given(st.lists(VALUES, min_size=2, max_size=4))
def test_the_widest_distance_of_repetitions_is_that_of_the_two_farthest(runs: list[list[float]]) -> None:
    cells = kept("text/regression", [part(np.array(own)) for own in runs])
    most = max(difference(a, b).distance or 0.0 for a in runs for b in runs)
    assert (cells.widest_distance("dev") or 0.0) == pytest.approx(most, rel=1e-5, abs=1e-4)


def test_a_run_is_held_against_the_distance_of_repetitions(tmp_path: Path) -> None:
    own = kept("text/regression", [part(np.array([1.0, 2.0, 3.0, 4.0]) + shift) for shift in (0.0, 0.2, -0.1)])
    Envelope(SCHEMA, "a/task", (own,)).write(tmp_path)
    there = read_envelope("a/task", tmp_path)
    assert there is not None
    assert there.cells == (own,)  # whole numbers too are numbers again
    before = part(np.array([1.0, 2.0, 3.0, 4.0]))
    said = judged("text/regression", before, part(before.prediction + 0.25), there.cells)
    assert said.endswith("3 repetitions of a cell differ among themselves in up to 0.3 in root mean square of dev")
    said = judged("text/regression", before, part(before.prediction + 0.35), there.cells)
    assert said.endswith(": predictions of dev by 0.35 in root mean square, repetitions by up to 0.3")
    said = judged("text/regression", before, part(before.prediction * np.nan), there.cells)
    assert "predictions of dev by nan in root mean square" in said
    same = kept("text/regression", [before, before])
    said = judged("text/regression", before, part(before.prediction + 0.25), (same,))
    assert said.endswith("predictions of dev by 0.25 in root mean square, of which no repetition tells")


def test_a_run_is_held_against_the_choices_that_repetitions_take() -> None:
    runs = [part(np.array(LOSSES) * scale, REFERENCES) for scale in (1.0, 1.1, 0.9)]
    metric = "choices/likelihood"
    other = part([[1.0, 0.5, 3.0], *LOSSES[1:]], REFERENCES)
    assert "up to 0 of 3 of dev" in judged(metric, runs[0], runs[1], (kept(metric, runs),))
    said = judged(metric, runs[0], other, (kept(metric, runs),))
    assert said.endswith("1 of 3 items of dev, where repetitions differ in up to 0")
    assert "up to 1 of 3 of dev" in judged(metric, runs[0], other, (kept(metric, [*runs, other]),))

"""Answers of two runs: classes, texts, choices are the same or not, numbers near or far; and what repetitions say."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.made_up_report import cell
from tests.support.records import finished_record
from uora_bench.errors import UserError
from uora_bench.execution.answers import Difference, answers_of, difference
from uora_bench.execution.envelope import (
    SCHEMA,
    Envelope,
    KeptCell,
    Repetition,
    answers,
    judge,
    numbers,
    read_envelope,
    repetition_of,
    settings_of,
)
from uora_bench.records.predictions import EpochPredictions
from uora_bench.records.record import CellRecord, EpochScores, RuleScore

REFERENCES = [[0, 4, 4, 4], [1, 4, 8], [2, 2, 4, 8]]  # the right choice, then each choice's characters
LOSSES = [[1.0, 2.0, 3.0], [3.0, 4.0, np.inf], [9.0, 8.0, 7.0]]
VALUES = st.lists(st.floats(-100, 100, width=32), min_size=5, max_size=5)


def part(prediction: Any, reference: object = None, split: str = "dev") -> EpochPredictions:
    items = np.arange(len(prediction), dtype=np.uint64)
    return EpochPredictions(split, 1, items, prediction, reference or [0] * len(items))


@cache
def record(metric: str) -> CellRecord:
    made = finished_record(cell("uora"), "0" * 16, "made_up", scores={"last": RuleScore({}, 1, "")}, epochs=())
    return replace(made, metric=replace(made.metric, name=metric))


def kept(metric: str, runs: list[EpochPredictions]) -> KeptCell:
    """The runs as the repetitions of one cell."""
    own = record(metric)
    first = answers(own, runs[:1])
    made = tuple(repetition_of({}, own, [run], first) for run in runs)
    names = own.cell_id, "a cell", own.cell["method"]["name"], settings_of(own)
    return KeptCell(*names, (), "Z80", "2", {"dev": len(runs[0].item)}, made)


def judged(metric: str, before: EpochPredictions, after: EpochPredictions, cells: tuple[KeptCell, ...]) -> str:
    """What `judge` says of two runs of one cell."""
    own = record(metric)
    apart = {("dev", 1): difference(answers_of(metric, before), answers_of(metric, after))}
    inside, said = judge(own, own, apart, Envelope(SCHEMA, own.cell["task"]["name"], cells))
    assert said.startswith("inside the envelope" if inside else "outside the envelope (")
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
    for unit in (1e-5, 1.0, 1e5):
        before, after = [7.0 * unit, 0.0, 50.0 * unit], [7.001 * unit, 0.001 * unit, 50.1 * unit]
        assert (difference(before, after).items, len(before)) == (1, 3)
    assert difference([math.nan, 1.0], [math.nan, 1.0]) == Difference(0, 2, 0.0)


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

    def said(after: object, *cells: KeptCell) -> str:
        return judged("text/regression", before, part(after), cells)

    assert "two of one cell differ in up to 0.3 in root mean square of dev" in said(before.prediction + 0.25, own)
    told = "predictions of dev by 0.35 in root mean square, repetitions by up to 0.3"
    assert told in said(before.prediction + 0.35, own)
    assert "predictions of dev by inf in root mean square" in said(before.prediction * np.inf, own)
    same = kept("text/regression", [before, before])
    assert "by 0.25 in root mean square, of which no repetition tells" in said(before.prediction + 0.25, same)


def test_a_run_is_held_against_the_choices_that_repetitions_take() -> None:
    runs = [part(np.array(LOSSES) * scale, REFERENCES) for scale in (1.0, 1.1, 0.9)]
    other = part([[1.0, 0.5, 3.0], *LOSSES[1:]], REFERENCES)

    def said(after: EpochPredictions, own: list[EpochPredictions]) -> str:
        return judged("choices/likelihood", runs[0], after, (kept("choices/likelihood", own),))

    assert "up to 0 of 3 of dev" in said(runs[1], runs)
    assert "1 of 3 items of dev, where repetitions differ in up to 0" in said(other, runs)
    assert "up to 1 of 3 of dev" in said(other, [*runs, other])


def test_what_repetitions_say_of_other_cells_is_said() -> None:
    runs = [part(np.array([0, 1, 1, 0])), part(np.array([0, 1, 1, 1]))]
    own = kept("text/classes", runs)
    few = "fewer than 20 repetitions show too little of how far they may lie apart"
    said = judged("text/classes", *runs, (own,))
    assert said.startswith(
        "inside the envelope: 2 repetitions of a cell; two of one cell differ in up to 1 of 4 of dev; "
    )
    assert said.endswith(few)
    whole = replace(own, repetitions=own.repetitions * 10)
    assert few not in judged("text/classes", *runs, (whole,))
    another = replace(whole, cell_id="1" * 16, label="another seed")
    assert "repetitions of another seed" not in judged("text/classes", *runs, (whole, another))
    assert "very cell" not in judged("text/classes", *runs, (whole, another))
    said = judged("text/classes", *runs, (another,))
    assert (
        "no repetitions of this very cell are kept (scripts/envelope.py makes them): it may vary more, or less" in said
    )
    said = judged("text/classes", *runs, (replace(another, method="lora"),))
    assert said.startswith("inside the envelope of other methods: 20 repetitions of another seed; ")
    # other settings or rows: nothing can be said
    mine = record("text/classes")
    apart = {("dev", 1): Difference(0, 4)}
    for other in (settings_of(replace(mine, precision="bfloat16")), "f" * 16):
        there = Envelope(SCHEMA, "a/task", (replace(another, settings=other),))
        inside, said = judge(mine, mine, apart, there)
        assert not inside
        assert "with these settings and data are kept" in said


def test_numbers_outside_are_said_once_a_kind() -> None:
    def made(losses: list[float]) -> CellRecord:
        epochs = tuple(
            EpochScores(n + 1, n + 1, loss, {"dev": {"accuracy": 0.5}}, 1.0) for n, loss in enumerate(losses)
        )
        return replace(record("text/classes"), epochs=epochs)

    first = made([0.5, 0.4, 0.3])
    one = kept("text/classes", [part(np.array([0, 1]))])
    assert one.settings == settings_of(first)
    steady = replace(one.repetitions[0], numbers=numbers(first))
    there = Envelope(SCHEMA, "a/task", (replace(one, repetitions=(steady, steady)),))
    inside, said = judge(first, made([0.5, 0.5, 0.6]), {("dev", 1): Difference(0, 2)}, there)
    assert not inside
    assert "): training loss of epoch 3 and 1 more epoch by 0.3, repetitions by up to 0; " in said


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda cell: replace(cell, repetitions=()), "there are no repetitions"),
        (lambda cell: replace(cell, items={"dev": 0}), "or none of any item"),
        (lambda cell: replace(cell, items={"test": 2}), "a repetition with other items"),
        (lambda cell: replace(cell, items={"dev": 1}), "a repetition with other items"),
        (
            lambda cell: replace(cell, repetitions=(*cell.repetitions, mixed())),
            "answers of dev that are partly numbers",
        ),
    ],
)
def test_a_file_that_does_not_fit_together_is_one_line(
    tmp_path: Path, change: Callable[[KeptCell], KeptCell], problem: str
) -> None:
    own = kept("text/regression", [part(np.array([1.0, 2.0]) + shift) for shift in (0.0, 0.5)])
    path = Envelope(SCHEMA, "a/task", (change(own),)).write(tmp_path)
    with pytest.raises(UserError, match=problem) as error:
        read_envelope("a/task", tmp_path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def mixed() -> Repetition:
    return Repetition({}, {}, {}, {"dev": {"0" * 16: 1}})


def test_numbers_that_are_not_finite_are_no_repetition() -> None:
    with pytest.raises(UserError, match=r"a prediction is inf or 1\.0"):
        kept("text/regression", [part(np.array([1.0])), part(np.array([np.inf]))])

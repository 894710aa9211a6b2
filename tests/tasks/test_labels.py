"""Class labels: names say which class is meant, codes are a fallback that contradicts no name."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Value

from tests.support.pictures import one_line, task_of
from uora_bench.data import sources
from uora_bench.data.sources import Source
from uora_bench.errors import UserError
from uora_bench.tasks import labels

STANDARD = ["entailment", "neutral", "contradiction"]
OTHER = ["contradiction", "entailment", "neutral"]
MEANT = ["neutral", "entailment", "contradiction", "entailment"]
MNLI = ("task=glue/mnli",)


def rows_of(names: list[str] | None, values: list[Any]) -> Dataset:
    """Rows of MNLI; ``names``: of the class codes ``values``, None: they are plain values."""
    kind = ClassLabel(names=names) if names else Value("string" if isinstance(values[0], str) else "int64")
    features = Features({"premise": Value("string"), "hypothesis": Value("string"), "label": kind})
    texts = [f"text {i}" for i in range(len(values))]
    return Dataset.from_dict({"premise": texts, "hypothesis": texts, "label": values}, features=features)


def coded(names: list[str]) -> Dataset:
    return rows_of(names, [names.index(name) for name in MEANT])


def loaded(root: Path, train: Dataset, dev: Dataset) -> dict[str, Dataset]:
    folder = root / "glue" / "mnli"
    folder.mkdir(parents=True)
    for split, rows in (("train", train), ("validation_matched", dev), ("validation_mismatched", dev)):
        rows.to_parquet(str(folder / f"{split}.parquet"))
    found: dict[str, Dataset] = task_of(*MNLI).splits(Source(root))
    return found


def test_the_same_classes_in_another_order_or_in_words_are_the_same_data(tmp_path: Path) -> None:
    expected = loaded(tmp_path / "standard", coded(STANDARD), coded(STANDARD))
    assert list(expected["train"]["label"]) == [1, 0, 2, 0]
    mixed = (coded(STANDARD), coded(OTHER)), (coded(OTHER), coded(OTHER)), (rows_of(None, MEANT), coded(OTHER))
    for number, (train, dev) in enumerate(mixed):
        made = loaded(tmp_path / str(number), train, dev)
        for role, rows in made.items():
            assert list(rows["label"]) == list(expected[role]["label"])
            assert sources.fingerprint(rows) == sources.fingerprint(expected[role])


def test_plain_codes_and_codes_in_the_order_of_the_task_are_left_as_they_are() -> None:
    task = task_of(*MNLI)
    for rows in (rows_of(None, [0, 2, 1]), coded(STANDARD)):
        assert task.in_codes(rows) is rows
    score = Dataset.from_dict({"sentence1": ["a"], "sentence2": ["b"], "label": [2.5]})
    assert task_of("task=glue/stsb").in_codes(score) is score


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (rows_of(["CONTRADICTION", "Entailment", "neutral"], [0, 1]), "this data 3 and among them 'CONTRADICTION'"),
        (rows_of(["contradiction", "entails", "neutral"], [0, 1]), "among them 'entails'; did you mean 'entailment'?"),
        (rows_of(["a", "b"], [0, 1]), "has 3 classes, this data 2"),
        (rows_of(None, ["entailment", "neutrall"]), "'neutrall'; did you mean 'neutral'?"),
        (rows_of(None, ["Entailment", "Neutral", "Contradiction"]), "'Contradiction'"),  # texts have no order
        (rows_of(None, ["0", "1", "2"]), "'0'"),
        (rows_of(None, [1, 2, 3]), "found 1 to 3 (count from 0)"),
        (rows_of(None, [-1, -1]), "an unlabelled test split"),
    ],
)
def test_a_name_that_contradicts_its_code_is_refused(rows: Dataset, message: str) -> None:
    with pytest.raises(UserError) as caught:
        task_of(*MNLI).check(rows)
    assert message in one_line(caught)


def test_some_of_the_classes_are_enough() -> None:
    for rows in (rows_of(["neutral", "entailment"], [0, 1]), rows_of(None, ["neutral", "entailment"])):
        assert list(task_of(*MNLI).in_codes(rows)["label"]) == [1, 0]


def test_other_words_in_the_same_places_are_codes_and_that_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    spelling = rows_of(["Entailment", "NEUTRAL", "contra-diction"], [2, 0])
    assert labels.codes_of(spelling, "label", STANDARD, "task=a").tolist() == [2, 0]
    assert capsys.readouterr().err == ""
    words = rows_of(["yes", "neutral", "no"], [2, 0])
    for _ in range(2):
        assert labels.codes_of(words, "label", STANDARD, "task=a").tolist() == [2, 0]
    (line,) = capsys.readouterr().err.splitlines()
    assert "yes, neutral, no, not entailment, neutral, contradiction" in line


@pytest.mark.parametrize(("values", "gap"), [([1, 2, 3], 0), ([0, 1, 3], 2)])
def test_codes_without_names_leave_no_class_empty(values: list[int], gap: int) -> None:
    with pytest.raises(UserError, match=rf"no row has {gap}: number the classes from 0") as caught:
        labels.classes_of(rows_of(None, values), "label", "task=a")
    one_line(caught)
    assert labels.classes_of(rows_of(None, [1, 0, 2]), "label", "task=a") == ("0", "1", "2")

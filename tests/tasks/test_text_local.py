"""A user's own labelled rows: classes or numbers, which columns, what is drawn, and every mistake as one line."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.support import own_files
from uora_bench.config.compose import compose
from uora_bench.config.preflight import preflight
from uora_bench.data.sources import Source, fingerprint
from uora_bench.errors import UserError
from uora_bench.tasks import create_task


def task_of(path: Path | None, *words: str) -> Any:
    named = [] if path is None else [f"task.path={path}"]
    composed = compose(["task=text/local", "method=lora", "backbone=tiny_roberta", "recipe=none", *named, *words])
    preflight(composed.cell, library=False)
    return create_task(composed.cell.task)


def loaded(path: Path, *words: str) -> tuple[Any, dict[str, Any]]:
    task = task_of(path, *words)
    return task, task.splits(Source())


def labelled(path: Path, labels: list[Any], copies: int = 4) -> Path:
    return own_files.write(path, [{"text": f"text {i}", "label": v} for i, v in enumerate(labels * copies)])


def test_every_format_gives_the_same_splits(tmp_path: Path) -> None:
    rows = own_files.reviews()
    made = []
    for suffix in own_files.FORMATS:
        task, parts = loaded(own_files.write(tmp_path / f"reviews{suffix}", rows), "task.columns=[text]")
        made.append({role: fingerprint(part) for role, part in parts.items()})
        assert task.split_name("dev") == f"a random 10 % of reviews{suffix} (split seed 0)"
        assert task.split_name("test") == f"a random 10 % of reviews{suffix}, apart from dev (split seed 0)"
        assert task.split_name("train") == f"reviews{suffix} without the 20 % of dev and test (split seed 0)"
    assert all(one == made[0] for one in made)
    assert {role: len(part) for role, part in parts.items()} == {"train": 32, "dev": 4, "test": 4}
    assert Counter(parts["dev"]["label"]) == {0: 2, 1: 2}
    assert (task.classes, task.metric.name, task.metric.primary) == (("neg", "pos"), "text/classes", "accuracy")


def test_the_order_of_the_rows_does_not_change_who_is_in_dev(tmp_path: Path) -> None:
    rows = own_files.reviews()
    _, one = loaded(own_files.write(tmp_path / "a.csv", rows))
    _, other = loaded(own_files.write(tmp_path / "b.csv", rows[::-1]))
    _, seed = loaded(tmp_path / "a.csv", "task.split_seed=1", "seed=5")
    _, same = loaded(tmp_path / "a.csv", "seed=5")
    assert sorted(one["dev"]["text"]) == sorted(other["dev"]["text"]) == sorted(same["dev"]["text"])
    assert sorted(one["dev"]["text"]) != sorted(seed["dev"]["text"])


@pytest.mark.parametrize("suffix", [".csv", ".jsonl", ".parquet"])
@pytest.mark.parametrize(
    ("labels", "words", "classes", "metric"),
    [
        (["b", "a"], [], ("a", "b"), "accuracy"),
        (["b", "a"], ["task.labels=[b,a]"], ("b", "a"), "accuracy"),
        ([10, 9, 2], [], ("2", "9", "10"), "accuracy"),
        ([0, 1], ["task.labels=[no,yes]"], ("no", "yes"), "accuracy"),
        ([0.5, 1.25, 3.0], [], (), "pearson"),
        ([1, 2, 3], ["task.target=regression", "task.metric.primary=mse"], (), "mse"),
        ([1.0, 2.0], ["task.target=classes"], None, "accuracy"),
        (["1", "x"], ["task.target=classes", "task.metric.primary=macro_f1"], ("1", "x"), "macro_f1"),
    ],
)
def test_the_labels_decide(
    labels: list[Any], words: list[str], classes: tuple[str, ...] | None, metric: str, suffix: str, tmp_path: Path
) -> None:
    task, parts = loaded(labelled(tmp_path / f"a{suffix}", labels), *words)
    if classes is not None:
        assert task.classes == classes
    assert task.metric.primary == metric
    assert task.metric.higher_is_better == (metric != "mse")
    assert task.head.config["num_labels"] == (len(task.classes) or 1)
    assert task.settled["columns"] == ["text"]
    wanted = {f"text {i}": value for i, value in enumerate(labels * 4)}
    for row in (row for part in parts.values() for row in part):
        if task.is_regression:
            assert row["label"] == float(wanted[row["text"]])
        elif words != ["task.labels=[no,yes]"] and classes is not None:
            assert task.classes[row["label"]] == str(wanted[row["text"]])


def test_true_and_false_and_class_labels_of_parquet_are_classes(tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Value

    assert loaded(labelled(tmp_path / "a.jsonl", [True, False]))[0].classes == ("false", "true")
    features = Features({"text": Value("string"), "label": ClassLabel(names=["z", "a"])})
    rows = Dataset.from_dict({"text": [f"t{i}" for i in range(20)], "label": [0, 1] * 10}, features=features)
    rows.to_parquet(str(tmp_path / "b.parquet"))
    assert loaded(tmp_path / "b.parquet")[0].classes == ("z", "a")


def test_a_folder_has_its_own_splits(tmp_path: Path) -> None:
    rows = own_files.reviews(60)
    own_files.write(tmp_path / "train.csv", rows[:40])
    own_files.write(tmp_path / "test.jsonl", rows[40:])
    task, parts = loaded(tmp_path)
    assert {role: len(part) for role, part in parts.items()} == {"train": 36, "dev": 4, "test": 20}
    assert task.split_name("train") == "train.csv without the 10 % of dev (split seed 0)"
    assert task.split_name("test") == "test.jsonl"
    own_files.write(tmp_path / "validation.parquet", rows[40:50])
    task, parts = loaded(tmp_path, "task.splits.test=null")
    assert {role: len(part) for role, part in parts.items()} == {"train": 40, "dev": 10}
    assert task.roles == ("train", "dev")
    cut = loaded(tmp_path / "train.csv", "task.splits.train=all[:30]", "task.splits.dev=all[30:]")
    assert {role: len(part) for role, part in cut[1].items()} == {"train": 30, "dev": 10}
    assert cut[0].split_name("dev") == "train.csv[30:]"
    files = Source().hashes(task.spec.source, task.spec.to_load.values())
    assert set(files) == {"train.csv", "validation.parquet"}


def test_a_metric_of_the_other_kind_of_target_says_how_to_get_it(tmp_path: Path) -> None:
    stars = own_files.write(tmp_path / "stars.csv", [{"text": f"t {i}", "label": i % 5} for i in range(50)])
    with pytest.raises(UserError, match=r"=mse is for regression, and column 'label' .* set task\.target=regression"):
        loaded(stars, "task.metric.primary=mse")
    task, _ = loaded(stars, "task.metric.primary=mse", "task.target=regression")
    assert task.metric.name == "text/regression"
    with pytest.raises(UserError, match=r"=macro_f1 is for classes, .* set task\.target=classes"):
        loaded(stars, "task.metric.primary=macro_f1", "task.target=regression")


def test_what_is_missing_is_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*own_files.reviews(), {"id": 0, "text": "x", "label": ""}, {"id": 0, "text": " ", "label": "pos"}]
    path = own_files.write(tmp_path / "a.csv", rows)
    with pytest.raises(UserError, match=r"2 of 42 rows of a\.csv have no label, answer or text, the first is row 41"):
        loaded(path)
    task, parts = loaded(path, "task.missing=drop")
    assert sum(map(len, parts.values())) == 40
    assert "a.csv (2 rows dropped: something is missing)" in task.split_name("dev")
    twice = own_files.write(tmp_path / "b.csv", [{"text": "same", "label": v} for v in "ab" * 10])
    loaded(twice)
    assert "2 of 2 rows of dev have the text of a training row" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("rows", "words", "message"),
    [
        ([{"a": "x", "b": "y", "label": "p"}], [], r"2 text columns beside 'label' \(a, b, label\); name one"),
        ([{"a": "1", "label": "p"}], [], "has no text column beside 'label'"),
        ([{"text": "x", "stars": 1}], [], "has no column 'label', its columns are text, stars; .*task.label"),
        ([{"text": "x", "label": "p"}], ["task.columns=[txt]"], "no column 'txt'.*task.columns"),
        ([{"text": "x", "label": "p"}] * 9, [], "all rows of a.csv have the label 'p'"),
        ([{"text": "x", "label": v} for v in "ppppq"], [], "1 class of a.csv with one row only, such as 'q'"),
        ([{"text": "x", "label": v} for v in ("1", "2", "n/a")], [], "mixes numbers with others, such as 'n/a'"),
        ([{"text": "x", "label": v} for v in ("1.0", "2.0")], [], "2 numbers without a fraction.*task.target=classes"),
        ([{"text": "x", "label": v} for v in ("1.5", "x")], ["task.target=regression"], "label 'x' is no number"),
        ([{"text": "x", "label": v} for v in "ppqq"], ["task.labels=[p,r]"], "task.labels lacks: 'q'"),
        ([{"text": "x", "label": v} for v in "pq" * 2], ["task.split.dev=0.01"], "too few to draw dev from"),
        ([{"text": "x", "label": v} for v in ("pos", "Pos ") * 4], [], "'Pos ' and 'pos' of a.csv differ in spelling"),
        ([{"text": "x", "label": v} for v in ("caf\u00e9", "cafe\u0301") * 4], [], "differ in spelling alone"),
        ([{"text": "x", "label": v} for v in ("01", "1") * 4], [], "labels '01' and '1' of a.csv differ in spelling"),
        ([{"text": "x", "label": v} for v in ("9" * 5000, "1") * 4], [], "2 numbers without a fraction"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_the_labels_is_one_line(
    rows: list[dict[str, str]], words: list[str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=message) as error:
        loaded(own_files.write(tmp_path / "a.csv", rows), *words)
    assert "\n" not in str(error.value)


def test_what_differs_little_but_is_another_class_is_one(tmp_path: Path) -> None:
    assert loaded(labelled(tmp_path / "a.csv", ["-1", "+1"]))[0].classes == ("-1", "+1")
    assert loaded(labelled(tmp_path / "b.csv", ["C++", "C", "C#"]))[0].classes == ("C", "C#", "C++")
    assert loaded(labelled(tmp_path / "c.csv", ["us", "US"]), "task.labels=[us,US]")[0].classes == ("us", "US")


@pytest.mark.parametrize("value", [["x"], 3.5, {"a": 1}])
def test_a_text_column_that_holds_other_things_is_refused(value: Any, tmp_path: Path) -> None:
    path = own_files.write(tmp_path / "a.jsonl", [{"text": value, "label": v} for v in "pq" * 4])
    with pytest.raises(UserError, match=r"column 'text' must hold text, it holds .*row 0 \(from 0\)"):
        loaded(path, "task.columns=[text]")


def test_a_label_that_training_lacks_is_refused(tmp_path: Path) -> None:
    own_files.write(tmp_path / "train.csv", own_files.reviews(8))
    own_files.write(tmp_path / "dev.csv", [{"id": 0, "text": "x", "label": "Pos"}])
    with pytest.raises(UserError, match=r"1 row of dev\.csv with labels that the training split lacks: 'Pos'.*'pos'"):
        loaded(tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task.path=null"], "rows of your own: name them with task.path="),
        (["task.split={dev: 0.6, test: 0.5}"], "leaves nothing to train on"),
        (["task.split.dev=0"], "task.split.dev=0.0 must be above 0"),
        (["task.columns=[a,b,c]"], "one or two text columns"),
        (["task.labels=[a]"], "two or more classes"),
        (["task.separator=;;"], "one character, or tab"),
        (["task.metric.primary=f1_score"], "no 'f1_score'"),
        (["task.metric.name=text/regression", "task.metric.primary=mse"], "for mse of text/regression it is false"),
        (["task.metric.name=mine"], "name the value of mine"),
    ],
)  # fmt: skip
def test_a_wrong_option_is_known_before_the_data(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        task_of(Path("a.csv"), *words)


def test_the_id_holds_the_name_of_the_file_and_no_path(tmp_path: Path) -> None:
    words = ["task=text/local", "method=lora", "backbone=tiny_roberta"]
    cells = [compose([*words, *more]).cell for more in (
        [f"task.path={tmp_path}/one/a.csv"], [f"task.path={tmp_path}/two/a.csv"], [f"data.root={tmp_path}/a.csv"],
        [f"task.path={tmp_path}/b.csv"],
    )]  # fmt: skip
    assert len({cell.key for cell in cells}) == 2
    assert cells[0].key == cells[1].key == cells[2].key
    assert str(tmp_path) not in str(cells[0].canonical())
    assert cells[0].label == "lora · text/local (a.csv) · tiny_roberta · seed 0"


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r", "\n\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_line_ends_blank_lines_and_a_byte_order_mark_change_nothing(end: str, mark: str, tmp_path: Path) -> None:
    lines = ["text,label", *(f"text {i},{'ab'[i % 2]}" for i in range(20))]
    for name, text in (("plain.csv", "\n".join(lines) + "\n"), ("odd.csv", mark + end.join(lines) + end)):
        (tmp_path / name).write_bytes(text.encode())
    plain, odd = (loaded(tmp_path / name)[1] for name in ("plain.csv", "odd.csv"))
    assert {role: fingerprint(part) for role, part in odd.items()} == {r: fingerprint(p) for r, p in plain.items()}


@pytest.mark.slow
def test_ten_thousand_classes_are_split_in_their_shares(tmp_path: Path) -> None:
    rows = [{"text": f"text {i}", "label": f"c{i // 3}"} for i in range(30_000)]
    task, parts = loaded(own_files.write(tmp_path / "many.csv", rows))
    assert len(task.classes) == 10_000
    assert {role: len(part) for role, part in parts.items()} == {"train": 24_000, "dev": 3_000, "test": 3_000}
    assert len(set(parts["train"]["label"])) == 10_000, "what is scored was learnt"

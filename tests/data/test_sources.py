"""Rows and batches: every local layout gives the same rows, parts add up, and what is missing or broken is one line."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Image
from hypothesis import given
from hypothesis import strategies as st

from uora_bench.cli.main import main
from uora_bench.config import registry
from uora_bench.config.cell import Cell
from uora_bench.config.compose import compose
from uora_bench.config.data_source import DataSource, Hub
from uora_bench.data import hub, sources
from uora_bench.data.files import SUFFIXES, read_rows
from uora_bench.data.ragged import Ragged
from uora_bench.data.sources import Source
from uora_bench.errors import UserError
from uora_bench.models import backbones
from uora_bench.tasks import create_task, task_class
from uora_bench.tasks.base import Encoded

ROWS = [
    {"sentence1": f'A "quoted" line {i}: ü\u2028é', "sentence2": "b" * i, "label": float(i % 6), "idx": i}
    for i in range(23)
]
MADE = DataSource("glue", "made")
GLUE = [t for t in registry.choices("task") if t.startswith("glue/")]


def write(root: Path, suffix: str, rows: list[dict[str, Any]] = ROWS, split: str = "train") -> Path:
    path = root / "glue" / "made" / f"{split}{suffix}"
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if suffix == ".parquet":
        Dataset.from_list(rows).to_parquet(str(path))
    elif suffix == ".jsonl.gz":
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text)
    return path


def refusal(root: Path | None, split: str = "train", source: DataSource = MADE) -> str:
    with pytest.raises(UserError) as caught:
        Source(root).load(source, split)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_layout_gives_the_same_rows_and_fingerprint(suffix: str, tmp_path: Path) -> None:
    write(tmp_path, suffix)
    rows = Source(tmp_path).load(MADE, "train")
    assert list(rows) == ROWS
    assert sources.fingerprint(rows) == sources.fingerprint(Dataset.from_list(ROWS))


def test_the_fingerprint_is_of_the_content_and_its_order_but_not_of_idx_or_the_order_of_columns() -> None:
    whole = sources.fingerprint(Dataset.from_list(ROWS))
    assert sources.fingerprint(Dataset.from_list([{**r, "idx": 0} for r in ROWS])) == whole
    assert sources.fingerprint(Dataset.from_list([dict(reversed(r.items())) for r in ROWS])) == whole
    assert sources.fingerprint(Dataset.from_list(ROWS).select(range(23))) == whole
    others = [ROWS[::-1], ROWS[:-1], [{**ROWS[0], "label": 5.0}, *ROWS[1:]], [{**r, "x": 1} for r in ROWS]]
    assert len({whole, *(sources.fingerprint(Dataset.from_list(rows)) for rows in others)}) == 5


def test_text_that_looks_like_a_date_stays_text(tmp_path: Path) -> None:
    rows = [{"sentence1": "2020-01-01", "sentence2": "12:30", "label": 0}]
    write(tmp_path, ".jsonl", rows)
    assert list(Source(tmp_path).load(MADE, "train")) == rows


def test_a_row_longer_than_a_reading_block_is_read(tmp_path: Path) -> None:
    rows = [{"sentence1": "x" * (3 << 20), "label": 0}, {"sentence1": "y", "label": 1}]
    write(tmp_path, ".jsonl.gz", rows)
    assert list(Source(tmp_path).load(MADE, "train")) == rows


def test_a_gzip_file_cut_at_any_place_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, ".jsonl.gz", ROWS * 50)
    whole = path.read_bytes()
    for length in (0, 5, len(whole) // 2, len(whole) - 4):
        path.write_bytes(whole[:length])
        message = refusal(tmp_path)
        assert str(path) in message
        assert "copy or prefetch it again" in message


@pytest.mark.parametrize(
    "text", ["", '{"sentence1": "a"', '{"a": 1}\nnonsense\n', '{"a": 1}\n{"a": "b"}\n', "[1, 2]\n", "\x00\x01"]
)
def test_invalid_json_lines_are_refused(text: str, tmp_path: Path) -> None:
    path = write(tmp_path, ".jsonl")
    path.write_text(text)
    assert str(path) in refusal(tmp_path)


def test_a_parquet_file_that_is_none_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, ".parquet")
    path.write_bytes(path.read_bytes()[:-9])
    assert str(path) in refusal(tmp_path)


def test_a_parquet_file_keeps_its_types_and_is_read_without_a_cache_or_a_word(
    shared: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("datasets.builder.DatasetBuilder.download_and_prepare", pytest.fail)
    rows = read_rows(shared / "data" / "cifar10" / "plain_text" / "test.parquet")
    assert isinstance(rows.features["img"], Image)
    assert isinstance(rows.features["label"], ClassLabel)
    assert rows.features["label"].names[:2] == ["airplane", "automobile"]
    picture = rows.cast_column("img", Image(decode=False))[0]["img"]["bytes"]
    assert picture.startswith(b"\xff\xd8\xff")  # a JPEG
    assert capfd.readouterr() == ("", "")


def test_a_folder_with_an_equals_sign_is_no_column(tmp_path: Path) -> None:
    write(tmp_path / "kind=a", ".parquet")
    assert list(Source(tmp_path / "kind=a").load(MADE, "train")) == ROWS


@pytest.mark.parametrize("text", [b'{"a": "caf\xe9"}\n', b'{"caf\xe9": 1}\n', '{"a": "x"}\n'.encode("utf-16")])
def test_json_lines_that_are_not_utf8_are_refused(text: bytes, tmp_path: Path) -> None:
    path = write(tmp_path, ".jsonl")
    path.write_bytes(text)
    assert str(path) in refusal(tmp_path)


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(UserError, match="is not a folder"):
            Source(path)


def test_without_data_and_hub_one_line_names_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "reachable", lambda *_: False)
    for root in (None, tmp_path):
        for source in (MADE, DataSource("glue", "rte", Hub("nobody/nothing", "0" * 40))):
            message = refusal(root, source=source)
            assert all(part in message for part in ("data.root", "uora-bench prefetch", "task=tiny/nli", "train")), (
                message
            )


def test_a_split_that_is_missing_names_those_that_are_there(tmp_path: Path) -> None:
    write(tmp_path, ".jsonl.gz")
    write(tmp_path, ".parquet", split="validation")
    message = refusal(tmp_path, "validaton")
    assert "holds train, validation of it" in message
    assert "did you mean 'validation'?" in message


def test_a_generated_task_refuses_a_split_it_does_not_have() -> None:
    message = refusal(None, "dev", DataSource("generated", "nli"))
    assert all(part in message for part in ("dev", "train", "validation", "test"))


@pytest.mark.parametrize("name", ["nil", "grammar", "nli.rows", "", ".."])
def test_an_unknown_generated_dataset_names_the_nearest(name: str) -> None:
    message = refusal(None, source=DataSource("generated", name))
    assert f"'{name}'" in message
    assert "nli" in message.replace(f"'{name}'", "")


# --- prefetch -----------------------------------------------------------------------------------------------------


def test_prefetch_into_what_is_no_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    for root in (tmp_path / "file", tmp_path / "file" / "below"):
        assert main(["prefetch", "task=tiny/nli", f"data.root={root}"]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert f"cannot write to data.root='{root}'" in line


# --- parts --------------------------------------------------------------------------------------------------------


def part(split: str, count: int = 23) -> list[int]:
    source = Source()
    rows = Dataset.from_list([{"idx": i} for i in range(count)])
    object.__setattr__(source, "_whole", lambda *_: rows)
    return list(source.load(MADE, split)["idx"])


@pytest.mark.parametrize(
    ("split", "expected"),
    [
        ("train", range(23)), ("train[:]", range(23)), ("train[5:]", range(5, 23)), ("train[:5]", range(5)),
        ("train[3:7]", range(3, 7)), ("train[:50%]", range(12)), ("train[80%:]", range(18, 23)),
        ("train[10%:5]", range(2, 5)), ("train[:99]", range(23)), ("train[:200%]", range(23)),
    ],
)  # fmt: skip
def test_a_part_holds_the_rows_it_says(split: str, expected: range) -> None:
    assert part(split) == list(expected)


@given(st.integers(1, 200), st.integers(1, 99), st.sampled_from(["", "%"]))
def test_two_parts_with_one_border_are_the_whole(count: int, border: int, unit: str) -> None:
    def rows(split: str) -> list[int]:
        try:
            return part(split, count)
        except UserError:
            return []  # a part without rows is refused

    assert rows(f"train[:{border}{unit}]") + rows(f"train[{border}{unit}:]") == list(range(count))


@pytest.mark.parametrize(
    "split", ["train[]", "train[3]", "train[a:b]", "train[:-1]", "train[3:", "[3:4]", "", "train[7:3]", "train[30:]",
              "train[:0]", "train[0%:0%]", "train[%:50%]", "train[:%]"],
)  # fmt: skip
def test_a_part_that_makes_no_sense_or_is_empty_is_refused(split: str) -> None:
    with pytest.raises(UserError, match="split"):
        part(split)


# --- the real files -----------------------------------------------------------------------------------------------

OFFICIAL = {
    "rte": (2490, 277), "mrpc": (3668, 408), "sst2": (67349, 872), "stsb": (5749, 1500), "wnli": (635, 71),
}  # fmt: skip


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_shared_files_have_the_official_row_counts_and_columns(name: str, shared: Path) -> None:
    task = task_of(f"glue/{name}")
    rows = task.splits(Source(shared / "data"))
    assert {k: len(v) for k, v in rows.items()} == dict(zip(("train", "dev"), OFFICIAL[name], strict=True))
    for split in rows.values():
        assert {*task.config.columns, "label"} <= set(split.column_names)


# --- encoding and collating ---------------------------------------------------------------------------------------


def task_of(name: str, *words: str) -> Any:
    cell = compose([f"task={name}", "recipe=none", *words]).cell
    return create_task(cell.task)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    cell = compose([]).cell
    return AutoTokenizer.from_pretrained(backbones.locate(cell.backbone)[0])


def rows_of(task: Any, count: int = 9) -> Dataset:
    """``count`` rows with the task's columns, of 1 to 9 words, with every label in use."""
    text = {c: [" ".join(["red", "dog"] * 5)[: 4 * (i + 1)].strip() for i in range(count)] for c in task.config.columns}
    labels = [i % len(task.config.labels) if task.config.labels else i / 2 for i in range(count)]
    return Dataset.from_dict({**text, "label": labels})


@pytest.mark.parametrize("name", GLUE)
def test_every_glue_task_encodes_and_collates(name: str, tokenizer: Any) -> None:
    task = task_of(name)
    encoded = task.encode(rows_of(task), tokenizer)
    assert len(encoded) == 9
    batch = task.collate(encoded, [8, 0, 3], "dynamic")
    assert batch["input_ids"].shape == batch["attention_mask"].shape
    assert batch["attention_mask"].sum(1).tolist() == encoded.lengths[[8, 0, 3]].tolist()
    assert (batch["input_ids"] == tokenizer.pad_token_id).equal(batch["attention_mask"] == 0)
    assert batch["input_ids"][1, : encoded.lengths[0]].tolist() == encoded.features["input_ids"][0].tolist()
    assert batch["labels"].tolist() == pytest.approx(encoded.references[[8, 0, 3]])
    assert batch["weight"].tolist() == [1.0, 1.0, 1.0]
    if name == "glue/stsb":
        assert task.is_regression
        assert task.head.config == {"num_labels": 1}
        assert batch["labels"].dtype.is_floating_point
    else:
        assert task.head.config["num_labels"] == (3 if name == "glue/mnli" else 2)
        assert not batch["labels"].dtype.is_floating_point
    assert task.metric.primary in task.score(encoded.references, encoded.references)


def test_the_glue_tasks_are_the_nine() -> None:
    nine = "cola mnli mrpc qnli qqp rte sst2 stsb wnli"
    assert [name.removeprefix("glue/") for name in GLUE] == nine.split()
    assert task_of("glue/mnli").spec.splits.extra == {"mismatched": "validation_mismatched"}


@pytest.mark.parametrize("label", [-1, 2])
def test_an_unlabelled_or_unknown_label_is_refused(label: int, tokenizer: Any) -> None:
    task = task_of("glue/rte")
    rows = Dataset.from_list([*rows_of(task), {"sentence1": "a", "sentence2": "b", "label": label}])
    with pytest.raises(UserError, match="labels must be 0 to 1"):
        task.encode(rows, tokenizer)


def test_a_missing_column_is_refused_with_those_that_are_there(tokenizer: Any) -> None:
    task = task_of("glue/rte")
    with pytest.raises(UserError, match=r"needs column 'sentence2'; the data has sentence1, label"):
        task.encode(rows_of(task).remove_columns("sentence2"), tokenizer)


RTE = {"sentence1": "a", "sentence2": "b", "label": 0}


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("rte", {"sentence2": None}, "row 2 (from 0) has no 'sentence2': it is null"),
        ("rte", {"label": None}, "row 2 (from 0) has no 'label': it is null"),
        ("stsb", {"label": None}, "row 2 (from 0) has no 'label': it is null"),
        ("stsb", {"label": float("nan")}, "row 2 (from 0) has label nan, not a finite number"),
        ("rte", {"label": 0.5}, "row 2 (from 0) has label 0.5, not a class code"),
    ],
)
def test_a_row_without_what_training_needs_is_refused_by_its_number(
    name: str, change: dict[str, Any], message: str, tokenizer: Any, tmp_path: Path
) -> None:
    task = task_of(f"glue/{name}")
    label = 0 if change.get("label") is None and name == "rte" else 0.0
    good = {**RTE, "label": label}
    rows = Dataset.from_list([good, good, {**good, **change}, good])
    with pytest.raises(UserError) as caught:
        task.encode(rows, tokenizer)
    assert message in str(caught.value)
    folder = tmp_path / "glue" / name
    folder.mkdir(parents=True)
    good_rows = Dataset.from_list([good])
    good_rows.to_parquet(str(folder / "train.parquet"))
    rows.to_parquet(str(folder / "validation.parquet"))
    with pytest.raises(UserError) as caught:
        task.splits(Source(tmp_path))
    assert message in str(caught.value)
    assert str(caught.value).endswith("(split 'validation')")


@pytest.mark.parametrize(
    ("change", "message"),
    [({"label": [1]}, "'label' must hold class codes or names"), ({"sentence1": 1}, "'sentence1' must hold text")],
)
def test_a_column_of_another_type_is_refused(change: dict[str, Any], message: str, tokenizer: Any) -> None:
    with pytest.raises(UserError, match=message):
        task_of("glue/rte").encode(Dataset.from_list([{**RTE, **change}]), tokenizer)


def test_data_without_rows_is_refused(tokenizer: Any) -> None:
    with pytest.raises(UserError, match="no rows"):
        task_of("glue/rte").encode(Dataset.from_list([RTE]).select([]), tokenizer)


@pytest.mark.parametrize("columns", ["[]", "[a,b,c]"])
def test_a_task_that_cannot_be_is_refused(columns: str) -> None:
    with pytest.raises(UserError, match="one or two text columns"):
        _ = compose(["task=glue/rte", "recipe=none", f"task.columns={columns}"]).cell


def test_rows_tokenised_in_parts_are_those_tokenised_at_once(tokenizer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    task = task_of("glue/rte")
    whole = task.encode(rows_of(task), tokenizer)
    monkeypatch.setattr("uora_bench.data.tokens._ROWS_AT_A_TIME", 4)
    parts = task.encode(rows_of(task), tokenizer)
    assert parts.lengths.tolist() == whole.lengths.tolist()
    assert [i.tolist() for i in parts.features["input_ids"]] == [i.tolist() for i in whole.features["input_ids"]]
    assert whole.features["input_ids"].flat.nbytes == 4 * whole.lengths.sum()


@given(st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=5), max_size=9), st.data())
def test_ragged_sequences_are_the_lists_they_were_made_of(lists: list[list[int]], draw: st.DataObject) -> None:
    border = draw.draw(st.integers(0, len(lists)))
    for ragged in (Ragged.of(lists), Ragged.join([Ragged.of(lists[:border]), Ragged.of(lists[border:])])):
        assert [r.tolist() for r in ragged] == lists
        assert ragged.lengths.tolist() == [len(x) for x in lists]
        assert [ragged[i - len(lists)].tolist() for i in range(len(lists))] == lists
        if lists:
            indices = draw.draw(st.lists(st.integers(0, len(lists) - 1), min_size=1))
            assert ragged.gather(np.array(indices)).tolist() == [x for i in indices for x in lists[i]]


@given(st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(8, 40))
def test_dynamic_padding_is_a_multiple_of_8_and_never_above_the_longest_allowed(words: list[int], most: int) -> None:
    task = task_of_length(most)
    lengths = np.minimum(np.array(words) + 2, most)
    encoded = data_of(lengths)
    width = task.collate(encoded, range(len(lengths)), "dynamic")["input_ids"].shape[1]
    assert lengths.max() <= width <= most
    assert width % 8 == 0 or width == most
    assert width - lengths.max() < 8
    assert task.collate(encoded, range(len(lengths)), "max_length")["input_ids"].shape[1] == most


def task_of_length(most: int) -> Any:
    cell = Cell.from_config(CONFIG)
    options = replace(cell.task.options, max_length=most)  # type: ignore[call-arg]
    return task_class(cell.task.family)(replace(cell.task, options=options))


CONFIG = compose(["task=glue/rte", "recipe=none"]).values


def data_of(lengths: np.ndarray) -> Any:
    ids = [[5] * n for n in lengths]
    return Encoded({"input_ids": ids}, np.zeros(len(lengths), dtype=np.int64), lengths, {"input_ids": 1})


def test_a_longer_text_is_cut_to_the_longest_allowed(tokenizer: Any) -> None:
    task = task_of("glue/rte", "task.max_length=8")
    encoded = task.encode(rows_of(task), tokenizer)
    assert encoded.lengths.max() == 8


@pytest.mark.parametrize("suffix", [".jsonl", ".jsonl.gz"])
def test_a_json_array_is_answered_with_the_way_to_lines(suffix: str, tmp_path: Path) -> None:
    path, text = write(tmp_path, suffix), " [\n" + ",\n".join(json.dumps(row) for row in ROWS) + "]"
    path.write_bytes(gzip.compress(text.encode()) if suffix == ".jsonl.gz" else text.encode())
    assert "one JSON array: write one object a line" in refusal(tmp_path)

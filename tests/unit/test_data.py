"""Rows and batches: every local layout gives the same rows, parts add up, and what is missing or broken is one line."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from uora_bench import backbones, data, hub, registry
from uora_bench.cell import Cell, DataSource, Hub
from uora_bench.compose import compose
from uora_bench.data import Source
from uora_bench.errors import UserError

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


@pytest.mark.parametrize("suffix", data.SUFFIXES)
def test_every_layout_gives_the_same_rows_and_fingerprint(suffix: str, tmp_path: Path) -> None:
    write(tmp_path, suffix)
    rows = Source(tmp_path).load(MADE, "train")
    assert list(rows) == ROWS
    assert data.fingerprint(rows) == data.fingerprint(Dataset.from_list(ROWS))


def test_the_fingerprint_is_of_the_content_and_its_order_but_not_of_idx_or_the_order_of_columns() -> None:
    whole = data.fingerprint(Dataset.from_list(ROWS))
    assert data.fingerprint(Dataset.from_list([{**r, "idx": 0} for r in ROWS])) == whole
    assert data.fingerprint(Dataset.from_list([dict(reversed(r.items())) for r in ROWS])) == whole
    assert data.fingerprint(Dataset.from_list(ROWS).select(range(23))) == whole
    others = [ROWS[::-1], ROWS[:-1], [{**ROWS[0], "label": 5.0}, *ROWS[1:]], [{**r, "x": 1} for r in ROWS]]
    assert len({whole, *(data.fingerprint(Dataset.from_list(rows)) for rows in others)}) == 5


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


def test_a_root_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "nowhere", tmp_path / "file"):
        with pytest.raises(UserError, match="is not a folder"):
            Source(path)


def test_without_data_and_hub_one_line_names_the_ways_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "reachable", lambda: False)
    for root in (None, tmp_path):
        for source in (MADE, DataSource("glue", "rte", Hub("nobody/nothing", "0" * 40))):
            message = refusal(root, source=source)
            assert all(part in message for part in ("data.root", "make prefetch", "task=tiny/nli", "train")), message


def test_a_split_that_is_missing_names_those_that_are_there(tmp_path: Path) -> None:
    write(tmp_path, ".jsonl.gz")
    write(tmp_path, ".parquet", split="validation")
    message = refusal(tmp_path, "validaton")
    assert "holds train, validation of it" in message
    assert "did you mean 'validation'?" in message


def test_a_generated_task_refuses_a_split_it_does_not_have() -> None:
    message = refusal(None, "dev", DataSource("generated", "nli"))
    assert all(part in message for part in ("dev", "train", "validation", "test"))


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
    cell = Cell.from_config(compose([f"task={name}", "recipe=none", *words]).values)
    return registry.task_class(cell.task.family)(cell.task)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    from transformers import AutoTokenizer

    cell = Cell.from_config(compose([]).values)
    return AutoTokenizer.from_pretrained(backbones._locate(cell.backbone)[0])


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
    assert batch["input_ids"][1, : encoded.lengths[0]].tolist() == encoded.features["input_ids"][0]
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
    options = {**cell.task.options, "max_length": most}
    task = registry.task_class(cell.task.family)(cell.task.__class__(**{**vars(cell.task), "options": options}))
    task._pad_values = {"input_ids": 1}
    return task


CONFIG = compose(["task=glue/rte", "recipe=none"]).values


def data_of(lengths: np.ndarray) -> Any:
    from uora_bench.tasks.base import Encoded

    return Encoded({"input_ids": [[5] * n for n in lengths]}, np.zeros(len(lengths), dtype=np.int64), lengths)


def test_a_longer_text_is_cut_to_the_longest_allowed(tokenizer: Any) -> None:
    task = task_of("glue/rte", "task.max_length=8")
    encoded = task.encode(rows_of(task), tokenizer)
    assert encoded.lengths.max() == 8

"""Class folders and parquet files of pictures: rows, their order and identity, and every mistake as one line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from datasets import Dataset, Image

from tests.support.pictures import one_line, picture, processor, task_of
from uora_bench.config.cell import DataSource
from uora_bench.data import image_folders, images, sources
from uora_bench.data.sources import Source
from uora_bench.errors import UserError

FOLDER = DataSource("imagefolder", "default")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for split, count in (("train", 6), ("val", 2)):
        for number, name in enumerate(("cat", "dog", "ox")):
            place = tmp_path / split / name
            (place / "deeper").mkdir(parents=True)
            for i in range(count):
                sub = place / "deeper" if i == 1 else place
                picture(100 * number + i).save(sub / f"{i}.{'JPG' if i % 2 else 'png'}")
            (place / ".hidden.png").write_bytes(b"no picture")
            (place / "notes.txt").write_text("no picture")
    (tmp_path / ".git").mkdir()
    return tmp_path


def test_class_folders_are_rows_in_an_order_that_mixes_the_classes(folder: Path) -> None:
    rows = Source(folder).load(FOLDER, "train")
    labels = list(rows["label"])
    assert sorted(labels) == ["cat"] * 6 + ["dog"] * 6 + ["ox"] * 6
    assert labels != sorted(labels)
    assert rows.cast_column("image", Image(decode=False))[0]["image"]["bytes"] is None  # it stays on disk
    assert len(Source(folder).load(FOLDER, "validation")) == 6
    assert len(Source(folder / "train").load(FOLDER, "all[:50%]")) == 9
    moved = folder.rename(folder.with_name("moved"))
    assert list(Source(moved).load(FOLDER, "train")["label"]) == labels


def test_the_fingerprint_is_of_the_pictures_wherever_they_are(folder: Path) -> None:
    rows = Source(folder).load(FOLDER, "train")
    held = [{"bytes": Path(s).read_bytes(), "path": None} for s, _ in images.sources(rows, "image")]
    inside = Dataset.from_dict({"image": held, "label": list(rows["label"])}, features=rows.features)
    assert sources.fingerprint(rows) == sources.fingerprint(inside)
    assert sources.fingerprint(rows.select(range(17))) != sources.fingerprint(rows)
    assert sources.fingerprint(rows.select([1, 0, *range(2, 18)])) != sources.fingerprint(rows)


def test_parquet_files_and_shards_are_splits_too(folder: Path, tmp_path: Path) -> None:
    rows = Source(folder).load(FOLDER, "train")
    held = [{"bytes": Path(s).read_bytes(), "path": None} for s, _ in images.sources(rows, "image")]
    rows = Dataset.from_dict({"image": held, "label": list(rows["label"])}, features=rows.features)
    place = tmp_path / "parquet"
    place.mkdir()
    rows.to_parquet(str(place / "train.parquet"))
    rows.select(range(10)).to_parquet(str(place / "test-00000-of-00002.parquet"))
    rows.select(range(10, 18)).to_parquet(str(place / "test-00001-of-00002.parquet"))
    task = task_of("task=vision/imagefolder")
    loaded = task.splits(Source(place))
    assert {k: len(v) for k, v in loaded.items()} == {"train": 18, "dev": 18}
    assert sources.fingerprint(loaded["train"]) == sources.fingerprint(loaded["dev"])
    assert task.classes == ("cat", "dog", "ox")
    assert len(Source(place / "train.parquet").load(FOLDER, "all")) == 18
    with pytest.raises(UserError, match="is one file, without a split 'train'"):
        Source(place / "train.parquet").load(FOLDER, "train")


def test_pictures_of_a_folder_become_batches(folder: Path) -> None:
    task = task_of("task=vision/imagefolder", "task.splits.dev=validation")
    loaded = task.splits(Source(folder))
    batch = task.collate(task.encode(loaded["dev"], processor()), range(6), "dynamic")
    assert batch["pixel_values"].shape == (6, 3, 24, 24)
    assert sorted(batch["labels"].tolist()) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda f: (f / "train" / "empty").mkdir(), "holds no picture"),
        (lambda f: (f / "train").rename(f / "trian"), "no split 'train' .* did you mean 'trian'"),
        (lambda f: (f / "val" / "cat").rename(f / "val" / "fox"), "'fox'.* \\(split 'validation'\\)"),
        (lambda f: (f / "train" / "ox" / "0.png").write_bytes(b"nonsense"), "0.png'\\) cannot be read: it is no pict"),
    ],
)
def test_a_folder_that_is_wrong_is_one_line(change: Any, message: str, folder: Path) -> None:
    change(folder)
    with pytest.raises(UserError, match=message) as caught:
        task_of("task=vision/imagefolder", "task.splits.dev=validation").splits(Source(folder))
    one_line(caught)


def test_a_folder_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"data\.root=<folder>"):
        image_folders.read_image_folder(None, "train")
    with pytest.raises(UserError, match="holds no class folders"):
        image_folders.read_image_folder(tmp_path, "all")

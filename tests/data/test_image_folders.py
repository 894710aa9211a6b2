"""Class folders and parquet files of pictures: rows, their order and identity, and every mistake as one line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value

from tests.support.pictures import one_line, packed, picture, processor, task_of
from uora_bench.config.data_source import DataSource
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


def test_a_class_spelt_otherwise_in_one_split_is_refused_whatever_the_labels_say(folder: Path) -> None:
    (folder / "val" / "ox").rename(folder / "val" / "Ox")
    for words in ((), ("task.labels=[cat,dog,ox]",), ("task.labels=[Ox,cat,dog]",)):
        with pytest.raises(UserError, match=r"among them '[oO]x'.* give every class one name"):
            task_of("task=vision/imagefolder", "task.splits.dev=validation", *words).splits(Source(folder))


# --- what is a picture --------------------------------------------------------------------------------------------


def paths(rows: Dataset) -> list[str]:
    return [str(path) for path, _ in images.sources(rows, "image")]


def test_what_programs_leave_in_a_class_folder_is_no_data_and_that_is_said(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = paths(Source(folder).load(FOLDER, "val"))
    capsys.readouterr()
    for name in (".ipynb_checkpoints", ".thumbnails", "__MACOSX", "@eaDir", "deeper/.cache/more"):
        (folder / "val" / "cat" / name).mkdir(parents=True)
        picture(7).save(folder / "val" / "cat" / name / "0.png")
    (folder / "val" / "cat" / "x.png").mkdir()
    os.mkfifo(folder / "val" / "cat" / "pipe.png")  # to open one is to wait for ever
    (folder / "val" / "@eaDir").mkdir()
    picture(8).save(folder / "val" / "loose.png")
    assert paths(Source(folder).load(FOLDER, "val")) == before
    (line,) = capsys.readouterr().err.splitlines()
    # three notes.txt and three .hidden.png of the fixture, and what was added here but the empty folder
    assert f"in '{folder / 'val'}' 14 entries are not taken for pictures" in line
    assert "@eaDir" in line


def test_links_are_followed_and_none_twice(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    plain = Source(folder).load(FOLDER, "train")
    outside = tmp_path_factory.mktemp("outside")
    cats = folder / "train" / "cat"
    (cats / "deeper").rename(outside / "batch")
    (cats / "deeper").symlink_to(outside / "batch")
    (cats / "deeper_again").symlink_to(outside / "batch")
    (outside / "batch" / "loop").symlink_to(folder / "train")
    (outside / "batch" / "self").symlink_to(outside / "batch")
    (folder / "train" / "dog").rename(outside / "dog")
    (folder / "train" / "dog").symlink_to(outside / "dog")
    (outside / "dog" / "up").symlink_to(folder / "train")
    linked = Source(folder).load(FOLDER, "train")
    assert paths(linked) == paths(plain)
    assert list(linked["label"]) == list(plain["label"])


def test_a_link_to_nothing_is_a_picture_that_is_missing(folder: Path) -> None:
    (folder / "val" / "cat" / "gone.png").symlink_to(folder / "nowhere.png")
    with pytest.raises(UserError, match=r"gone.png'\) cannot be read"):
        task_of("task=vision/imagefolder", "task.splits.dev=validation").splits(Source(folder))


# --- shards -------------------------------------------------------------------------------------------------------


def shard(path: Path, kind: Any = None, rows: int = 4) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    held = [{"bytes": packed(picture(i)), "path": None} for i in range(rows)]
    features = Features({"image": Image(), "label": kind or ClassLabel(names=["a", "b"])})
    Dataset.from_dict({"image": held, "label": [i % 2 for i in range(rows)]}, features=features).to_parquet(str(path))


@pytest.mark.parametrize(
    ("files", "message"),
    [
        (
            ["train-00000-of-00003", "train-00002-of-00003"],
            "lacks 1 of 3 files: '.*train-00001-of-00003.parquet' is mi",
        ),
        (["train/train-00001-of-00002"], "'.*train/train-00000-of-00002.parquet' is missing"),
        (["train-1-of-2"], "'.*train-2-of-2.parquet' is missing|'.*train-0-of-2.parquet' is missing"),
        (["train-00000-of-00001", "train-00000-of-00002", "train-00001-of-00002"], "more than once"),
        (
            ["train", "train-00000-of-00001"],
            "'.*train.parquet' and '.*train-00000-of-00001.parquet' are not of one set",
        ),
        (["train", "train/0000"], "more than once"),
        (["train-00000-of-00001", "train-extra"], "more than once"),
    ],
)
def test_shards_are_one_whole_set(files: list[str], message: str, tmp_path: Path) -> None:
    for name in files:
        shard(tmp_path / f"{name}.parquet")
    with pytest.raises(UserError, match=message) as caught:
        Source(tmp_path).load(FOLDER, "train")
    one_line(caught)


@pytest.mark.parametrize(
    "files",
    [["train-1-of-2", "train-2-of-2"], ["train/00", "train/01"], ["train-a", "train-b"],
     ["train-00000-of-00002-0a1b2c", "train-00001-of-00002-3d4e5f"]],
)  # fmt: skip
def test_whole_sets_of_shards_are_read(files: list[str], tmp_path: Path) -> None:
    for name in files:
        shard(tmp_path / f"{name}.parquet")
    assert len(Source(tmp_path).load(FOLDER, "train")) == 8


@pytest.mark.parametrize("kind", [Value("int32"), ClassLabel(names=["b", "a"])])
def test_shards_that_do_not_fit_together_are_one_line(kind: Any, tmp_path: Path) -> None:
    shard(tmp_path / "train-00000-of-00002.parquet")
    shard(tmp_path / "train-00001-of-00002.parquet", kind)
    with pytest.raises(UserError, match=r"the files of split 'train' .* do not fit together") as caught:
        Source(tmp_path).load(FOLDER, "train")
    one_line(caught)

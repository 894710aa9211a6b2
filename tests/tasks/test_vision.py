"""Pictures: the backbone's own numbers, few-shot draws, augmentation, labels, and every mistake as one line."""

from __future__ import annotations

import io
import json
import resource
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import ClassLabel, Dataset, Features, Image, Value
from PIL import Image as Pil
from transformers import BitImageProcessorPil, DeiTImageProcessorPil

from tests.support.pictures import CIFAR, one_line, packed, picture, processor, rows_of, task_of
from uora_bench import metrics
from uora_bench.config.compose import compose
from uora_bench.config.preflight import preflight
from uora_bench.data import images
from uora_bench.data.files import read_rows
from uora_bench.data.sources import Source
from uora_bench.errors import CellError, UserError

COUNTS = {"cifar10": 10, "cifar100": 100, "food101": 101, "flowers102": 102, "resisc45": 45, "flowers5": 5}


# --- the backbone's own numbers -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "P", "1", "CMYK", "LA"])
@pytest.mark.parametrize(
    "changes",
    [
        {}, {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}, {"resample": 3},
        {"do_normalize": False}, {"do_rescale": False, "image_mean": 100.0, "image_std": 50.0},
        {"size": {"height": 18, "width": 31}, "resample": 0}, {"rescale_factor": 1 / 127.5},
    ],
)  # fmt: skip
def test_a_picture_becomes_what_the_processor_of_transformers_makes_of_it(mode: str, changes: dict[str, Any]) -> None:
    own = processor(**changes)
    source = packed(picture(mode=mode), "TIFF" if mode == "CMYK" else "PNG")
    rows = Dataset.from_dict({"img": [source]})
    ours = images.Loader(rows, "img", images.Preparation.of(own)).batch([0])
    if changes.get("image_mean") == 100.0:
        own = processor(do_rescale=False, image_mean=[100.0] * 3, image_std=[50.0] * 3)
    theirs = own(Pil.open(io.BytesIO(source)).convert("RGB"), return_tensors="np")["pixel_values"]
    assert ours.dtype == np.float32
    np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=0)


@pytest.mark.parametrize("size", [(40, 30), (30, 41), (24, 24), (20, 60)])
@pytest.mark.parametrize(
    "own",
    [
        DeiTImageProcessorPil(size={"height": 24, "width": 24}, crop_size={"height": 16, "width": 16}),
        BitImageProcessorPil(size={"shortest_edge": 24}, crop_size={"height": 17, "width": 16}),
        BitImageProcessorPil(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}),
    ],
    ids=["deit", "bit", "bit, whole side"],
)  # fmt: skip
def test_the_middle_of_a_picture_is_what_the_processor_cuts_out(own: Any, size: tuple[int, int]) -> None:
    source = packed(picture(size=size), "PNG")
    rows = Dataset.from_dict({"img": [source]})
    ours = images.Loader(rows, "img", images.Preparation.of(own)).batch([0])
    theirs = own(Pil.open(io.BytesIO(source)), return_tensors="np")["pixel_values"]
    np.testing.assert_allclose(ours, theirs, atol=1e-6, rtol=0)
    twice = images.Preparation.of(own, 32)
    assert twice.resized
    assert images.Loader(rows, "img", twice).batch([0]).shape == (1, 3, 32, 32)


def test_sixteen_bits_of_grey_are_not_clipped_to_white() -> None:
    grey = np.arange(0, 65536, 16, dtype=np.uint16).reshape(64, 64)
    image = images.decode(packed(Pil.fromarray(grey)))
    assert image.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(image)[..., 0], grey >> 8)


def grey_file(values: np.ndarray, kind: str = "TIFF") -> bytes:
    return packed(Pil.fromarray(values), kind)


STEPS = np.arange(256).reshape(16, 16)


@pytest.mark.parametrize(
    ("source", "value_range"),
    [
        (grey_file((STEPS / 255).astype(np.float32)), (0.0, 1.0)),
        (grey_file((STEPS / 127.5 - 1).astype(np.float32)), (-1.0, 1.0)),
        (grey_file(STEPS.astype(np.int32)), (0.0, 255.0)),
        (grey_file((STEPS * 257).astype(np.int32)), (0.0, 65535.0)),
        (grey_file((STEPS * 257).astype(np.uint16)), None),
        (grey_file((STEPS * 257).astype(np.uint16), "PNG"), None),
        (grey_file((STEPS * 16 + STEPS // 16).astype(np.uint16), "PNG"), (0.0, 4095.0)),
        (grey_file(STEPS.astype(np.uint8), "PNG"), (0.0, 255.0)),
        (b"P5 16 16 4095\n" + (STEPS * 16 + STEPS // 16).astype(">u2").tobytes(), None),  # the file says 12 bits
    ],
)
def test_grey_of_any_depth_is_the_same_picture(source: bytes, value_range: tuple[float, ...] | None) -> None:
    assert images.header_fault(source, value_range) is None
    np.testing.assert_array_equal(np.asarray(images.decode(source, value_range))[..., 0], STEPS)


@pytest.mark.parametrize("kind", [np.float32, np.int32])
def test_grey_whose_range_no_file_says_is_refused_with_the_way_to_say_it(kind: Any) -> None:
    rows = Dataset.from_dict({"img": [grey_file(STEPS.astype(kind))], "label": [0]})
    with pytest.raises(UserError, match=r"say it with task\.value_range=\[black,white\]") as caught:
        task_of().check(rows)
    one_line(caught)
    own = task_of(*CIFAR, "task.value_range=[0,255]")
    own.check(rows)
    numbers = own.collate(own.encode(rows, processor(16)), [0], "dynamic")["pixel_values"]
    assert numbers.min() == -1
    assert numbers.max() == 1


def test_a_range_is_two_numbers_and_part_of_the_id_only_where_it_is_given() -> None:
    for word in ("[1,0]", "[0]", "[0,1,2]"):
        with pytest.raises(UserError, match="two numbers, black below white"):
            task_of(*CIFAR, f"task.value_range={word}")
    cells = [compose([*CIFAR, "recipe=none", *w]).cell for w in ((), ("task.value_range=[0,1]",))]
    assert ["value_range" in cell.canonical()["task"]["options"] for cell in cells] == [False, True]


# --- pictures that cannot be used, before training ----------------------------------------------------------------


def test_twelve_bits_in_sixteen_are_not_taken_for_a_dark_picture(tmp_path: Path) -> None:
    rows = Dataset.from_dict({"img": [grey_file((STEPS * 16).astype(np.uint16))], "label": [0]})
    with pytest.raises(
        UserError, match=r"no picture is brighter than 15 of 255.*task\.value_range=\[0,4095\]"
    ) as caught:
        task_of().check_files({"train": rows}, tmp_path)
    one_line(caught)
    for word in ("[0,4095]", "[0,65535]"):
        task_of(*CIFAR, f"task.value_range={word}").check_files({"train": rows}, tmp_path)


def test_a_photograph_is_turned_upright() -> None:
    exif = Pil.Exif()
    exif[0x0112] = 6  # turn by 90 degrees
    buffer = io.BytesIO()
    picture(size=(40, 30)).save(buffer, "JPEG", exif=exif)
    assert images.decode(buffer.getvalue()).size == (30, 40)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"do_pad": True}, "do_pad"), ({"do_resize": False}, "does not resize"),
        ({"do_center_crop": True, "crop_size": 80}, "out of smaller pictures"),
        ({"size": {"shortest_edge": 24}}, "does not resize to a height"), ({"image_mean": [0.5, 0.5]}, "3 channels"),
    ],
)  # fmt: skip
def test_a_processor_that_does_something_else_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        images.Preparation.of(processor(**changes))
    one_line(caught)


# --- batches ------------------------------------------------------------------------------------------------------


def test_a_batch_holds_what_its_indices_say_in_any_order_and_whatever_was_announced() -> None:
    task = task_of()
    encoded = task.encode(rows_of(), processor())
    assert encoded.lengths.tolist() == [1] * 20
    whole = task.collate(encoded, range(20), "dynamic")
    assert whole["pixel_values"].shape == (20, 3, 24, 24)
    assert whole["labels"].tolist() == [i % 10 for i in range(20)]
    assert whole["weight"].tolist() == [1.0] * 20
    orders = [np.array([3, 1]), np.array([19]), np.array([0, 5, 7])]
    running = task.set_epoch(encoded, orders, None)
    asked = [orders[0], np.array([4, 4]), orders[1], np.array([2]), orders[2], orders[0]]  # some not announced
    for indices in asked:
        batch = task.collate(running, indices, "dynamic")
        assert batch["pixel_values"].equal(whole["pixel_values"][indices])
        assert batch["labels"].equal(whole["labels"][indices])


def test_at_most_one_batch_is_decoded_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[int] = []
    start = images.Loader._start
    monkeypatch.setattr(images.Loader, "_start", lambda self, i: started.append(len(i)) or start(self, i))
    task = task_of()
    running = task.set_epoch(task.encode(rows_of(), processor()), [np.array([i]) for i in range(20)], None)
    assert len(started) == 1
    for i in range(5):
        task.collate(running, [i], "dynamic")
        assert len(started) == i + 2


def test_another_size_interpolates_the_positions() -> None:
    task = task_of(*CIFAR, "task.image_size=40")
    batch = task.collate(task.encode(rows_of(), processor()), [0], "dynamic")
    assert batch["pixel_values"].shape == (1, 3, 40, 40)
    assert bool(batch["interpolate_pos_encoding"])
    assert "interpolate_pos_encoding" not in task_of().collate(task_of().encode(rows_of(), processor()), [0], "dynamic")


# --- augmentation -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["flip", "crop_flip"])
def test_augmentation_depends_on_the_draw_and_the_row_alone(kind: str) -> None:
    task = task_of(*CIFAR, f"task.augmentation={kind}")
    encoded = task.encode(rows_of(), processor(), training=True)

    def at(draw: int | None, *indices: int) -> np.ndarray:
        numbers: np.ndarray = task.set_epoch(encoded, [], draw).loader.batch(np.array(indices))
        return numbers

    first = at(7, *range(20))
    np.testing.assert_array_equal(at(7, 12, 3), first[[12, 3]])  # other batch, other order
    plain = at(None, *range(20))
    changed = [not np.array_equal(a, b) for a, b in zip(first, plain, strict=True)]
    assert not np.array_equal(first, at(8, *range(20)))  # another epoch
    if kind == "flip":
        assert 3 <= sum(changed) <= 17
        for a, b in zip(first, plain, strict=True):
            assert np.array_equal(a, b) or np.array_equal(a, b[..., ::-1])
    else:
        assert sum(changed) >= 18
    evaluated = task.set_epoch(task.encode(rows_of(), processor()), [], 7).loader.batch(np.arange(20))
    np.testing.assert_array_equal(evaluated, plain)  # rows to be scored are never augmented


@pytest.mark.parametrize("size", [(40, 30), (8, 200), (1, 1)])
def test_a_window_lies_in_its_picture_and_has_the_area_it_should(size: tuple[int, int]) -> None:
    for seed in range(200):
        left, upper, right, lower = images._window(*size, np.random.default_rng(seed))
        assert 0 <= left < right <= size[0]
        assert 0 <= upper < lower <= size[1]
        assert 0.4 <= (right - left) * (lower - upper) / (size[0] * size[1]) <= 1.0 + 1e-9


# --- few pictures per class ---------------------------------------------------------------------------------------


def drawn(seed: int, count: int, total: int = 60) -> list[int]:
    task = task_of(*CIFAR, f"task.per_class={count}")
    rows = rows_of(total).add_column("row", list(range(total)))
    return list(task.sample({"train": rows, "dev": rows}, seed)["train"]["row"])


def test_a_draw_has_so_many_of_each_class_and_belongs_to_the_seed() -> None:
    chosen = drawn(0, 3)
    assert sorted(i % 10 for i in chosen) == sorted(list(range(10)) * 3)
    assert chosen == sorted(chosen) == drawn(0, 3)
    assert chosen != drawn(1, 3)
    assert set(drawn(0, 2)) < set(chosen)


def test_all_pictures_without_per_class_and_a_dev_set_that_is_never_drawn_from() -> None:
    rows = {"train": rows_of(40), "dev": rows_of(30)}
    assert {k: len(v) for k, v in task_of().sample(rows, 0).items()} == {"train": 40, "dev": 30}
    few = task_of(*CIFAR, "task.per_class=2")
    assert {k: len(v) for k, v in few.sample(rows, 0).items()} == {"train": 20, "dev": 30}
    assert few.split_name("train") == "train: 2 per class (drawn with the seed)"
    assert few.split_name("dev") == "test"
    assert task_of().split_name("train") == "train"


def test_the_rest_is_what_a_draw_leaves(tmp_path: Path) -> None:
    words = ("task=vision/resisc45", "task.splits.train=train+test", "task.splits.dev=rest", "task.splits.test=null")
    task = task_of(*words, "task.per_class=1")
    folder = tmp_path / "resisc45" / "default"
    folder.mkdir(parents=True)
    rows = rows_of(100, 45).rename_column("img", "image")
    rows.select(range(60)).to_parquet(str(folder / "train.parquet"))
    rows.select(range(60, 100)).to_parquet(str(folder / "test.parquet"))
    loaded = task.splits(Source(tmp_path))
    assert {k: len(v) for k, v in loaded.items()} == {"train": 100}
    parts = task.sample(loaded, 0)
    assert {k: len(v) for k, v in parts.items()} == {"train": 45, "dev": 55}
    hashes = {k: images.hashes(v, "image") for k, v in parts.items()}
    assert sorted(hashes["train"] + hashes["dev"]) == sorted(images.hashes(loaded["train"], "image"))
    assert task.split_name("dev") == "train+test without 1 per class (drawn with the seed)"
    with pytest.raises(UserError, match=r"splits\.dev=rest .* set task\.per_class"):
        preflight(compose([*words, "method=lora", "recipe=none"]).cell)


def test_a_class_with_too_few_pictures_is_named() -> None:
    with pytest.raises(UserError, match="class 'airplane' has 6 pictures") as caught:
        drawn(0, 7)
    one_line(caught)


# --- labels -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COUNTS)
def test_the_known_sets_have_their_classes_without_data(name: str) -> None:
    head = task_of(f"task=vision/{name}").head
    assert head.auto_class == "AutoModelForImageClassification"
    assert head.config["num_labels"] == COUNTS[name] == len(set(head.config["id2label"].values()))


def test_the_shared_files_have_the_classes_of_their_tasks(shared: Path) -> None:
    for name, counts in {"cifar10": (10_000, 10_000), "flowers5": (3446, 861)}.items():
        task = task_of(f"task=vision/{name}")
        loaded = task.splits(Source(shared / "data"))
        assert tuple(len(v) for v in loaded.values()) == counts
        assert tuple(loaded["train"].features["label"].names) == task.classes


def with_labels(values: list[Any], feature: Any) -> Dataset:
    made = [{"bytes": packed(picture(i)), "path": None} for i in range(len(values))]
    return Dataset.from_dict({"img": made, "label": values}, features=Features({"img": Image(), "label": feature}))


def test_class_names_of_the_data_say_which_class_is_meant() -> None:
    names = task_of().classes
    turned = ClassLabel(names=list(reversed(names)))
    assert task_of()._codes(with_labels([0, 9, 3], turned)).tolist() == [9, 0, 6]
    assert task_of()._codes(with_labels(["cat", "bird"], Value("string"))).tolist() == [3, 2]
    other = ClassLabel(names=[n.upper() for n in names])  # only the spelling differs
    assert task_of()._codes(with_labels([0, 9, 3], other)).tolist() == [0, 9, 3]


def test_without_names_the_training_split_names_the_classes() -> None:
    task = task_of("task=vision/imagefolder", "task.image_column=img")
    with pytest.raises(UserError, match=r"name them with task\.labels"):
        _ = task.head
    assert task._codes(with_labels(["b", "a", "b"], Value("string"))).tolist() == [1, 0, 1]
    assert task.head.config["id2label"] == {0: "a", 1: "b"}
    assert task._codes(with_labels(["b"], Value("string"))).tolist() == [1]
    with pytest.raises(UserError, match="'c'"):
        task._codes(with_labels(["c", "a"], Value("string")))


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (lambda: with_labels([0, 10], Value("int64")), "labels must be 0 to 9, found 0 to 10"),
        (lambda: with_labels([0, -1], Value("int64")), "an unlabelled test split"),
        (lambda: with_labels([0, -1], ClassLabel(names=list(task_of().classes))), "an unlabelled test split"),
        (lambda: with_labels([0, None], Value("int64")), "row 1 (from 0) has no 'label': it is null"),
        (lambda: with_labels([0.5], Value("float64")), "row 0 (from 0) has label 0.5, not a class code"),
        (lambda: with_labels([[0]], [Value("int64")]), "must hold class codes or names"),
        (lambda: with_labels([0], ClassLabel(names=["cat", "mouse"])), "has 10 classes, this data 2"),
        (lambda: rows_of().remove_columns("label"), "needs column 'label' (task.label_column); the data has img"),
        (lambda: rows_of().remove_columns("img"), "needs column 'img' (task.image_column); the data has label"),
        (lambda: rows_of().select([]), "no rows"),
        (lambda: Dataset.from_dict({"img": ["a"], "label": [0]}), "must hold pictures, it holds string"),
        (lambda: Dataset.from_dict({"img": [packed(picture()), b"no"], "label": [0, 0]}), "row 1 (from 0) cannot be"),
        (lambda: Dataset.from_dict({"img": [packed(picture()), None], "label": [0, 0]}), "it is null"),
    ],
)
def test_rows_that_cannot_be_used_are_one_line(rows: Any, message: str) -> None:
    with pytest.raises(UserError) as caught:
        task_of().check(rows())
    assert message in one_line(caught)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("task.per_class=0", "at least 1"), ("task.image_size=0", "at least 1"), ("task.labels=[a,a]", "twice"),
        ("task.augmentation=flp", "did you mean 'flip'"), ("task.per_class=ten", "whole number"),
        ("task.splits.train=rest", "task.splits.train=rest"),
    ],
)  # fmt: skip
def test_options_that_cannot_be_are_refused(word: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        preflight(compose([*CIFAR, "method=lora", "recipe=none", word]).cell)


def test_a_picture_cut_in_the_middle_fails_the_cell_with_its_row() -> None:
    whole = packed(picture(size=(200, 200)), "JPEG")
    cut = Dataset.from_dict({"img": [packed(picture()), whole[: len(whole) // 2]], "label": [0, 1]})
    task = task_of()
    task.check(cut)  # its header is right
    with pytest.raises(CellError, match=r"row 1 \(from 0, of 2\) cannot be decoded: image file is truncated") as caught:
        task.collate(task.encode(cut, processor()), [0, 1], "dynamic")
    one_line(caught)


# --- score and memory ---------------------------------------------------------------------------------------------


def test_the_score_is_the_share_of_right_classes() -> None:
    references = np.array([0, 1, 2, 3])
    assert task_of().score(np.array([0, 1, 2, 0]), references) == {"accuracy": 0.75}
    assert metrics.load_metric("vision/accuracy").compute(predictions=[1, 1], references=[1, 0]) == {"accuracy": 0.5}
    for wrong in ([0, 1], [[0, 1, 2, 3]], [0.0, 1.0, 2.0, 3.0]):
        with pytest.raises(ValueError, match="vision/accuracy"):
            task_of().score(np.array(wrong), references)


def resident() -> float:
    """MiB of memory that this process holds now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 2**20


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc, as Linux has it")
def test_decoding_2000_pictures_twice_keeps_memory_flat(shared: Path) -> None:
    """2,000 pictures of 224 x 224 are 1.2 GB of float32; held at any time are two batches of 64, 77 MB."""
    task = task_of()
    rows = read_rows(shared / "data" / "cifar10" / "plain_text" / "test.parquet").select(range(2000))
    encoded = task.encode(rows, processor(224))
    batches = [np.arange(i, min(i + 64, 2000)) for i in range(0, 2000, 64)]
    for batch in batches[:3]:
        task.collate(encoded, batch, "dynamic")
    before, after, seen = resident(), [], 0
    for _ in range(2):
        running = task.set_epoch(encoded, batches, None)
        for batch in batches:
            seen += len(task.collate(running, batch, "dynamic")["labels"])
            after.append(resident() - before)
    assert seen == 4000
    assert max(after) < 150, after  # MiB
    assert max(after[len(batches) :]) < max(after[: len(batches)]) + 40, after  # the second time as the first


def test_what_a_task_says_is_plain_data() -> None:
    json.dumps(compose([*CIFAR, "task.per_class=10", "recipe=none"]).cell.canonical())

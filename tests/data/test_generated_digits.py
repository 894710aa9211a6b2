"""Tests of the task `tiny/digits` and of the embedded backbone `tiny_vit` that goes with it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

import uora_bench
from uora_bench.config.compose import compose
from uora_bench.config.data_source import DataSource
from uora_bench.contract.models import backbone_config
from uora_bench.data import images, sources
from uora_bench.data.generated import digits
from uora_bench.data.sources import Source
from uora_bench.errors import UserError
from uora_bench.models import backbones
from uora_bench.models.backbones import Loaded
from uora_bench.models.heads import HeadSpec
from uora_bench.tasks import create_task

ASSET = Path(uora_bench.__file__).parent / "assets" / "tiny_vit"
PRINTS = {"train": "24ee8f392a4fcf80", "validation": "cb19462d8a8fb0b4", "test": "d6e0c234431a9647"}
SOURCE = DataSource(benchmark="generated", dataset="digits", hub=None)
Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def splits() -> dict[str, Rows]:
    return {split: digits.rows(split) for split in PRINTS}


def task(*words: str) -> Any:
    cell = compose(["task=tiny/digits", "method=lora", *words]).cell
    return create_task(cell.task)


def load(classes: int, seed: int = 0) -> Loaded:
    head = HeadSpec("AutoModelForImageClassification", {"num_labels": classes})
    return backbones.load_backbone(backbone_config("tiny_vit"), head, seed)


def grey(row: dict[str, Any]) -> np.ndarray:
    return np.asarray(images.decode(row["image"]))[..., 0]


# --- rows ---------------------------------------------------------------------------------------------------------


def test_rows_are_fixed(splits: dict[str, Rows]) -> None:
    # A change of the data is a change of the task: it needs new reference numbers.
    for split, expected in PRINTS.items():
        assert sources.fingerprint(Dataset.from_list(splits[split])) == expected
    changed = digits.rows("test")
    changed[0]["label"] = 9
    assert digits.rows("test") == splits["test"]


def test_every_split_has_its_share_of_every_class(splits: dict[str, Rows]) -> None:
    counts = {split: Counter(row["label"] for row in rows) for split, rows in splits.items()}
    for label in range(5):
        whole = sum(count[label] for count in counts.values())
        for split, share in {"train": 0.6, "validation": 0.2, "test": 0.2}.items():
            assert abs(counts[split][label] - share * whole) <= 1
    assert all(set(count) == set(range(5)) for count in counts.values())
    assert set(Counter(row["label"] for row in splits["train"][:50])) == set(range(5))  # a slice has all classes


def test_unknown_split_is_refused() -> None:
    with pytest.raises(ValueError, match="no split 'dev'"):
        digits.rows("dev")
    with pytest.raises(UserError, match="tiny/digits has no split 'dev'; it has train, validation, test"):
        Source().load(SOURCE, "dev")


def test_the_data_layer_takes_the_pictures_as_they_are(splits: dict[str, Rows]) -> None:
    family = task()
    rows = Source().load(SOURCE, "validation")
    family.check(rows)
    assert family.classes == ("five", "six", "seven", "eight", "nine")
    batch = family.collate(family.encode(rows, load(5).processor), range(len(rows)), "dynamic")
    assert batch["pixel_values"].shape == (len(splits["validation"]), 3, 32, 32)
    assert batch["labels"].tolist() == [row["label"] for row in splits["validation"]]
    assert (batch["pixel_values"].min(), batch["pixel_values"].max()) == (-1, 1)
    few = task("task.per_class=7").sample({"train": Source().load(SOURCE, "train")}, 3)["train"]
    assert Counter(few["label"]) == dict.fromkeys(range(5), 7)


# --- the bundled backbone -----------------------------------------------------------------------------------------


def test_the_checkpoint_is_small_and_is_the_one_its_page_describes() -> None:
    files = {path.name for path in ASSET.iterdir()}
    assert files == {"README.md", "config.json", "model.safetensors", "preprocessor_config.json"}
    assert sum(path.stat().st_size for path in ASSET.iterdir()) <= 1_300_000
    page, weights = (ASSET / "README.md").read_text("utf-8"), (ASSET / "model.safetensors").read_bytes()
    assert re.findall(r"`([0-9a-f]{64})`", page) == [hashlib.sha256(weights).hexdigest()]
    assert f"{len(weights)} bytes" in page


@pytest.mark.parametrize("classes", [5, 10])
def test_the_head_is_drawn_from_the_seed_whatever_the_file_holds(classes: int) -> None:
    from safetensors.torch import load_file

    stored = load_file(ASSET / "model.safetensors")
    first, same, other = (load(classes, seed).model.state_dict() for seed in (0, 0, 1))
    assert first["classifier.weight"].shape == (classes, 96)
    assert {value.dtype for value in first.values()} == {torch.float32}
    for name, value in first.items():
        assert value.equal(same[name])
        fresh = name == "classifier.weight"
        assert value.equal(other[name]) != fresh
    assert not first["classifier.bias"].any()
    # the library renames tensors when it loads: the weights are compared, not their names
    loaded, held = (
        {v.numpy().tobytes() for n, v in tensors.items() if not n.startswith("classifier.")}
        for tensors in (first, stored)
    )
    assert loaded == held
    if classes == 5:
        assert not first["classifier.weight"].equal(stored["classifier.weight"])

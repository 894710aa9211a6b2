"""Picture cells through the real command line, on a tiny random ViT in a folder."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

from tests.support import warm
from tests.support.command_line import environment, finish, last_of_each, only_record, start
from uora_bench.cli.main import main

SIDE = 16
SHORT = ("recipe=none", "tracker=none", "trainer.batch_size=16", "trainer.epochs=2", "backbone=vit_local")
CIFAR = ("task=vision/cifar10", "task.splits.train=train[:160]", "task.splits.dev=test[:64]")


@pytest.fixture(autouse=True)
def accelerate_forgets() -> None:
    """Accelerate keeps its state for the whole process, which a run of ours has to itself: other tests had it first."""
    from accelerate.state import AcceleratorState

    AcceleratorState._reset_state(reset_partial_state=True)


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random ViT of two blocks for pictures of 16 x 16, saved with its image processor and a head of two classes."""
    folder = tmp_path_factory.mktemp("vit")
    torch.manual_seed(0)
    config = ViTConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64, image_size=SIDE, patch_size=4
    )
    ViTForImageClassification(config).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)
    return folder


@pytest.fixture
def colours(tmp_path: Path) -> Path:
    """Class folders that any model tells apart: mostly red, green and blue pictures of different sizes."""
    generator = np.random.default_rng(0)
    for split, count in (("train", 24), ("test", 8)):
        for channel, name in enumerate(("red", "green", "blue")):
            (tmp_path / "pictures" / split / name).mkdir(parents=True)
            for i in range(count):
                pixels = generator.integers(0, 60, (20 + i, 30, 3), dtype=np.uint8)
                pixels[..., channel] += 180
                Image.fromarray(pixels).save(tmp_path / "pictures" / split / name / f"{i}.png")
    return tmp_path / "pictures"


def run(folder: Path, root: Path, *words: str) -> warm.Result:
    return finish(start(folder, root, *last_of_each(*SHORT, *words)))


def record(folder: Path) -> Any:
    return json.loads(only_record(folder).read_text())


def test_a_cell_on_cifar_pictures(vit: Path, shared: Path, root: Path, tmp_path: Path) -> None:
    words = (*CIFAR, "method=uora", "method.rank=8", f"backbone.path={vit}", f"data.root={shared / 'data'}")
    done = run(tmp_path, root, *words)
    assert done.returncode == 0, done.stderr
    assert "dev = test[:64]" in done.stdout
    made = record(tmp_path)
    assert made["splits"] == {"train": {"name": "train[:160]", "rows": 160}, "dev": {"name": "test[:64]", "rows": 64}}
    assert made["counts"]["adapter"] == 4 * (8 + 32)  # q and v of two blocks
    assert made["counts"]["head"] == 32 * 10 + 10
    assert made["merge_error"] < 1e-4
    assert len(made["epochs"]) == 2
    for scores in made["scores"].values():
        assert 0 <= scores["scores"]["dev"]["accuracy"] <= 1
    assert "already done" in run(tmp_path, root, *words).stdout


@pytest.mark.slow
def test_a_few_pictures_per_class_are_the_same_for_all_methods(
    vit: Path, shared: Path, root: Path, tmp_path: Path
) -> None:
    prints = {}
    for name, words in {
        "lora": ("method=lora",), "head_only": ("method=head_only",), "other": ("method=lora", "seed=1"),
    }.items():  # fmt: skip
        (tmp_path / name).mkdir()
        done = run(
            tmp_path / name, root, "task=vision/cifar10", "task.per_class=3", "task.splits.dev=test[:32]",
            f"backbone.path={vit}", f"data.root={shared / 'data'}", "trainer.max_steps=2", *words,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        made = record(tmp_path / name)
        assert made["splits"]["train"] == {"name": "train: 3 per class (drawn with the seed)", "rows": 30}
        prints[name] = made["provenance"]["data"]
    assert prints["lora"] == prints["head_only"]
    assert prints["lora"]["train"] != prints["other"]["train"]
    assert prints["lora"]["dev"] == prints["other"]["dev"]


def test_class_folders_are_learnt(vit: Path, colours: Path, root: Path, tmp_path: Path) -> None:
    done = run(
        tmp_path, root, "task=vision/imagefolder", "method=lora", f"backbone.path={vit}", f"data.root={colours}",
        "trainer.epochs=8", "trainer.lr_adapter=1e-2", "trainer.lr_head=1e-2", "task.augmentation=crop_flip",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    made = record(tmp_path)
    assert made["counts"]["head"] == 32 * 3 + 3
    assert made["scores"]["last"]["scores"]["dev"]["accuracy"] == 1.0
    assert str(colours) not in json.dumps(made)


@pytest.mark.slow
def test_another_size_and_a_half_precision_backbone(vit: Path, colours: Path, root: Path, tmp_path: Path) -> None:
    done = run(
        tmp_path, root, "task=vision/imagefolder", "method=vera", "method.rank=8", f"backbone.path={vit}",
        f"data.root={colours}", "task.image_size=24", "backbone.dtype=bfloat16", "trainer.precision=float32",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def outcome(folder: Path) -> dict[str, Any]:
    made = record(folder)
    files = folder / "runs" / "scratch" / made["cell_id"]
    digest = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in files.glob("*.safetensors")}
    return {"files": digest, "epochs": [{k: e[k] for k in ("step", "train_loss", "scores")} for e in made["epochs"]]}


@pytest.mark.slow
def test_an_augmented_cell_that_was_killed_ends_as_if_nothing_had_happened(
    vit: Path, colours: Path, root: Path, tmp_path: Path
) -> None:
    words = [
        *SHORT, "task=vision/imagefolder", "method=lora", f"backbone.path={vit}", f"data.root={colours}",
        "task.augmentation=crop_flip", "trainer.checkpoint_every=2",
    ]  # fmt: skip
    results = {}
    for name, extra in {"whole": (), "killed": (), "plain": ("task.augmentation=none",)}.items():
        folder = tmp_path / name
        folder.mkdir()
        if name == "killed":
            killer = root / "tests" / "support" / "killer.py"
            killed = warm.run([sys.executable, str(killer), "step", "7", *words], folder, environment(root))
            assert killed.returncode == -signal.SIGKILL, killed.stderr
        done = finish(start(folder, root, *last_of_each(*words, *extra)))
        assert done.returncode == 0, done.stderr
        results[name] = outcome(folder)
    assert results["killed"] == results["whole"]
    assert results["plain"]["files"] != results["whole"]["files"]  # it did augment


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "name its folder with backbone.path=<folder>"),
        (("task=tiny/nli",), "needs a backbone of kind encoder"),
        (("backbone.path={vit}", "task.per_class=99"), "has 24 pictures in the training split"),
        (("backbone.path={vit}", "task.labels=[red,green]"), "has 2 classes, this data 3 and among them 'blue'"),
        (("backbone.path={vit}", "task.splits.dev=validation"), "has no split 'validation'"),
        (("backbone.path={empty}",), "preprocessor_config.json"),
        (("backbone.path={other}",), "makes pictures of 32 x 32, config.json says the weights take 16 x 16"),
    ],
)
def test_mistakes_are_one_line(
    words: tuple[str, ...], message: str, vit: Path, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    places = {"vit": str(vit)}
    for name in ("empty", "other"):  # copies of the backbone without an image processor, and with another's
        places[name] = str(tmp_path / name)
        (tmp_path / name).mkdir()
        for file in ("config.json", "model.safetensors"):
            (tmp_path / name / file).write_bytes((vit / file).read_bytes())
    ViTImageProcessorPil(size={"height": 32, "width": 32}).save_pretrained(tmp_path / "other")
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    given = [word.format(**places) for word in words]
    start_with = (*SHORT, "task=vision/imagefolder", "method=lora", f"data.root={colours}")
    assert main(last_of_each(*start_with, *given)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line
    assert not list(tmp_path.glob("results/records/*/*.json"))


def test_counting_needs_no_picture(vit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe=none", "method=vera", "task=vision/cifar100", "backbone=vit_base", "dry_run=true"]) == 0
    assert "head 76,900" in capsys.readouterr().out
    own = ("task=vision/imagefolder", "task.labels=[cat,dog]", f"backbone.path={vit}", "dry_run=true")
    assert main([*SHORT, "method=vera", *own]) == 0
    assert "head 66" in capsys.readouterr().out
    assert main([*SHORT, "method=vera", *(word for word in own if "labels" not in word)]) == 0
    assert "classes: found in the data; the head is counted for 2 of them" in capsys.readouterr().out


def test_a_picture_that_is_cut_is_known_before_training(
    vit: Path, colours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = colours / "test" / "red" / "3.png"
    path.write_bytes(path.read_bytes()[:-600])
    monkeypatch.chdir(tmp_path)
    capsys.readouterr()
    words = ("task=vision/imagefolder", "method=lora", f"backbone.path={vit}", f"data.root={colours}")
    assert main([*SHORT, *words, "trainer.evaluate=last"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "3.png') cannot be decoded" in line
    assert not list(tmp_path.glob("runs/**/*.safetensors"))
    assert not list(tmp_path.glob("runs/**/*.pt"))

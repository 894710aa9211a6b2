"""Weights from a folder: every way they can be wrong is one line, and a head trains in float32 whatever they are in."""

from __future__ import annotations

import importlib.resources
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from accelerate import Accelerator

from uora_bench.config import registry
from uora_bench.config.cell import Cell
from uora_bench.config.compose import compose
from uora_bench.contract.models import make_method
from uora_bench.data import hub
from uora_bench.errors import UserError
from uora_bench.execution.trackers import Tracker
from uora_bench.models import backbones, heads
from uora_bench.models.heads import head_parameters
from uora_bench.models.targets import find_targets
from uora_bench.tasks import create_task, task_class
from uora_bench.tasks.base import Encoded
from uora_bench.training import trainer
from uora_bench.training.checkpoint import Checkpoints
from uora_bench.util import package_folder, weights
from uora_bench.util.signals import StopRequest


def cell_of(*words: str) -> Cell:
    return compose(["backbone=tiny_roberta", "recipe=none", *words]).cell


HEAD = task_class("text_classification")(cell_of().task).head


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the bundled checkpoint."""
    bundled = importlib.resources.files("uora_bench") / "assets" / "tiny_roberta"
    return Path(shutil.copytree(str(bundled), tmp_path / "weights"))


def config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def no_tokenizer(folder: Path) -> None:
    for path in folder.glob("*token*"):
        path.unlink()


BROKEN: dict[str, Callable[[Path], Any]] = {
    "no config": lambda f: (f / "config.json").unlink(),
    "an empty config": lambda f: (f / "config.json").write_text("{}"),
    "a config that is no JSON": lambda f: (f / "config.json").write_text("{"),
    "a config without sense": lambda f: config(f, hidden_size=7),
    "another model's config": lambda f: config(f, model_type="nonsense"),
    "a model without such a head": lambda f: config(f, model_type="vit"),
    "cut weights": lambda f: os.truncate(f / "model.safetensors", 1000),
    "empty weights": lambda f: (f / "model.safetensors").write_bytes(b""),
    "no weights": lambda f: (f / "model.safetensors").unlink(),
    "pickled weights only": lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
    "another size": lambda f: config(f, intermediate_size=52),
    "no tokenizer": no_tokenizer,
    "a tokenizer that is no JSON": lambda f: (f / "tokenizer.json").write_text("{"),
}


@pytest.mark.parametrize("way", BROKEN)
def test_a_folder_that_is_wrong_is_one_line_with_the_ways_out(way: str, folder: Path) -> None:
    BROKEN[way](folder)
    with pytest.raises(UserError) as caught:
        backbones.load_backbone(cell_of(f"backbone.path={folder}").backbone, HEAD, 0)
    message = str(caught.value)
    assert "\n" not in message
    assert all(part in message for part in ("backbone=tiny_roberta", str(folder))), message


def test_a_float_of_the_config_is_compared_as_float32(folder: Path) -> None:
    backbone = replace(cell_of(f"backbone.path={folder}").backbone, architecture={"layer_norm_eps": 1e-5})
    config(folder, layer_norm_eps=9.999999747378752e-06)
    assert backbones.load_backbone(backbone, HEAD, 0).model.config.layer_norm_eps != 1e-5
    for other in (1.00001e-5, 1e-6):
        config(folder, layer_norm_eps=other)
        with pytest.raises(UserError, match="layer_norm_eps"):
            backbones.load_backbone(backbone, HEAD, 0)


@pytest.mark.parametrize("way", [w for w in BROKEN if "config" in w or "head" in w])
def test_counting_from_a_folder_that_is_wrong_is_one_line(way: str, folder: Path) -> None:
    BROKEN[way](folder)
    with pytest.raises(UserError) as caught:
        backbones.skeleton(cell_of(f"backbone.path={folder}").backbone, HEAD)
    assert "\n" not in str(caught.value)
    assert "backbone.path" in str(caught.value)


def test_a_mistake_of_ours_is_not_taken_for_a_bad_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "initialise_head", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        backbones.load_backbone(cell_of().backbone, HEAD, 0)


@pytest.mark.parametrize("package", ["nonsense", "no.such.thing:model", ".", "uora_bench:nowhere"])
def test_a_package_that_lacks_the_weights_is_one_line(package: str) -> None:
    with pytest.raises(UserError, match="reinstall"):
        backbones.load_backbone(replace(cell_of().backbone, package=package), HEAD, 0)


def test_the_revision_is_asked_for_with_and_without_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[dict[str, Any]] = []

    def refuse(place: str, **arguments: Any) -> None:
        asked.append({"place": place, **arguments})
        raise OSError("not today\nnor tomorrow")

    monkeypatch.setattr(hub, "reachable", lambda *_: True)
    monkeypatch.setattr("transformers.AutoConfig.from_pretrained", refuse)
    monkeypatch.setattr("transformers.AutoModelForSequenceClassification.from_pretrained", refuse)
    backbone = replace(cell_of().backbone, id="a/b", package=None, revision="c0ffee")
    for step in (lambda: backbones.skeleton(backbone, HEAD), lambda: backbones.load_backbone(backbone, HEAD, 0)):
        with pytest.raises(UserError, match=r"'a/b': not today; set backbone\.path="):
            step()
    assert [(a["place"], a["revision"], a["local_files_only"]) for a in asked] == [("a/b", "c0ffee", False)] * 2
    assert asked[1]["use_safetensors"] is True


def test_weights_are_hashed_once_and_again_when_they_change(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = cell_of(f"backbone.path={folder}").backbone
    first = backbones.weights_sha256(backbone)
    assert backbones.load_backbone(backbone, HEAD, 0).origin["weights_sha256"] == first
    (folder / "pytorch_model.bin").write_bytes(b"not used")
    with monkeypatch.context() as patched:
        patched.setattr(weights.hashlib, "sha256", pytest.fail)
        assert backbones.weights_sha256(backbone) == first
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-4] + b"\0\1\2\3")
    assert backbones.weights_sha256(backbone) != first


# --- half precision -----------------------------------------------------------------------------------------------


def test_the_head_starts_the_same_on_a_half_precision_backbone(folder: Path) -> None:
    heads = {}
    for dtype in ("float32", "bfloat16", "float16"):
        model = backbones.load_backbone(
            cell_of(f"backbone.path={folder}", f"backbone.dtype={dtype}").backbone, HEAD, 3
        ).model
        heads[dtype] = head_parameters(model)
        assert {str(p.dtype) for p in heads[dtype].values()} == {"torch.float32"}
        rest = {str(p.dtype) for n, p in model.named_parameters() if n not in heads[dtype]}
        assert rest == {f"torch.{dtype}"}
    for name, parameter in heads["float32"].items():
        assert parameter.equal(heads["bfloat16"][name])
        assert parameter.equal(heads["float16"][name])


@pytest.mark.parametrize("autocast", [False, True])
def test_the_head_computes_in_float32_and_under_autocast(folder: Path, autocast: bool) -> None:
    backbone = cell_of(f"backbone.path={folder}").backbone
    inputs = {"input_ids": torch.tensor([[2, 20, 30, 40, 3]])}
    logits = {}
    for dtype in ("float32", "bfloat16"):
        model = backbones.load_backbone(replace(backbone, dtype=dtype), HEAD, 0).model.eval()
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits[dtype] = model(**inputs).logits
        assert logits[dtype].dtype == (torch.bfloat16 if autocast else torch.float32)
    torch.testing.assert_close(logits["bfloat16"].float(), logits["float32"].float(), atol=0.02, rtol=0.05)


@pytest.mark.parametrize("method_name", ["head_only", "uora", "lora", "full"])
def test_a_half_precision_backbone_trains_in_float32(method_name: str, folder: Path, tmp_path: Path) -> None:
    words = (f"method={method_name}", f"backbone.path={folder}", "backbone.dtype=bfloat16")
    cell = cell_of(*words, "trainer.precision=float32", "trainer.epochs=2", "trainer.batch_size=8")
    cell = replace(cell, trainer=replace(cell.trainer, lr_adapter=1e-3, lr_head=1e-4))
    task = create_task(cell.task)
    model = backbones.load_backbone(cell.backbone, task.head, 0).model
    method = make_method(method_name)
    targets = find_targets(model, cell.backbone, method.config.adapts)
    method.inject(model, targets, torch.Generator().manual_seed(0))
    head = head_parameters(model)
    before = {name: p.detach().clone() for name, p in head.items()}
    for parameter in head.values():
        parameter.requires_grad_(True)
    generator = np.random.default_rng(0)
    lengths = generator.integers(5, 20, 24)
    ids = [generator.integers(5, 99, n).tolist() for n in lengths]
    data = Encoded({"input_ids": ids}, np.arange(24) % 3, lengths, {"input_ids": 1})
    history = trainer.fit(
        cell, model, head, method, task, {"train": data, "dev": data}, Tracker(),
        Checkpoints(tmp_path / "runs", "0" * 16), Accelerator(cpu=True, mixed_precision="no"), StopRequest(),
    )  # fmt: skip
    assert history.steps == 6
    assert all(np.isfinite(e.train_loss) for e in history.epochs)
    assert {p.dtype for p in head.values()} == {torch.float32}
    assert all(not p.equal(before[name]) for name, p in head.items())


def test_the_bundled_weights_are_those_that_their_configs_name(root: Path) -> None:
    """Recomputed; `_origin` puts the hash into every record and refuses other weights under the name."""
    named = {}
    for name, path in registry.files("backbone").items():
        values = yaml.safe_load(path.read_text("utf-8"))
        if str(values.get("package")).startswith("uora_bench:"):
            folder = package_folder.folder(values["package"])
            assert values["sha256"] == weights.sha256_of(folder), f"{path}: raise revision, and name the new sha256"
            named[name] = folder.name
    assert set(named.values()) == {path.name for path in (root / "src/uora_bench/assets").iterdir() if path.is_dir()}
    cell = compose(["method=lora", "task=tiny/nli"]).cell
    place, told = backbones.locate(cell.backbone)
    assert backbones._origin(cell.backbone, place, told)["weights_sha256"] == cell.backbone.sha256
    with pytest.raises(UserError, match=r"has other weights \(sha256 2b0db586"):
        backbones._origin(replace(cell.backbone, sha256="0" * 64), place, told)

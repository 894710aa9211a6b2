"""Code that comes with a model's files never runs, and nobody is asked whether it may."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import uora_bench
from uora_bench.config.compose import compose
from uora_bench.config.preflight import preflight
from uora_bench.errors import UserError
from uora_bench.models import backbones
from uora_bench.models.heads import HeadSpec
from uora_bench.tasks import task_class

ASSETS = Path(uora_bench.__file__).parent / "assets"
CODE = """
import pathlib
pathlib.Path({mark!r}).touch()
from transformers import PretrainedConfig, RobertaForSequenceClassification, RobertaTokenizer, ViTImageProcessor
class Config(PretrainedConfig):
    model_type = "strange"
class Model(RobertaForSequenceClassification): ...
class Tokenizer(RobertaTokenizer): ...
class Processor(ViTImageProcessor): ...
"""
# the file that names the code, and what stands in it
WAYS: dict[str, tuple[str, str, dict[str, Any]]] = {
    "config": ("tiny_roberta", "config.json", {
        "model_type": "strange",
        "auto_map": {"AutoConfig": "code.Config", "AutoModelForSequenceClassification": "code.Model"},
    }),
    "model": ("tiny_roberta", "config.json", {
        "model_type": "sam", "auto_map": {"AutoModelForSequenceClassification": "code.Model"},
    }),
    "tokenizer": ("tiny_roberta", "tokenizer_config.json", {
        "tokenizer_class": "Strange", "auto_map": {"AutoTokenizer": ["code.Tokenizer", None]},
    }),
    "image processor": ("tiny_vit", "preprocessor_config.json", {
        "image_processor_type": "Strange", "auto_map": {"AutoImageProcessor": "code.Processor"},
    }),
}  # fmt: skip


def folder_with_code(tmp_path: Path, way: str) -> tuple[Path, Path, str]:
    """A model's folder with code that leaves a mark; the mark; the backbone's name."""
    name, file, changes = WAYS[way]
    folder, mark = tmp_path / "weights", tmp_path / "mark"
    shutil.copytree(ASSETS / name, folder)
    (folder / "code.py").write_text(CODE.format(mark=str(mark)))
    path = folder / file
    path.write_text(json.dumps({**(json.loads(path.read_text()) if path.is_file() else {}), **changes}))
    return folder, mark, name


@pytest.mark.parametrize("way", WAYS)
def test_code_in_a_models_folder_is_refused_in_one_line(
    way: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    folder, mark, name = folder_with_code(tmp_path, way)
    task = "tiny/digits" if name == "tiny_vit" else "tiny/nli"
    cell = compose([f"task={task}", f"backbone={name}", "recipe=none", f"backbone.path={folder}"]).cell
    head = task_class(cell.task.family)(cell.task).head

    def load() -> None:
        if way != "tokenizer":
            backbones.load_backbone(cell.backbone, head, 0)
        # a type of model with a tokenizer of the library's own gets that one
        (folder / "config.json").write_text(json.dumps({"model_type": "vit"}))
        arguments: dict[str, Any] = {"local_files_only": True}
        with backbones.loading(cell.backbone, str(folder), arguments):
            backbones._processor(cell.backbone, str(folder), arguments)

    with pytest.raises(UserError, match="it needs code of its own, which is never run") as caught:
        load()
    assert "\n" not in str(caught.value)
    if way in ("config", "model"):
        with pytest.raises(UserError, match=r"code of its own|architecture"):
            backbones.skeleton(cell.backbone, head)
    assert not mark.exists()


def test_yes_on_standard_input_runs_nothing(tmp_path: Path, root: Path) -> None:
    folder, mark, _ = folder_with_code(tmp_path, "config")
    words = ["task=tiny/nli", "recipe=none", "method=head_only", "tracker=none", f"backbone.path={folder}"]
    result = subprocess.run(
        [sys.executable, "-m", "uora_bench", *words], input="y\n" * 9, cwd=tmp_path, text=True, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(root / "src")}, timeout=120,
    )  # fmt: skip
    assert (result.returncode, mark.exists()) == (2, False), result.stderr
    (line,) = result.stderr.strip().splitlines()
    assert "never run" in line


def test_every_call_that_reads_a_models_files_says_that_code_is_not_to_be_run(root: Path) -> None:
    """Left out, the argument makes the library ask at the terminal. (PEFT's class has no such argument.)"""
    calls = 0
    for path in (root / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            if node.func.attr not in ("from_pretrained", "from_config"):
                continue
            owner = ast.unparse(node.func.value)
            if "transformers" not in owner and "uto" not in owner:
                assert owner in ("PeftModel", "cls", "Cell", "Settings"), f"{path}: {owner}"
                continue
            said = {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert said.get("trust_remote_code") == "False", f"{path}:{node.lineno}"
            calls += 1
    assert calls >= 5


# --- weights from elsewhere -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["../other.safetensors", "/tmp/other.safetensors", "a/b.safetensors", "x.bin", 5])
def test_an_index_names_no_weights_but_those_beside_it(name: Any, tmp_path: Path) -> None:
    folder = tmp_path / "weights"
    shutil.copytree(ASSETS / "tiny_roberta", folder)
    (folder / "model.safetensors").rename(folder / "decoy.safetensors")
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"x": name}}))
    with pytest.raises(UserError, match=r"only \*\.safetensors beside the index are read"):
        preflight(compose(["task=tiny/nli", f"backbone.path={folder}"]).cell)


def test_the_folder_of_an_adapter_is_no_model(tmp_path: Path) -> None:
    """transformers would load the model that the adapter is of, wherever that is."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModel

    folder, base = tmp_path / "weights", tmp_path / "base"
    for place in (folder, base):
        shutil.copytree(ASSETS / "tiny_roberta", place)
    model = get_peft_model(AutoModel.from_pretrained(base), LoraConfig(r=2, target_modules=["query"]))
    model.save_pretrained(tmp_path / "adapter")
    for file in (tmp_path / "adapter").glob("adapter_*"):
        shutil.copy(file, folder)
    cell = compose(["task=tiny/nli", f"backbone.path={folder}"]).cell
    with pytest.raises(UserError, match="is an adapter of PEFT"):
        preflight(cell)
    with pytest.raises(UserError, match="is an adapter of PEFT"):
        backbones.load_backbone(cell.backbone, HeadSpec("AutoModelForSequenceClassification", {"num_labels": 3}), 0)

"""What a model said of itself is kept: a plan of it takes torch once, and says the same afterwards."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.support.command_line import HEAVY, environment
from tests.support.own_models import ENCODERS, edit_json, own_model
from uora_bench.models import any_model, known_models

WORDS = ("task=tiny/nli", "backbone=hf", "backbone.path=my_bert", "method=lora,uora")


def plan(folder: Path, root: Path) -> tuple[list[str], list[str]]:
    """The heavy libraries that a plan imports, and the keys of its cells."""
    code = (
        "import sys; from uora_bench.cli.main import main; "
        f"assert main(['plan', *{WORDS!r}]) == 0; print(sorted((set({HEAVY}) - {{'hydra'}}) & set(sys.modules)))"
    )
    surroundings = {**environment(root), "XDG_CACHE_HOME": str(folder / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=surroundings, capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    items = json.loads((folder / "runs" / "scratch" / "plan.json").read_text("utf-8"))["items"]
    return json.loads(done.stdout.splitlines()[-1].replace("'", '"')), [item["key"] for item in items]


@pytest.mark.slow
def test_a_plan_of_a_known_model_imports_no_torch_and_is_the_same(root: Path, tmp_path: Path) -> None:
    model = own_model(tmp_path / "my_bert", "bert")
    heavy, keys = plan(tmp_path, root)
    assert "torch" in heavy
    assert plan(tmp_path, root) == ([], keys)
    (kept,) = (tmp_path / "cache" / "uora_bench").iterdir()
    whole = kept.read_text("utf-8")
    kept.write_text(whole[:-20])
    assert plan(tmp_path, root)[1] == keys
    assert kept.read_text("utf-8") == whole, "what was damaged is made anew"
    assert sorted(path.name for path in model.iterdir() if path.name.startswith(".")) == []


def test_another_model_is_asked_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = own_model(tmp_path / "my_bert", "bert")
    files = sorted(folder.glob("*.safetensors"))
    stored = known_models.read_stored_names(files)
    first = known_models.file_of(folder, "encoder", stored)
    edit_json(folder / "config.json", num_hidden_layers=1)
    others = [
        known_models.file_of(folder, "encoder", stored),
        known_models.file_of(folder, "causal_lm", stored),
        known_models.file_of(folder, "encoder", None),
        known_models.file_of(folder, "encoder", stored | {"bert.pooler.dense.weight"}),
    ]
    assert len({first, *others}) == 5
    assert known_models.file_of(tmp_path, "encoder", stored) is None


@pytest.mark.parametrize("name", ENCODERS)
def test_the_names_in_a_header_are_those_that_the_library_reads(name: str, tmp_path: Path) -> None:
    (file,) = own_model(tmp_path / "model", name).glob("*.safetensors")
    with safe_open(str(file), "pt") as opened:
        assert known_models.read_stored_names([file]) == set(opened.keys())


@pytest.mark.parametrize("content", [b"", b"\xff" * 99, b"\x02" + b"\0" * 7 + b"[]", b"\x09" + b"\0" * 7 + b"{"])
def test_a_file_that_is_cut_or_none_at_all_has_no_names(content: bytes, tmp_path: Path) -> None:
    own_model(tmp_path, "bert", weights=False)
    (tmp_path / "model.safetensors").write_bytes(content)
    assert any_model._stored_names(str(tmp_path), {}) is None

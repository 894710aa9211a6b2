"""docs/bring_your_own_model.md, command by command: a model of the user's own from command line to record."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import environment, finish, one_line, only_record, start
from tests.support.hub_server import Repository, serve
from tests.support.own_models import DECODERS, ENCODERS, PICTURES, own_model
from tests.support.paths import ROOT
from uora_bench.cli.main import main

PAGE = ROOT / "docs" / "bring_your_own_model.md"
COMMANDS = re.findall(r"^uora-bench (.*?)(?: +#.*)?$", PAGE.read_text("utf-8"), flags=re.MULTILINE)
LOOKS = [c for c in COMMANDS if "dry_run" in c or c.startswith("plan")]
SHORT = ("tracker=none", "trainer.max_steps=2", "trainer.batch_size=4", "method.rank=4", "trainer.evaluate=last")
ROWS = ("task.splits.train=train[:8]", "task.splits.dev=validation[:4]")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the page's commands name."""
    folder = tmp_path_factory.mktemp("own")
    for name in ("bert", "llama", "vit"):
        own_model(folder / f"my_{name}", name)
    return folder


def place(models: Path, folder: Path) -> None:
    """Let ``folder`` hold the models under the page's names."""
    for model in models.iterdir():
        (folder / model.name).symlink_to(model)


@pytest.mark.parametrize("command", LOOKS)
def test_the_pages_looks_work(
    command: str, models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    place(models, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert main(shlex.split(command)) == 0
    assert re.search(r"parameters: adapter [\d,]+ ·|to do", capsys.readouterr().out)


def ran(command: str, models: Path, folder: Path) -> dict[str, Any]:
    place(models, folder)
    done = finish(start(folder, ROOT, *shlex.split(command), *SHORT, *ROWS))
    assert done.returncode == 0, done.stderr
    record: dict[str, Any] = json.loads(only_record(folder).read_text("utf-8"))
    (model,) = re.findall(r"backbone.path=(\w+)", command)
    assert re.search(rf" · local/{model}@[0-9a-f]{{8}} · ", record["label"])
    assert record["cell"]["backbone"]["name"] == f"local/{model}"
    assert record["cell"]["weights"] == record["provenance"]["backbone"]["weights_sha256"]
    assert record["recipe"]["status"] == "own"
    assert "/default_" in record["recipe"]["name"]
    assert record["merge_error"] < 1e-3
    assert "backbone=hf" in record["provenance"]["command"]
    if record["cell"]["backbone"]["head"][:1] == ["classifier"] and model == "my_bert":
        assert "head: classifier, bert.pooler (bert.pooler: missing in the weights" in done.stderr
        assert record["provenance"]["backbone"]["fresh"] == ["bert.pooler"]
    return record


RUNS = [c for c in COMMANDS if c not in LOOKS]


@pytest.mark.parametrize("command", [RUNS[0], *(pytest.param(c, marks=pytest.mark.slow) for c in RUNS[1:])])
def test_the_pages_runs_end_in_a_record(command: str, models: Path, tmp_path: Path) -> None:
    ran(command, models, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("form", ["peft", "merged", "native"])
def test_a_model_of_ones_own_is_exported(form: str, models: Path, tmp_path: Path) -> None:
    ran(RUNS[0], models, tmp_path)
    (run_folder,) = (tmp_path / "runs").glob("*/*/cell.json")
    done = finish(start(tmp_path, ROOT, "export", str(run_folder.parent), f"format={form}", "output=there"))
    assert done.returncode == 0, done.stderr


def test_a_model_that_cannot_be_had_is_one_line_and_exit_code_two(tmp_path: Path) -> None:
    done = finish(start(tmp_path, ROOT, "task=tiny/nli", "backbone=hf", "backbone.id=no-such/model"))
    assert "cannot load backbone=hf from 'no-such/model'" in one_line(done)


def test_a_model_on_the_hub_is_described_without_its_weights(tmp_path: Path) -> None:
    """The configuration is fetched, and of the weights the names of their tensors."""
    files = {p.name: p.read_bytes() for p in own_model(tmp_path / "m", "bert").iterdir()}
    with serve(Repository("model", "test/bert", files)) as hub:
        kept = {k: v for k, v in environment(ROOT).items() if not k.startswith("HF_") and "proxy" not in k.lower()}
        own = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DOWNLOAD_TIMEOUT": "5"}
        words = ("task=tiny/nli", "method=lora", "backbone=hf", "backbone.id=test/bert", "dry_run=true")
        command = [sys.executable, "-m", "uora_bench", *words]
        done = subprocess.run(command, env=kept | own, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "lora · tiny/nli · test/bert · seed 0" in done.stdout
    assert "head: classifier, bert.pooler (bert.pooler: missing in the weights" in done.stdout
    assert all("bytes=" in line for line in hub.asked("GET /storage/.*safetensors"))
    assert hub.asked("GET /storage/.*safetensors")


def test_the_page_names_every_model_that_the_tests_try() -> None:
    text = re.sub(r"[^a-z0-9]", "", PAGE.read_text("utf-8").split("## Tested models")[1].lower())
    for name in (*ENCODERS, *DECODERS, *PICTURES):
        assert re.sub(r"[^a-z0-9]", "", name.removesuffix("-v2")) in text, name

"""A dry run of a model that is known imports no torch, and says what a model that is built would say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import pictures
from tests.support.command_line import environment
from uora_bench.cli.main import main
from uora_bench.config import registry
from uora_bench.config.compose import compose
from uora_bench.config.options import AdapterOptions
from uora_bench.errors import UserError
from uora_bench.execution import dry_run
from uora_bench.models import known_models, outline
from uora_bench.tasks import create_task

METHODS = [name for name in registry.choices("method") if name != "peft"]  # PEFT alone knows what it makes
ADAPTERS = [name for name in METHODS if issubclass(registry.method_options(name), AdapterOptions)]
TASKS = {"encoder": "tiny/nli", "causal_lm": "tiny/instruct", "vision": "tiny/digits"}
TINY = ("tiny_roberta", "tiny_gpt2", "tiny_llama", "tiny_vit")
LARGE = ("roberta_base", "gpt2_medium", "llama3_8b", "qwen2_5_0_5b", "smollm2_135m", "vit_base")
WORDS = {
    "tied_lora": ("method.variant=tl2", "method.variant=lora", "method.pairs=all"),
    "alpha_lora": ("method.mode=fixed",),
    "uora": ("method.sharing=layer",),
    "bitfit": ("method.only=[o]",),
}


@pytest.fixture(autouse=True)
def empty(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def cases(name: str, modules: list[str], alone: list[str]) -> list[list[str]]:
    """Settings of a method: its defaults, each of `WORDS`, all target modules that do not overlap, and ``alone``."""
    whole = [m for m in modules if m not in ("qkv", "gate_up")]
    lists = [whole, *([m] for m in alone)] if name in ADAPTERS else []
    return [
        [],
        *([word] for word in WORDS.get(name, ())),
        *([f"method.target_modules=[{','.join(chosen)}]"] for chosen in lists),
    ]


@pytest.mark.parametrize("backbone", [*TINY, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_closed_forms_are_what_a_model_that_is_built_trains(backbone: str) -> None:
    kind = compose([f"backbone={backbone}", "method=lora", "recipe=none"]).cell.backbone.kind
    compared = 0
    for name in METHODS:
        base = [f"method={name}", f"task={TASKS[kind]}", f"backbone={backbone}", "recipe=none"]
        modules = list(compose(base).cell.backbone.target_modules.modules)
        for words in cases(name, modules, modules[3:4] if backbone in TINY else modules):
            cell = compose([*base, *words]).cell
            head, _ = create_task(cell.task).planned_head()
            known = dry_run.closed_form(cell, head)
            try:
                built = dry_run.counted(cell, head)
            except UserError:
                assert known is None, (name, words)
                continue
            assert known in (None, built), (name, words)
            again = dry_run.closed_form(cell, head)
            assert again == (None if words == ["method.only=[o]"] else built), (name, words)
            compared += again is not None
    assert compared > 20


def said(folder: Path, root: Path, *words: str) -> tuple[str, list[str]]:
    """What a dry run prints, and the heavy libraries that it imported."""
    code = (
        "import sys; from uora_bench.cli.main import main; "
        f"assert main([*{words!r}, 'dry_run=true']) == 0; print(sorted({{'torch', 'transformers'}} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment(root), capture_output=True, text=True, timeout=200
    )
    assert done.returncode == 0, done.stderr
    text, _, heavy = done.stdout.rstrip().rpartition("\n")
    return text, json.loads(heavy.replace("'", '"'))


def test_a_dry_run_of_a_known_model_imports_no_torch(root: Path, tmp_path: Path) -> None:
    words = ("method=tied_lora", "task=tiny/nli")
    first, heavy = said(tmp_path, root, *words)
    assert heavy == ["torch", "transformers"]
    assert said(tmp_path, root, *words) == (first, [])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task=tiny/instruct", "backbone=tiny_gpt2", "method.target_modules=[q,qkv]"], "overlap"),
        (["task=tiny/instruct", "backbone=tiny_llama", "method=bitfit"], "has none"),
        (["task=tiny/instruct", "backbone=tiny_gpt2", "method=bitfit", "method.only=[q]"], "part of the fused"),
        (["backbone.head=[nowhere]"], "has no module 'nowhere'"),
        (["method.target_modules=[q]", "backbone.target_modules.modules.q.path=x.{layer}.y"], "has no such module"),
    ],
)
def test_what_cannot_be_trained_is_refused_on_a_known_model_too(words: list[str], message: str) -> None:
    given = ["method=lora", "task=tiny/nli", "recipe=none"]
    keys = {word.partition("=")[0] for word in words}
    composed = compose([*(word for word in given if word.partition("=")[0] not in keys), *words])
    head, _ = create_task(composed.cell.task).planned_head()
    bare = compose([word for word in [*given, *words] if word.partition("=")[0] in ("task", "backbone")][-2:]).cell
    dry_run.counted(bare, head)
    for _ in range(2):
        with pytest.raises(UserError, match=message):
            dry_run.describe(composed)


def test_another_head_or_code_is_another_outline(monkeypatch: pytest.MonkeyPatch) -> None:
    cell = compose(["method=lora", "task=tiny/nli"]).cell
    other = compose(["method=lora", "task=tiny/nli", "backbone.head=[]"]).cell
    head, _ = create_task(cell.task).planned_head()
    dry_run.counted(cell, head)
    assert outline.known_outline(cell.backbone, head) is not None
    assert outline.known_outline(other.backbone, head) is None
    (kept,) = Path(os.environ["XDG_CACHE_HOME"], "uora_bench").iterdir()
    whole = kept.read_text("utf-8")
    for damaged in (whole[:-9], whole.replace("96", '"96"', 1)):
        kept.write_text(damaged)
        assert outline.known_outline(cell.backbone, head) is None
    dry_run.counted(cell, head)
    assert kept.read_text("utf-8") == whole
    monkeypatch.setattr(known_models, "_LIBRARIES", ("torch", "transformers"))
    assert outline.known_outline(cell.backbone, head) is None


@pytest.mark.parametrize(
    ("task", "files", "message"),
    [
        ("text/local", (), "holds no split 'train' (train.csv, .tsv, .jsonl, .json, .parquet); it has no file of rows"),
        (
            "text/local",
            ("dev.csv", "test.csv"),
            "holds no split 'train' (train.csv, .tsv, .jsonl, .json, .parquet); va",
        ),
        ("text/local task.splits.dev=devel", ("train.csv",), "holds no split 'devel'"),
        ("text/local task.label=stars", ("train.csv", "dev.csv"), "dev.csv has no column 'stars'"),
        ("text/generate task.template='{text}' task.answer=label", ("dev.csv",), "holds no split 'train'"),
        ("vision/imagefolder", (), "has no split 'train'"),
        ("vision/imagefolder", ("train/cat/1.png",), "has no split 'test'"),
        ("vision/imagefolder", ("train/1.png",), "train' holds no class folders"),
        ("vision/imagefolder", ("train-00000-of-00002.parquet",), "lacks 1 of 2 files"),
    ],
)
@pytest.mark.parametrize("command", [["dry_run=true"], []])
def test_a_folder_without_the_splits_is_refused_as_by_the_run(
    task: str,
    files: tuple[str, ...],
    message: str,
    command: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("text,stars\na,1\n" if "stars" in task and "train" in name else "text,label\na,1\n")
    assert main([*command, "method=lora", f"data.root={folder}", *f"task={task}".split()]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert message in line


def test_pictures_in_one_file_are_cut(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pictures.rows_of().to_parquet(tmp_path / "all.parquet")
    words = ["method=lora", "task=vision/imagefolder", "backbone=tiny_vit", f"data.root={tmp_path / 'all.parquet'}"]
    assert main([*words, "dry_run=true"]) == 2
    assert "is one file, without a split 'train'; cut it: task.splits.train='all[:80%]'" in capsys.readouterr().err
    cut = ["task.splits.train=all[:80%]", "task.splits.dev=all[80%:]"]
    assert main([*words, *cut, "dry_run=true"]) == 0

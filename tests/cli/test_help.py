"""Help: every command has it, it fits a terminal, it is quick, and it says what the tables of keys say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from uora_bench.cli.main import MODULES, load_command, main

NOT_NEEDED = (
    "hydra",
    "omegaconf",
    "torch",
    "transformers",
    "datasets",
    "numpy",
    "yaml",
    "rich",
    "wandb",
    "annotated_types",
)


def text_of(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def test_the_overview_names_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    text = text_of(capsys, "--help")
    assert all(f"\n  {name} " in text for name in MODULES)
    assert text == text_of(capsys, "help") == text_of(capsys, "-h")


@pytest.mark.parametrize("name", ["", "mt-bench", *MODULES])
def test_help_fits_80_columns(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = text_of(capsys, *name.split(), "--help")
    assert [line for line in text.splitlines() if len(line) > 80] == []
    assert text == text_of(capsys, *name.split(), "help")
    assert text == text_of(capsys, "help", *name.split())


@pytest.mark.parametrize("name", MODULES)
def test_help_has_every_key_and_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    command = load_command(name)
    assert command.name == name
    text = text_of(capsys, *name.split(), "-h")
    for key in (*command.keys, *command.passed):
        assert f"\n  {key.name}=" in text
    assert command.examples
    for example in command.examples:
        assert example.startswith(name) or name == "run"
        words = [word for word in example.split() if "<" not in word and word != "folder>"]
        if "<" not in example and "'" not in example:
            command.read(words[len(name.split()) if example.startswith(name) else 0 :])


def test_help_anywhere_on_the_line_and_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert text_of(capsys, "export", "x", "--help") == text_of(capsys, "export", "--help")
    assert text_of(capsys, "method=lora", "--help") == text_of(capsys, "run", "--help")
    assert text_of(capsys, "--version").startswith("uora_bench ")


def test_help_of_every_command_imports_neither_hydra_nor_torch(root: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from uora_bench.cli.main import MODULES, main\n"
        "codes = {main([*name.split(), '--help']) for name in ('', 'mt-bench', *MODULES)}\n"
        f"print(codes, sorted(set({NOT_NEEDED}) & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(root / "src")},
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1] == "{0} []"


def test_the_page_names_every_command() -> None:
    text = (ROOT / "docs" / "command_line.md").read_text("utf-8")
    assert [name for name in MODULES if f"| `{name}` | {load_command(name).summary} |" not in text] == []

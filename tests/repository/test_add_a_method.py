"""docs/add_a_method.md, done as it says: its files pasted into a copy of the checkout, its commands run there."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)
NAME = "lora_xs"


def blocks(root: Path) -> list[tuple[str, str]]:
    """(language, text) of every fenced block of the page."""
    return BLOCK.findall((root / "docs" / "add_a_method.md").read_text("utf-8"))


def files(root: Path) -> dict[str, str]:
    """What the page says to write, by the path in each block's first line."""
    found = {}
    for language, text in blocks(root):
        if language != "sh":
            path = text.splitlines()[0].removeprefix("# ")
            assert re.fullmatch(r"[\w/]+\.(py|yaml)", path), f"a block without its file: {text[:60]!r}"
            found[path] = text.split("\n", 1)[1]
    return found


def commands(root: Path, part: str) -> list[list[str]]:
    """The page's commands that contain ``part``, as words."""
    lines = [line for language, text in blocks(root) if language == "sh" for line in text.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if part in line]


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """A copy of the checkout with the page's files in it."""
    for folder in ("src", "configs", "tests"):
        shutil.copytree(root / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    for path, text in files(root).items():
        target = tmp_path / path
        assert not target.exists(), f"{path} is there already: the page is of a method that the suite has"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
    return tmp_path


def call(words: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command of the page in ``folder``, with this interpreter."""
    if words[0] == "uora-bench":
        words = ["python", "-m", "uora_bench", *words[1:]]  # the same program, of this checkout
    assert words[:2] == ["python", "-m"]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "UORA_", "PYTEST_"))}
    variables = {**kept, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(folder / "src")}
    options = ["-p", "no:cacheprovider"] if words[2] == "pytest" else []
    command = [sys.executable, "-m", words[2], *options, *words[3:]]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=540)


def test_the_pages_commands_do_what_it_says(root: Path, checkout: Path) -> None:
    (mistake,) = commands(root, "rnak")
    wrong = call(mistake, checkout)
    assert (wrong.returncode, len(wrong.stderr.strip().splitlines())) == (2, 1)
    assert "did you mean 'method.rank'" in wrong.stderr
    (dry,) = commands(root, "dry_run=true")
    described = call(dry, checkout)
    assert described.returncode == 0, described.stderr
    page = (root / "docs" / "add_a_method.md").read_text("utf-8")
    (promised,) = re.findall(r"says `(adapter [\d,]+)`", page)
    assert f"{promised} · head" in described.stdout
    (short,) = commands(root, "trainer.max_steps")
    trained = call(short, checkout)
    assert trained.returncode == 0, trained.stderr
    (path,) = (checkout / "results" / "records" / "scratch").glob("*.json")
    record = json.loads(path.read_text("utf-8"))
    assert (record["status"], record["cell"]["method"]["name"]) == ("done", NAME)
    assert record["recipe"]["name"] == f"{NAME}/tiny_roberta"
    assert record["counts"]["adapter"] == 8 * 16**2
    assert record["bytes"]["adapter_size"] == 4 * record["counts"]["adapter"]
    assert 0 <= record["merge_error"] < 1e-4
    assert (checkout / "runs" / "scratch" / record["cell_id"] / "adapter.safetensors").is_file()


def contract(root: Path, folder: Path, only: str = "") -> tuple[int, dict[str, int], str]:
    """Exit code, numbers of passed and failed tests, and the output of the page's pytest command.

    ``only``: a part of the names of the tests to run.
    """
    (words,) = commands(root, "pytest")
    done = call([*words, *(["-k", f"{NAME} and {only}"] if only else [])], folder)
    counts = {kind: int(n) for n, kind in re.findall(r"(\d+) (passed|failed|error|skipped)", done.stdout)}
    return done.returncode, counts, done.stdout[-6000:] + done.stderr[-2000:]


def test_the_method_keeps_the_contract(root: Path, checkout: Path) -> None:
    code, counts, text = contract(root, checkout)
    assert code == 0, text
    assert counts.keys() == {"passed"}, text
    assert counts["passed"] > 50, "the contract asks more than this of a method with layers"


MUTANTS = {
    "a merged weight that is not the adapter": (
        "return self.B @ self.R @ self.A",
        "return 1.01 * (self.B @ self.R @ self.A)",
        "test_merged_logits_are_the_adapters",
    ),
    "a closed form that miscounts": ("rank**2", "rank**2 + 1", "test_the_closed_form_counts"),
    "trained numbers that are not shipped": ('(".A", ".B")', '(".A", ".B", ".R")', "test_a_seed_gives_back"),
}


@pytest.mark.parametrize("what", MUTANTS)
def test_the_contract_bites(what: str, root: Path, checkout: Path) -> None:
    old, new, caught_by = MUTANTS[what]
    module = checkout / "src" / "uora_bench" / "methods" / f"{NAME}.py"
    text = module.read_text("utf-8")
    assert text.count(old) == 1
    module.write_text(text.replace(old, new), "utf-8")
    code, counts, output = contract(root, checkout, caught_by)
    assert code == 1, output
    assert counts["failed"] > 0
    assert re.search(rf"FAILED \S*{caught_by}", output), output

"""docs/add_a_method.md, done as it says: its files written into an empty folder, its commands run there."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from tests.support.command_line import Result, finish, one_line, only_record, start
from uora_bench.config import plugins
from uora_bench.config.plugins import Plugin

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
            assert re.fullmatch(rf"{plugins.HERE}/[\w/]+\.(py|yaml)", path), f"a block without its file: {text[:60]!r}"
            found[path] = text.split("\n", 1)[1]
    return found


def command(root: Path, part: str) -> list[str]:
    """The words of the page's one command that contains ``part``, without the program's name."""
    lines = [line for language, text in blocks(root) if language == "sh" for line in text.splitlines()]
    (words,) = [shlex.split(line, comments=True) for line in lines if part in line]
    assert words[0] == "uora-bench"
    return words[1:]


@pytest.fixture
def folder(root: Path, tmp_path: Path) -> Path:
    """A folder outside the checkout with the page's files in it, and nothing else."""
    for path, text in files(root).items():
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text, "utf-8")
    assert [path.name for path in tmp_path.iterdir()] == [plugins.HERE]
    return tmp_path


def call(words: list[str], folder: Path, root: Path) -> Result:
    return finish(start(folder, root, *words))


def test_the_pages_commands_do_what_it_says(root: Path, folder: Path) -> None:
    assert "did you mean 'method.rank'" in one_line(call(command(root, "rnak"), folder, root))
    described = call(command(root, "dry_run=true"), folder, root)
    assert described.returncode == 0, described.stderr
    page = (root / "docs" / "add_a_method.md").read_text("utf-8")
    (promised,) = re.findall(r"says `(adapter [\d,]+)`", page)
    assert f"{promised} · head" in described.stdout
    trained = call(command(root, "trainer.max_steps"), folder, root)
    assert trained.returncode == 0, trained.stderr
    record = json.loads(only_record(folder).read_text("utf-8"))
    assert (record["status"], record["cell"]["method"]["name"]) == ("done", NAME)
    assert record["recipe"]["name"] == f"{NAME}/tiny_roberta"
    assert record["counts"]["adapter"] == 8 * 16**2
    assert record["bytes"]["adapter_size"] == 4 * record["counts"]["adapter"]
    assert 0 <= record["merge_error"] < 1e-4
    assert (folder / "runs" / "scratch" / record["cell_id"] / "adapter.safetensors").is_file()
    plugin = Plugin(plugins.HERE, folder / plugins.HERE, "", None, "")
    gave = [f"methods/{NAME}", f"method/{NAME}", f"recipe/{NAME}/tiny_roberta"]
    assert record["provenance"]["plugins"] == {plugins.HERE: {"version": None, "sha256": plugin.sha256(), "gave": gave}}
    assert record["cell"]["plugins"] == {plugins.HERE: plugin.sha256()}


def contract(root: Path, folder: Path, *words: str) -> tuple[int, dict[str, str], str]:
    """Exit code, state of every check, and all that the page's command says; ``words`` are added to it."""
    done: subprocess.CompletedProcess[str] = call([*command(root, "check"), *words], folder, root)
    states = {name: state for state, name in re.findall(r"^(ok|failed|left out) +(\w+): ", done.stdout, re.MULTILINE)}
    return done.returncode, states, done.stdout + done.stderr


def test_the_method_keeps_the_contract(root: Path, folder: Path) -> None:
    code, states, text = contract(root, folder)
    assert code == 0, text
    assert list(states.values()).count("ok") > 30, "the contract asks more than this of a method with layers"
    assert [name for name, state in states.items() if state == "left out"] == [
        "every_forward_path_is_the_same_map_and_gives_the_same_gradients"
    ]


MUTANTS = {
    "a merged weight that is not the adapter": (
        "return self.B @ self.R @ self.A",
        "return 1.01 * (self.B @ self.R @ self.A)",
        "merged_logits_are_the_adapters_and_unmerging_restores_every_bit",
    ),
    "a closed form that miscounts": ("rank**2", "rank**2 + 1", "the_closed_form_counts_what_is_trained"),
    "trained numbers that are not shipped": (
        '(".A", ".B")',
        '(".A", ".B", ".R")',
        "a_seed_gives_back_what_it_is_said_to_give_back",
    ),
}


@pytest.mark.parametrize("what", MUTANTS)
def test_the_contract_bites(what: str, root: Path, folder: Path) -> None:
    old, new, caught_by = MUTANTS[what]
    module = folder / plugins.HERE / "methods" / f"{NAME}.py"
    text = module.read_text("utf-8")
    assert text.count(old) == 1
    module.write_text(text.replace(old, new), "utf-8")
    code, states, output = contract(root, folder, f"only={caught_by}")
    assert (code, states) == (1, {caught_by: "failed"}), output

"""docs/bring_your_own.md, followed by a newcomer: the wheel alone, an empty folder, every file and command in order."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from tests.support.wheel import build_wheel, call, install_wheel

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def site(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    return install_wheel(build_wheel(root, folder), folder / "site")


def read_page(root: Path) -> tuple[dict[str, str], list[list[str]]]:
    """The files that the page has its reader write, by name, and its commands in order."""
    files, commands = {}, []
    for language, text in BLOCK.findall((root / "docs" / "bring_your_own.md").read_text("utf-8")):
        if language == "python":
            name, rest = text.split("\n", 1)
            assert re.fullmatch(r"# \w+\.py", name), f"a block without its file: {text[:60]!r}"
            files[name.removeprefix("# ")] = rest
        elif language == "sh":
            commands += [shlex.split(line, comments=True) for line in text.splitlines()]
        else:
            assert language == "console", "only the installation is not run"
    return files, commands


def follow(root: Path, folder: Path, site: Path) -> dict[str, str]:
    """Do what the page says in ``folder``; returns what every command printed, by its first two words."""
    files, commands = read_page(root)
    for name, text in files.items():
        (folder / name).write_text(text, "utf-8")
    printed: dict[str, str] = {}
    for words in commands:
        if "<cell_id>" in words:  # the reader takes it from what `explain` printed
            found = re.search(r"(\w+)\.json", printed["uora-bench explain"])
            assert found is not None
            words[words.index("<cell_id>")] = found[1]
        name = " ".join(words[:2])
        done = call(words, folder, site, seconds=600)
        assert "Traceback" not in done.stderr
        printed[name if name not in printed else " ".join(words[:3])] = done.stdout
    return printed


@pytest.mark.slow
@pytest.mark.timeout(1500)
def test_the_page_leads_from_an_empty_folder_to_an_adapter_that_peft_loads(
    root: Path, site: Path, tmp_path: Path
) -> None:
    where = call(["python", "-c", "import uora_bench; print(uora_bench.__file__)"], tmp_path, site)
    assert Path(where.stdout.strip()).is_relative_to(site)
    printed = follow(root, tmp_path, site)
    assert "37 ok, 1 left out" in printed["uora-bench check"]
    described = printed["uora-bench method=lora"]
    assert "bert.pooler: missing in the weights" in described
    assert "adapter 4,096 ·" in described
    assert "6 cells: 6 to do" in printed["uora-bench plan"]
    assert "my_comparison: 6 of 6 cells done" in printed["uora-bench sweep"]
    table = printed["uora-bench tables"]
    assert "6 of 6 scores; – = missing" in table
    assert "Few rows are scored: text/local 24 rows" in table
    rows = re.findall(r"^\| (\w+) \|.* [\d.]+ ± [\d.]+ \(2\)(?:<sup>[a-z,]+</sup>)? \|$", table, re.MULTILINE)
    assert rows == ["my_lora", "lora", "uora"]
    frame = printed["python look.py"]
    scores = {
        name: values.split() for name, values in re.findall(r"^(?:text/local)? +(\w+) +([\d. ]+)$", frame, re.MULTILINE)
    }
    assert len(scores["lora"]) == len(scores["my_lora"]) == len(scores["uora"]) == 2
    assert "a PEFT LoRA adapter (rank 8): my_adapter" in printed["uora-bench export"]
    (numbers,) = re.findall(r"tensor\(\[\[([\d.e-]+), ([\d.e-]+)\]\]", printed["python use.py"])
    assert sum(map(float, numbers)) == pytest.approx(1, abs=1e-3)
    assert float(numbers[1]) > 0.5, "what was learnt came along"


def test_the_page_is_linked_from_where_people_come(root: Path) -> None:
    pages = ("add_a_method.md", "bring_your_own_model.md", "bring_your_own_data.md")
    for page in (root / "README.md", *(root / "docs" / name for name in pages)):
        assert "bring_your_own.md)" in page.read_text("utf-8"), page.name

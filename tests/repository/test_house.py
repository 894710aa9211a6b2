"""Rules of the house: where a file lies, how long it is, what it imports, and a start that stays light."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.scripts import script

LIMIT = 450
HEAVY = ("torch", "transformers", "datasets", "wandb", "evaluate")
LIGHT = ("uora_bench", "uora_bench.config.cell", "uora_bench.config.compose", "uora_bench.config.registry",
         "uora_bench.records.record", "uora_bench.util.schema", "uora_bench.cli.main")  # fmt: skip


def python(root: Path, code: str, folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder or root, capture_output=True, text=True, timeout=120,
        env={**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip


def sources(root: Path) -> list[Path]:
    found = [p for folder in ("src", "tests", "scripts") for p in (root / folder).rglob("*.py")]
    assert len(found) > 40
    return found


def test_no_python_file_is_longer_than_the_limit(root: Path) -> None:
    long = {str(p.relative_to(root)): n for p in sources(root) if (n := len(p.read_text("utf-8").splitlines())) > LIMIT}
    assert long == {}


def test_every_module_of_the_package_says_what_it_is(root: Path) -> None:
    empty = [
        str(p.relative_to(root))
        for p in (root / "src").rglob("*.py")
        if p.read_text("utf-8").strip() and not ast.get_docstring(ast.parse(p.read_text("utf-8")))
    ]
    assert empty == []


# --- structure --------------------------------------------------------------------------------------------------------

AT_THE_ROOT = {"__init__.py", "__main__.py", "errors.py"}
TESTS_OF_NO_PACKAGE = {"support", "repository", "scripts"}
graphs = script("import_graph")


def packages(root: Path) -> set[str]:
    """The first-level packages of the source."""
    return {path.parent.name for path in (root / "src" / "uora_bench").glob("*/__init__.py")}


def test_every_module_lies_in_a_package(root: Path) -> None:
    assert {path.name for path in (root / "src" / "uora_bench").glob("*.py")} == AT_THE_ROOT
    # without an __init__.py a folder of modules would be in no layer
    folders = {path.parent for path in (root / "src" / "uora_bench").rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []


def test_every_package_has_its_tests_and_every_folder_of_tests_its_package(root: Path) -> None:
    folders = {path.parent.name for path in (root / "tests").glob("*/*.py")}
    assert packages(root) <= folders
    assert folders <= packages(root) | TESTS_OF_NO_PACKAGE


@pytest.mark.parametrize("kind", ["files", "packages", "sub-packages"])
def test_nothing_imports_in_a_circle(kind: str) -> None:
    assert graphs.every_circle(graphs.read())[kind] == []


def test_a_circle_is_found_however_long() -> None:
    line = {("a", "b"), ("b", "c"), ("x", "a")}
    assert graphs.circles(line) == []
    assert graphs.circles({*line, ("c", "a"), ("y", "z"), ("z", "y")}) == [["a", "b", "c"], ["y", "z"]]


def test_circles_of_files_packages_and_sub_packages_are_found_inside_functions_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {
        "one/a": "def f():\n    from made_up.one import b\n",
        "one/b": "from made_up.one import a",
        "two/x": "from made_up.three import x",
        "three/x": "def f():\n    import made_up.two.x\n",
        "four/x": "from made_up.four.inner import x",
        "four/inner/x": "from made_up.four import y",
        "four/y": "",
    }
    for name, text in texts.items():
        path = tmp_path / "made_up" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    for folder in ("", "one", "two", "three", "four", "four/inner"):
        (tmp_path / "made_up" / folder / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(graphs, "PACKAGE", "made_up")
    found = {kind: [c.splitlines()[0] for c in those] for kind, those in graphs.every_circle(graphs.read()).items()}
    assert found == {
        "files": ["made_up.one.a ↔ made_up.one.b", "made_up.three.x ↔ made_up.two.x"],
        "packages": ["made_up.three ↔ made_up.two"],
        "sub-packages": ["made_up.four ↔ made_up.four.inner", "made_up.three ↔ made_up.two"],
    }


def test_the_layers_are_the_packages(root: Path) -> None:
    named = [name for layer in graphs.layers() for name in layer]
    assert sorted(named) == sorted({*packages(root), "__main__", "errors"})


# --- imports ----------------------------------------------------------------------------------------------------------


def test_the_import_contracts_hold(root: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from importlinter.cli import lint_imports; "
        f"sys.exit(lint_imports(config_filename={str(root / 'pyproject.toml')!r}, cache_dir={str(tmp_path)!r}))"
    )
    result = python(root, code)
    assert result.returncode == 0, result.stdout + result.stderr
    assert " kept, 0 broken" in result.stdout
    assert " 0 kept" not in result.stdout


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_imports_nothing_heavy(module: str, root: Path, tmp_path: Path) -> None:
    code = f"import sys, {module}; print(sorted(set({HEAVY}) & set(sys.modules)))"
    result = python(root, code, tmp_path)
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


def test_composing_a_cell_imports_nothing_heavy(root: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from uora_bench.config.compose import compose; from uora_bench.config.cell import Cell; "
        "compose(['method=lora', 'task=glue/rte']).cell; "
        f"print(sorted(set({HEAVY}) & set(sys.modules)))"
    )
    result = python(root, code, tmp_path)
    assert (result.returncode, result.stdout.strip()) == (0, "[]"), result.stderr


def test_no_source_trusts_remote_code_or_unpickles_freely(root: Path) -> None:
    for path in (root / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                options = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
                assert not options.get("trust_remote_code"), path
                if ast.unparse(node.func) == "torch.load":
                    assert options.get("weights_only") is True, path


def test_no_text_sends_to_make_whoever_has_no_checkout(root: Path) -> None:
    targets = re.findall(r"^([a-z][a-z0-9-]*):", (root / "Makefile").read_text("utf-8"), re.M)
    told = re.compile(rf"`make |\bmake ({'|'.join(targets)})\b(?! the| a| of)")
    found = []
    for path in (root / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Raise | ast.Call):
                texts = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
                found += [(path.name, t) for t in texts if told.search(t) and "checkout" not in " ".join(texts)]
    assert found == []

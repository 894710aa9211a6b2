"""Rules of the house: small files, no import against the direction of the data, and a start that stays light."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

LIMIT = 450
HEAVY = ("torch", "transformers", "datasets", "wandb", "evaluate")
LIGHT = ("uora_bench", "uora_bench.config.cell", "uora_bench.config.compose", "uora_bench.config.registry",
         "uora_bench.records.record", "uora_bench.config.schema", "uora_bench.cli.main")  # fmt: skip


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

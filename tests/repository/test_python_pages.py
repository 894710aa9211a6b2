"""docs/python_api.md and the notebook, run as they are."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import pytest

import uora_bench


def run_block(text: str, names: dict[str, Any], where: str) -> Any:
    """Run ``text``; returns the value of its last line where that is an expression, as a notebook shows it."""
    tree = ast.parse(text)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, where, "exec"), names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), where, "eval"), names)  # type: ignore[attr-defined]


def test_the_page_runs_as_it_stands(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", (root / "docs" / "python_api.md").read_text("utf-8"), re.M | re.S)
    assert len(blocks) == 5
    names: dict[str, Any] = {}
    for i, block in enumerate(blocks):
        run_block(block, names, f"block {i + 1}")
    assert len(names["frame"].cell_id.unique()) == 4
    assert names["record"].status == "done"
    assert (tmp_path / "my_adapter" / "adapter.safetensors").is_file()


def test_the_page_names_everything_that_the_package_offers(root: Path) -> None:
    page = (root / "docs" / "python_api.md").read_text("utf-8")
    assert [name for name in uora_bench.__all__ if name not in page and name != "__version__"] == []


@pytest.mark.slow
def test_the_notebook_runs_as_it_stands(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    notebook = json.loads((root / "docs" / "notebooks" / "first_comparison.ipynb").read_text("utf-8"))
    assert all(not cell.get("outputs") for cell in notebook["cells"]), "outputs are made, not committed"
    names: dict[str, Any] = {}
    shown = [
        run_block("".join(cell["source"]), names, f"cell {i + 1}")
        for i, cell in enumerate(notebook["cells"])
        if cell["cell_type"] == "code"
    ]
    assert len(shown[0]) == 6
    assert set(shown[2].index) == {"head_only", "lora", "uora"}
    assert shown[2].seeds.tolist() == [2, 2, 2]

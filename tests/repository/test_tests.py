"""Rules of the tests: what they share lies in tests/support, and no test passes in silence."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ORACLES, PAPERS, ROOT

FILES = sorted((ROOT / "tests").rglob("*.py"))
FACTS = ROOT / "tests" / "data"
CONTRACT = sorted((ROOT / "src" / "uora_bench" / "contract").glob("*.py"))


def imported(path: Path) -> set[str]:
    """The modules that a file imports, function-level imports included; of a package the names taken from it too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return found


def outside_support(names: set[str]) -> list[str]:
    """Modules of the tests among ``names`` that are not helpers. Relative imports are none of ours."""
    parts = [(name, name.split(".")) for name in sorted(names)]
    return [name for name, path in parts if path[0] in ("tests", "") and path[:2] != ["tests", "support"] and path[1:]]


def test_tests_import_from_support_alone() -> None:
    assert len(FILES) > 100
    found = {str(p.relative_to(ROOT)): bad for p in FILES if (bad := outside_support(imported(p)))}
    assert found == {}


def test_an_import_from_another_test_is_found(tmp_path: Path) -> None:
    lines = [
        "from tests.execution.test_cli import start",
        "import tests.conftest",
        "from tests import conftest",
        "from .x import y",
    ]
    for line in lines:
        (tmp_path / "a.py").write_text(f"def f():\n    {line}\n", "utf-8")
        assert outside_support(imported(tmp_path / "a.py")) != [], line
    (tmp_path / "a.py").write_text("from tests.support import gloo\nfrom tests.support.gloo import Group\n", "utf-8")
    assert outside_support(imported(tmp_path / "a.py")) == []


def test_names_of_test_modules_in_texts_exist() -> None:
    """Programs in strings and `-m` arguments name modules that a rename leaves behind."""
    names = {n for p in FILES if p != Path(__file__) for n in re.findall(r"\btests(?:\.\w+)+", p.read_text("utf-8"))}
    assert "tests.support.gloo" in names
    # the last part may be a name in the module
    places = {name: [ROOT.joinpath(*name.split(".")), ROOT.joinpath(*name.split(".")[:-1])] for name in names}
    missing = [n for n, found in places.items() if not any(p.with_suffix(".py").is_file() for p in found)]
    assert set(missing) <= {"tests.support"}


def returns(function: ast.FunctionDef) -> Iterator[int]:
    """The lines of the ``return``s of a function's own body, not of functions in it."""
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.Return):
            yield node.lineno
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            todo += ast.iter_child_nodes(node)


def silent(text: str) -> list[int]:
    """The lines at which a test, or a check of the contract, of ``text`` ends before its end."""
    functions = [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.FunctionDef)]
    asked = [one for one in functions if one.name.startswith("test") or is_check(one)]
    return sorted(line for one in asked for line in returns(one))


def is_check(function: ast.FunctionDef) -> bool:
    """Whether a function is decorated with ``@check(…)``."""
    return any(ast.unparse(one).startswith("check(") for one in function.decorator_list)


def test_no_test_passes_in_silence() -> None:
    """A test that concerns some cases only is made for these (`when=` of a check), or skips."""
    assert any(
        is_check(f)
        for p in CONTRACT
        for f in ast.walk(ast.parse(p.read_text("utf-8")))
        if isinstance(f, ast.FunctionDef)
    )
    found = [f"{p.relative_to(ROOT)}:{line}" for p in (*FILES, *CONTRACT) for line in silent(p.read_text("utf-8"))]
    assert found == []


def test_the_contract_needs_no_pytest_and_loses_nothing_without_assertions() -> None:
    """It ships in the package, where ``python -O`` may run it; ``assert x is not None`` is for the type checker."""
    for path in CONTRACT:
        assert "pytest" not in imported(path)
        found = [node for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Assert)]
        assert [ast.unparse(n) for n in found if not ast.unparse(n.test).endswith(" is not None")] == [], path


def test_a_silent_pass_is_found() -> None:
    assert silent("def test_a(x):\n    if x:\n        return\n    assert x\n") == [3]
    assert silent("@check(make=BOTH)\ndef a(x):\n    if x:\n        return\n    ensure(x, '')\n") == [4]
    assert silent("def test_a(x):\n    def f():\n        return 1\n    assert f()\n") == []


def test_every_file_of_facts_has_its_source_and_licence() -> None:
    page = (FACTS / "README.md").read_text("utf-8")
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| `")]
    assert all(len(row) == 4 and all(cell.strip() for cell in row) for row in rows)
    listed = [name for row in rows for name in re.findall(r"`([^`]+)`", row[0])]
    files = [path for folder in (ORACLES, PAPERS) for path in folder.rglob("*") if path.is_file()]
    assert sorted(listed) == sorted(path.relative_to(FACTS).as_posix() for path in files)
    assert sum(path.stat().st_size for path in files) < 1_000_000


def test_only_the_real_data_sets_are_taken_from_the_shared_folder() -> None:
    taken = {one for path in FILES for one in re.findall(r"""shared ?/ ?["'](\w+)""", path.read_text("utf-8"))}
    assert taken == {"data"}

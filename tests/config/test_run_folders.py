"""A run folder by its path, by its cell_id, and by the first digits of that."""

from __future__ import annotations

from pathlib import Path

import pytest

from uora_bench.config import run_folders
from uora_bench.errors import UserError
from uora_bench.export.source import find_run

IDS = ("0123456789abcdef", "0123450000000000", "fedcba9876543210")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    for name in (*IDS, ".grid"):
        (tmp_path / "mine" / name).mkdir(parents=True)
    (tmp_path / ".tokens" / IDS[0]).mkdir(parents=True)
    return tmp_path


def test_hidden_folders_are_no_cells(runs: Path) -> None:
    assert run_folders.cells_below(runs / "mine") == set(IDS)
    assert run_folders.cells_below(runs / "nowhere") == set()
    with pytest.raises(UserError) as caught:
        find_run("zzzzzz", str(runs))
    assert ".grid" not in str(caught.value)


@pytest.mark.parametrize("given", [IDS[0], "0123456", "mine/" + IDS[0]])
def test_a_cell_is_found_by_how_its_id_begins(given: str, runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)
    wanted = Path("mine") / IDS[0]
    assert find_run(given, ".") == wanted
    assert run_folders.start_folder(given, Path(), "mine") == wanted
    assert run_folders.start_name(given, Path(), "mine") == IDS[0]


@pytest.mark.parametrize(
    ("given", "part"), [("01234", "neither"), ("012345", "begins 2 cell_ids"), ("abcdef", "abcdef")]
)
def test_too_few_digits_and_digits_of_several_cells_are_refused(given: str, part: str, runs: Path) -> None:
    for find in (lambda: find_run(given, str(runs)), lambda: run_folders.start_folder(given, runs, "mine")):
        with pytest.raises(UserError, match=part) as caught:
            find()
        assert given in str(caught.value)
    assert run_folders.start_name(given, runs, "mine") == given

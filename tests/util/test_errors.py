"""What messages say of where an error came from, and of paths that are not there."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
import torch

from uora_bench.errors import nearest_path, place_of


def test_an_error_in_a_file_of_ones_own_is_placed_there_though_a_library_raised_it(tmp_path: Path) -> None:
    mine = tmp_path / "my_lora.py"
    lines = ("import torch", "", "class Branch(torch.nn.Module):", "    def forward(self):", "        self.scael", "")
    mine.write_text("\n".join([*lines, "Branch()()", ""]))
    with pytest.raises(AttributeError) as caught:
        runpy.run_path(str(mine))
    assert place_of(caught.value) == "my_lora.py:5"


def test_an_error_is_placed_in_the_file_that_calls_a_library() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.nn.functional.linear(torch.ones(2), torch.ones(3, 3))
    assert place_of(caught.value).startswith("test_errors.py:")


def test_a_path_that_is_not_there_is_told_by_its_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_bert").mkdir()
    meant = tmp_path / "my_bert"
    assert nearest_path(str(tmp_path / "my_brt")) == f"; did you mean '{meant}'?"
    assert nearest_path(str(tmp_path / "nothing/like")) == ""
    assert nearest_path(str(meant)) == "", "what is there, and of the wrong kind, is not what was meant"
    monkeypatch.chdir(tmp_path)
    assert nearest_path("my_brt") == "; did you mean 'my_bert'?"
    assert nearest_path("rows.csv") == f"; a relative path starts in the current folder, '{tmp_path}'"

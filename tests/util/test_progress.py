"""What a person sees of a pass over a split, on a terminal and in a log file."""

from __future__ import annotations

import io

import pytest

from uora_bench.util import progress
from uora_bench.util.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_long_pass_shows_in_a_log_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LOG_SECONDS", -1.0)
    stream = io.StringIO()
    assert list(Progress(9, 0, "cell", stream=stream).over("abc", "scoring test")) == ["a", "b", "c"]
    lines = stream.getvalue().splitlines()
    assert [line.split(",")[0] for line in lines] == [f"cell: scoring test {i}/3 batches" for i in (1, 2, 3)]
    assert lines[-1].endswith("0m00s left")


def test_a_short_pass_and_other_processes_say_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    quick, silent = io.StringIO(), io.StringIO()
    assert list(Progress(9, 0, "cell", stream=quick).over([1, 2], "scoring dev")) == [1, 2]
    monkeypatch.setattr(progress, "LOG_SECONDS", -1.0)
    assert list(Progress(9, 0, "cell", enabled=False, stream=silent).over([1, 2], "scoring dev")) == [1, 2]
    assert quick.getvalue() == silent.getvalue() == ""


def test_on_a_terminal_a_pass_has_a_bar_beside_that_of_the_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PATIENCE", 0.0)
    stream = Terminal()
    shown = Progress(9, 0, "cell", stream=stream)
    assert list(shown.over([1, 2], "scoring test")) == [1, 2]
    shown.close()
    assert "scoring test" in stream.getvalue()

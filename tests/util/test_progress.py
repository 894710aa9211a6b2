"""What a person sees of a pass over a split, on a terminal and in a log file."""

from __future__ import annotations

import io
import re
import sys

import pytest

from uora_bench.util import progress
from uora_bench.util.progress import Progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_long_pass_shows_in_a_log_how_far_it_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LOG_SECONDS", -1.0)
    assert list(Progress(9, 0, "cell").over("abc", "scoring test")) == ["a", "b", "c"]
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in lines] == [f"cell: scoring test {i}/3 batches" for i in (1, 2, 3)]
    assert lines[-1].endswith("0m00s left")


def test_a_short_pass_and_other_processes_say_nothing(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(Progress(9, 0, "cell").over([1, 2], "scoring dev")) == [1, 2]
    monkeypatch.setattr(progress, "LOG_SECONDS", -1.0)
    assert list(Progress(9, 0, "cell", enabled=False).over([1, 2], "scoring dev")) == [1, 2]
    assert capsys.readouterr().err == ""


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """A terminal on which everything is drawn at once."""
    monkeypatch.setattr(progress, "REFRESH", -1.0)
    for name in ("TERM", "NO_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "200")
    return Terminal()


def test_on_a_terminal_a_pass_has_a_bar_beside_that_of_the_steps(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = Progress(9, 0, "cell")
    assert list(shown.over([1, 2], "scoring test")) == [1, 2]
    drawn = terminal.getvalue()
    shown.close()
    assert "scoring test 1/2 batches" in drawn
    assert "scoring test" not in terminal.getvalue()[len(drawn) :]  # it is gone when the pass is over


def test_on_a_terminal_a_bar_has_steps_facts_and_time_left_and_lines_stay_above_it(
    terminal: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", terminal)
    shown = Progress(9, 3, "lora [x]")
    shown.note(loss="0.412")
    for _ in range(3):
        shown.step()
    shown.say("epoch 1: [bold]")
    print("to stdout")
    shown.close()
    drawn = terminal.getvalue()
    assert "lora [x]" in drawn  # until there is something to say
    assert "step 6/9 loss 0.412 " in drawn
    assert re.search(r"step/s, 0m0\ds left", drawn)
    assert "epoch 1: [bold]\n" in drawn
    assert "to stdout" not in drawn


def test_drawings_are_far_between_and_a_log_has_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    log, terminal = io.StringIO(), Terminal()
    monkeypatch.setattr(sys, "stderr", log)
    logged = Progress(1000, 0, "cell")
    for _ in range(900):
        logged.step()
    assert log.getvalue() == ""
    monkeypatch.setattr(logged, "_interval", -1.0)
    logged.note(loss="0.4")
    logged.step()
    assert re.fullmatch(r"cell: step 901/1000 loss 0\.4 [0-9.]+ step/s, 0m0\ds left\n", log.getvalue())
    monkeypatch.setattr(sys, "stderr", terminal)
    drawn = Progress(1000, 0, "cell")
    begun = len(terminal.getvalue())
    for _ in range(900):
        drawn.step()
    assert len(terminal.getvalue()) < begun + 2000  # 900 drawings would be a hundred times that
    drawn.close()
    assert "step 900/1000" in terminal.getvalue()

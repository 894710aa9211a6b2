"""``UORA_LOG``: which lines go to standard error; standard output keeps the results."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import uora_bench
from uora_bench.cli.main import main
from uora_bench.util import progress
from uora_bench.util.log import LOG, configure


@pytest.fixture(autouse=True)
def _level_again(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    yield
    monkeypatch.undo()
    configure()


SPLITS = {"train": "train", "dev": "validation", "test": "test"}


def _lines(level: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> list[str]:
    monkeypatch.delenv("UORA_LOG", raising=False)
    if level is not None:
        monkeypatch.setenv("UORA_LOG", level)
    configure()
    LOG.debug("timing")
    shown = progress.Progress(9, 0, "cell")
    shown.say("epoch 1")
    shown.close()
    LOG.warning("note: odd")
    LOG.error("error: bad")
    told = capsys.readouterr()
    assert told.out == ""
    return told.err.splitlines()


def test_each_level_leaves_out_what_is_below_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    every = ["timing", "epoch 1", "note: odd", "error: bad"]
    assert _lines("debug", monkeypatch, capsys) == every
    for level in (None, "", "info", "INFO"):
        assert _lines(level, monkeypatch, capsys) == every[1:]
    assert _lines("warning", monkeypatch, capsys) == every[2:]
    assert _lines("error", monkeypatch, capsys) == every[3:]


def test_of_two_processes_the_first_writes_and_both_report_errors(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    assert _lines("debug", monkeypatch, capsys) == ["error: bad"]
    monkeypatch.setenv("RANK", "0")
    assert len(_lines("debug", monkeypatch, capsys)) == 4


def test_a_wrong_level_is_one_line_with_the_levels(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("UORA_LOG", "warn")
    assert main(["list", "methods"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [
        "error: UORA_LOG='warn' is not a log level; set it to one of debug, info, warning, error"
    ]


def test_a_cell_logs_timing_at_debug_and_nothing_at_error_and_prints_the_same_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    few = [f"task.splits.{role}={name}[:16]" for role, name in SPLITS.items()]
    told = {}
    for level in ("debug", "error"):
        monkeypatch.setenv("UORA_LOG", level)
        uora_bench.run("method=lora", "task=tiny/nli", "trainer.max_steps=2", "tracker=none", *few, force=True)
        told[level] = capsys.readouterr()
    timing = [line for line in told["debug"].err.splitlines() if re.fullmatch(r"[A-Za-z ]+: [0-9.]+ s", line)]
    assert {"import", "model", "eval"} <= {line.partition(":")[0] for line in timing}
    assert "epoch 1: loss" in told["debug"].err
    assert told["error"].err == ""
    results = [re.sub(r"seconds: .*", "", told[level].out) for level in told]
    assert results[0] == results[1] != ""

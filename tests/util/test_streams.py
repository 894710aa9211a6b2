"""Streams that lose their reader, their disk or their encoding; the program with such streams."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.command_line import environment
from tests.support.paths import ROOT

CLOSED, FULL, GONE = ">&- 2>&-", ">/dev/full 2>/dev/full", "2>&1 | head -c 1"
CELL = "method=head_only task=tiny/nli trainer.max_steps=1 trainer.evaluate=last tracker=none"


def shell(command: str, folder: Path, redirection: str, **more: str) -> tuple[int, str]:
    """Exit code of ``uora-bench <command>`` whose streams go to ``redirection``, and what its standard error said."""
    line = f"{sys.executable} -m uora_bench {command} {redirection}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", line], cwd=folder, env={**environment(ROOT), **more}, capture_output=True)
    return done.returncode, done.stderr.decode()


@pytest.mark.parametrize("redirection", [CLOSED, GONE])
@pytest.mark.parametrize("command", ["list", "plan task=tiny/nli"])
def test_a_reader_that_leaves_and_streams_that_are_closed_are_no_failure(
    command: str, redirection: str, tmp_path: Path
) -> None:
    assert shell(command, tmp_path, redirection) == (0, "")


@pytest.mark.parametrize("command", ["list", "plan task=tiny/nli"])
def test_a_result_that_cannot_be_printed_is_a_failure_in_one_line(command: str, tmp_path: Path) -> None:
    code, said = shell(command, tmp_path, ">/dev/full")
    assert (code, said) == (1, "error: the output could not be written: No space left on device\n")


@pytest.mark.slow
@pytest.mark.parametrize("redirection", [FULL, CLOSED, GONE, "2>&1 | true"])
def test_a_cell_is_done_whatever_becomes_of_its_streams(redirection: str, tmp_path: Path) -> None:
    assert shell(CELL, tmp_path, redirection)[0] == 0
    assert len(list((tmp_path / "results" / "records" / "scratch").glob("*.json"))) == 1


@pytest.mark.slow
def test_a_grid_is_done_although_its_reader_left(tmp_path: Path) -> None:
    assert shell(f"sweep {CELL} seed=0,1", tmp_path, "2>&1 | head -1")[0] == 0
    assert len(list((tmp_path / "results" / "records" / "scratch").glob("*.json"))) == 2


@pytest.mark.parametrize("encoding", ["ascii", pytest.param("cp1252", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "command",
    [pytest.param("tables experiment=quickstart", marks=pytest.mark.slow), "plan task=tiny/nli seed=0,1"],
)
def test_text_that_an_encoding_lacks_is_escaped(encoding: str, command: str, tmp_path: Path) -> None:
    wanted, _ = shell(command, tmp_path, "", PYTHONIOENCODING="utf-8")
    code, said = shell(command, tmp_path, "", PYTHONIOENCODING=encoding)
    assert code == wanted
    assert "Error:" not in said


def test_letters_of_another_alphabet_are_escaped_and_not_lost(tmp_path: Path) -> None:
    code, said = shell("list α", tmp_path, "", PYTHONIOENCODING="ascii")
    assert (code, len(said.splitlines())) == (2, 1)
    assert "\\u03b1" in said


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_no_file_takes_the_number_of_a_closed_stream(closed: int, tmp_path: Path) -> None:
    code = (
        "from uora_bench.util import streams; streams.guard(); import os; "
        "found = open('a', 'w').fileno(); print('x'); os._exit(0 if found > 2 else 9)"
    )
    done = subprocess.run(
        ["bash", "-c", f'{sys.executable} -c "{code}" {closed}>&-'], cwd=tmp_path, env=environment(ROOT), check=False
    )
    assert done.returncode == 0
    assert (tmp_path / "a").read_text() == ""


def test_bytes_that_are_no_text_are_refused_in_one_line(tmp_path: Path) -> None:
    word = b"experiment_name=\xff\xfe"
    done = subprocess.run(
        [os.fsencode(sys.executable), b"-m", b"uora_bench", word],
        cwd=tmp_path,
        env=environment(ROOT),
        capture_output=True,
    )
    assert done.returncode == 2
    assert b"is not UTF-8" in done.stderr
    assert len(done.stderr.splitlines()) == 1

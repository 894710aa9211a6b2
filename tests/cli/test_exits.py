"""How a command ends: exit codes and the one line, for everything that the system may refuse."""

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from uora_bench.cli import exits
from uora_bench.cli.main import main
from uora_bench.util import atomic


def refuse(number: int, path: str | None) -> Callable[[], NoReturn]:
    def act() -> NoReturn:
        raise OSError(number, os.strerror(number), path)

    return act


@pytest.mark.parametrize(
    ("number", "code"),
    [
        (errno.EACCES, 2),
        (errno.EPERM, 2),
        (errno.EROFS, 2),
        (errno.ENAMETOOLONG, 2),
        (errno.ENOENT, 2),
        (errno.ENOTDIR, 2),
        (errno.EISDIR, 2),
        (errno.ELOOP, 2),
        (errno.ENOSPC, 1),
        (errno.EDQUOT, 1),
        (errno.EFBIG, 1),  # ulimit -f
        (errno.EIO, 1),
        (errno.EPIPE, 1),  # of a child that died: no reader left on purpose
    ],
)
def test_what_the_system_refuses_is_one_line(number: int, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    assert exits.run(refuse(number, "/some/where"), "") == code
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "/some/where" in said or number in (errno.EIO, errno.EPIPE)


@pytest.mark.parametrize("code", [0, None, 3])
def test_a_plug_in_that_ends_the_program_is_no_success(code: int | None, capsys: pytest.CaptureFixture[str]) -> None:
    def act() -> NoReturn:
        raise SystemExit(code)

    assert exits.run(act, "") == 1
    assert f"ended the program by itself (SystemExit {code})" in capsys.readouterr().err


def test_a_working_directory_that_is_gone_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x").mkdir()
    monkeypatch.chdir(tmp_path / "x")
    (tmp_path / "x").rmdir()
    assert exits.run(lambda: len(os.getcwd()), "") == 2
    assert "working directory is gone" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        ["plan", "task=tiny/nli", f"runs.dir=/{'x' * 300}"],
        ["tables", f"results.dir=/{'x' * 300}"],
        ["figures", f"results.dir=/{'x' * 300}"],
        ["page", f"results.dir=/{'x' * 300}"],
        ["explain", "minilm_glue", "LoRA", "MRPC", f"results.dir=/{'x' * 300}"],
        ["records", "migrate", f"results.dir=/{'x' * 300}"],
        ["export", "x" * 300],
        ["prefetch", f"data.root=/{'x' * 300}", "task=glue/rte"],
        ["mt-bench", "answer", "x" * 300],
        ["theory", "experiment=tiny", f"results.dir=/{'x' * 300}"],
        ["plan", "task=tiny/nli", "experiment_name=" + "x" * 300],
        ["plan", "task=tiny/nli", "runs.dir=/dev/null/x"],
        ["plan", "task=tiny/nli", "seed=" + "9" * 5000],
        ["plan", "task=tiny/nli", "seed=range(0,2,0)"],
        ["plan", "task=tiny/nli", "seed=range(0,100000000)"],
        ["plan", "task=" + ",".join(["a"] * 20_000)],
    ],
)
def test_names_and_numbers_without_end_are_the_users_mistake(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1
    assert "UORA_DEBUG" not in said


@pytest.mark.parametrize("command", [["plan", "task=tiny/nli"], ["tables"]])
def test_the_home_folder_may_be_a_tilde(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "home" / "mine").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    main([*command, "results.dir=~/mine", *(["runs.dir=~/mine"] if command[0] == "plan" else [])])
    assert not (tmp_path / "~").exists()
    said = capsys.readouterr().err  # tables: that no records are there
    assert list((tmp_path / "home" / "mine").iterdir()) or str(tmp_path / "home" / "mine") in said


def test_a_full_disk_is_named_whatever_a_library_calls_it(tmp_path: Path) -> None:
    def writer(temporary: Path) -> NoReturn:
        temporary.symlink_to("/dev/full")
        raise RuntimeError("unexpected pos 64 vs 0")

    with pytest.raises(OSError, match="No space left") as caught:
        atomic.write_file(tmp_path / "x", writer)
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_an_error_of_a_writer_on_a_disk_with_room_stays_what_it_is(tmp_path: Path) -> None:
    def writer(temporary: Path) -> NoReturn:
        temporary.write_text("half")
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        atomic.write_file(tmp_path / "x", writer)
    assert list(tmp_path.iterdir()) == []

"""The Slurm launcher without a Slurm: options, order of arrays, the list of jobs, and what Slurm's programs print."""

from __future__ import annotations

from pathlib import Path

import pytest

from uora_bench.errors import UserError
from uora_bench.grid import slurm_queue
from uora_bench.grid.launch import slurm
from uora_bench.grid.model import Item
from uora_bench.grid.slurm_queue import Submitted


def test_the_defaults_are_valid_and_every_key_of_the_file_is_an_option() -> None:
    options = slurm.read_options({})
    assert (options.gpus, options.requeues, options.extra) == (1, 10, {})
    assert options.policy.minutes is None  # the time limit is Slurm's


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"partitoin": "gpu"}, "did you mean 'launcher.partition'"),
        ({"minutes": "long"}, "launcher.minutes='long' must be a whole number"),
        ({"gpus": -1}, "launcher.gpus=-1 must be at least 0"),
        ({"parallel": 0}, "launcher.parallel=0 must be at least 1"),
        ({"mem_gb": 0}, "launcher.mem_gb=0 must be above zero"),
        ({"grace_seconds": 120}, "must be below launcher.signal_seconds"),
        ({"minutes": 1}, "leaves no time to run"),
    ],
)
def test_a_wrong_option_is_one_line(given: dict[str, object], message: str) -> None:
    with pytest.raises(UserError, match=message.replace(".", r"\.")):
        slurm.read_options(given)


def test_an_account_that_looks_like_a_number_is_text_and_extra_is_open() -> None:
    options = slurm.read_options({"account": 1234, "extra.reservation": "friday", "extra.exclude": "n7"})
    assert options.account == "1234"
    assert options.extra == {"reservation": "friday", "exclude": "n7"}


def test_items_come_in_waves_after_those_they_start_from() -> None:
    items = [
        Item("c", "", (), after="b"),
        Item("a", "", ()),
        Item("b", "", (), after="a"),
        Item("d", "", (), after="x"),
    ]
    assert [[i.key for i in wave] for wave in slurm._waves(items)] == [["a", "d"], ["b"], ["c"]]
    with pytest.raises(UserError, match="in a circle"):
        list(slurm._waves([Item("a", "", (), after="b"), Item("b", "", (), after="a")]))


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of programs that stand in for Slurm's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def remember(runs: Path, *jobs: tuple[str, str, str]) -> None:
    slurm_queue.add(slurm_queue.folder(runs, "x"), [Submitted(key, job, copy, "now") for key, job, copy in jobs])


def test_what_slurm_holds_is_found_by_the_last_job_of_a_key(programs: Path, tmp_path: Path) -> None:
    remember(tmp_path, ("k0", "11_0", "/s"), ("k1", "11_1", "/s"), ("k2", "11_2", "/s"))
    remember(tmp_path, ("k0", "12", "/s"))  # k0 was submitted again
    program(
        programs,
        "squeue",
        "printf '12|12|N/A|RUNNING|None|/s\\n14|11|1|PENDING|Resources|/s\\n15|11|2|RUNNING|None|/elsewhere\\n'",
    )
    # k2: a job of the same number that runs other files is somebody else's
    assert slurm_queue.queued(tmp_path, "x") == {
        "k0": "Slurm job 12 running",
        "k1": "Slurm job 11_1 pending, Resources",
    }


def test_slurm_is_not_asked_where_nothing_was_submitted(programs: Path, tmp_path: Path) -> None:
    assert slurm_queue.queued(tmp_path, "x") == {}


def test_a_slurm_that_cannot_be_reached_is_one_line(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remember(tmp_path, ("k0", "11_0", "/s"))
    monkeypatch.setenv("PATH", str(programs))
    with pytest.raises(UserError, match="'squeue' is not on the PATH"):
        slurm_queue.queued(tmp_path, "x")
    program(programs, "squeue", "echo 'squeue: error: Unable to contact\nslurm controller' >&2; exit 1")
    with pytest.raises(UserError, match="Slurm does not answer: squeue: error: Unable to contact slurm controller"):
        slurm_queue.queued(tmp_path, "x")
    monkeypatch.setenv("PATH", f"{programs}:/usr/bin:/bin")
    monkeypatch.setattr(slurm_queue, "_SECONDS", 0.2)
    program(programs, "squeue", "exec sleep 5")
    with pytest.raises(UserError, match="Slurm does not answer: squeue took more than"):
        slurm_queue.queued(tmp_path, "x")


def test_a_spoilt_list_of_jobs_is_one_line(tmp_path: Path) -> None:
    remember(tmp_path, ("k0", "11_0", "/s"))
    with open(slurm_queue.folder(tmp_path, "x") / slurm_queue.JOBS, "a") as handle:
        handle.write('{"key": "k1"}\n')
    with pytest.raises(UserError, match="has a line that is no job"):
        slurm_queue.queued(tmp_path, "x")


def test_sacct_is_read_for_arrays_ranges_and_plain_jobs(programs: Path) -> None:
    lines = ["11_0|COMPLETED|0:0|00:01:00|n1", "11_[1-2,5%4]|CANCELLED by 1000|0:0|00:00:00|None assigned"]
    lines += ["12|OUT_OF_MEMORY|0:125|00:02:00|n2", "13_7|TIMEOUT|0:0|01:00:00|n1"]
    program(programs, "sacct", "cat <<'E'\n" + "\n".join(lines) + "\nE")
    found = slurm_queue.ended(["11_0", "11_1", "11_5", "11_3", "12"])
    assert {job: end.state for job, end in found.items()} == {
        "11_0": "COMPLETED", "11_1": "CANCELLED", "11_5": "CANCELLED", "12": "OUT_OF_MEMORY",
    }  # fmt: skip
    assert (found["12"].exit_code, found["12"].elapsed, found["12"].node) == ("0:125", "00:02:00", "n2")

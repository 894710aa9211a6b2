"""One item in child processes: what each way of ending means, what is tried again, and what is left on the disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.fake_plan import FAKE, make_plan
from tests.support.paths import ROOT
from uora_bench.grid import model
from uora_bench.grid.launch import attempt, failure, offline_runs
from uora_bench.grid.launch.attempt import Outcome, Policy, Running, run_item
from uora_bench.grid.launch.forks import Forked, ForkServer
from uora_bench.records import attempts
from uora_bench.records.provenance import Failure
from uora_bench.records.record import CellRecord, read_record

ROOT_CAUSE = "Root Cause (first observed failure):\n[0]:\n  exitcode  :"  # as torchrun reports

Try = Callable[..., tuple[Outcome, Running]]


@pytest.fixture(params=["fresh", pytest.param("forked", marks=pytest.mark.slow)])
def go(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Try]:
    """Run one item through a scenario, in fresh processes or in copies of one."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "src")]))
    servers: list[ForkServer] = []
    scenario = tmp_path / "scenario"
    monkeypatch.setattr(Running, "_command", lambda self: [sys.executable, FAKE, str(scenario)])

    def run(acts: str, stop: Callable[[], bool] = lambda: False, **policy: object) -> tuple[Outcome, Running]:
        scenario.write_text(acts)
        plan = make_plan(tmp_path)
        said: list[str] = []
        if request.param == "forked" and not servers:
            servers.append(ForkServer({}, tmp_path / "server.log", ["tests.support.fake_cell"]))
            while servers[0].loading:
                time.sleep(0.02)
        server = servers[0] if servers else None
        running = Running(plan, plan.items[0], Policy(**policy), say=said.append, forks=server)  # type: ignore[arg-type]
        outcome = run_item(running, stop, every=0.05)
        running.said = said  # type: ignore[attr-defined]
        running.rest = scenario.read_text().split()  # type: ignore[attr-defined]
        assert server is None or (isinstance(running.child, Forked) and server.usable)
        return outcome, running

    yield run
    for one in servers:
        one.close()


def the_record(running: Running) -> CellRecord:
    (path,) = running.plan.records.glob("*.json")
    return read_record(path)


def kinds(running: Running) -> list[str]:
    return [a.kind for a in attempts.read_attempts(running.attempts_folder, running.item.key)]


def test_done(go: Try) -> None:
    outcome, running = go("done")
    assert outcome.status == "done"
    assert the_record(running).status == "done"
    assert attempt.finished(running.plan, running.item.key) == outcome.cell_id
    assert kinds(running) == ["done"]


def test_an_error_of_its_own_is_not_tried_again(go: Try) -> None:
    outcome, running = go("fail done", retries=3)
    assert (outcome.status, outcome.kind) == ("failed", "error")
    assert "not finite" in outcome.reason
    assert running.rest == ["done"]
    assert the_record(running).status == "failed"


def test_a_mistake_of_the_user_is_said_and_leaves_no_record(go: Try) -> None:
    outcome, running = go("refuse done", retries=3)
    assert (outcome.kind, outcome.reason) == ("refused", "this is not how it is done")
    assert not list(running.plan.records.glob("*.json"))
    assert kinds(running) == ["refused"]


def test_a_crash_is_tried_again_and_a_second_one_is_a_failed_record(go: Try) -> None:
    outcome, running = go("kill done", retries=1)
    assert outcome.status == "done"
    assert the_record(running).status == "done"
    assert kinds(running) == ["crash", "done"]
    assert "retry 1 of 1" in running.said[0]


def test_after_the_last_retry_the_record_says_what_happened(go: Try) -> None:
    outcome, running = go("kill kill done", retries=1)
    assert (outcome.status, outcome.kind) == ("failed", "crash")
    record = the_record(running)
    assert record.status == "failed"
    assert "SIGKILL" in str(record.reason)
    assert record.provenance.failure == Failure("crash", written_by="the launcher")
    assert record.cell["method"]["name"] == "lora"


def test_a_hang_is_ended_at_the_time_limit(go: Try) -> None:
    begun = time.monotonic()
    outcome, running = go("hang done", minutes=2 / 60, grace_seconds=0.2, retries=0)
    assert (outcome.status, outcome.kind) == ("failed", "time_limit")
    assert "launcher.minutes" in str(the_record(running).reason)
    assert time.monotonic() - begun < 20


def test_out_of_memory_halves_the_micro_batch_until_it_fits_and_remembers(go: Try) -> None:
    outcome, running = go("memory memory done")
    assert outcome.status == "done"
    log = running.log.read_text()
    assert "trainer.micro_batch_size=16 trainer.eval_batch_size=64 trainer.eval_batch_tokens=32768" in log  # of 32, 128
    assert "trainer.micro_batch_size=8 " in log
    assert "global batch stays" in running.said[0]
    tries = attempts.read_attempts(running.attempts_folder, running.item.key)
    assert [a.micro_batch_size for a in tries] == [None, 16, 8]
    again = Running(running.plan, running.item, Policy())
    assert again.micro == 8  # a later call does not run into the wall again


def test_out_of_memory_with_one_example_is_the_end(go: Try) -> None:
    outcome, _ = go("memory " * 9)
    assert (outcome.status, outcome.kind) == ("failed", "out_of_memory")


def test_a_batch_that_is_part_of_the_experiment_is_not_cut(go: Try) -> None:
    outcome, running = go("memory-fixed done")
    assert (outcome.status, outcome.kind) == ("failed", "too_large")
    assert running.rest == ["done"]


def test_smaller_batches_can_be_refused(go: Try) -> None:
    outcome, _ = go("memory done", smaller_batches=False)
    assert outcome.kind == "out_of_memory"


def test_a_stop_lets_the_cell_leave_and_is_no_failure(go: Try) -> None:
    asked: list[int] = []

    def after_a_second() -> bool:
        asked.append(1)
        return len(asked) > 20

    outcome, running = go("slow done", stop=after_a_second)
    assert outcome.status == "interrupted"
    assert kinds(running) == ["interrupted"]
    assert not list(running.plan.records.glob("*.json"))


def test_a_stop_ends_a_cell_that_does_not_listen(go: Try) -> None:
    outcome, _ = go("hang", stop=lambda: True, grace_seconds=0.3)
    assert outcome.status == "interrupted"


def test_busy_is_neither_done_nor_failed(go: Try) -> None:
    outcome, running = go("busy")
    assert outcome.status == "busy"
    assert not list(running.plan.records.glob("*.json"))
    assert kinds(running) == []


def test_exit_code_0_without_a_record_is_a_crash(go: Try) -> None:
    outcome, _ = go("silent", retries=0)
    assert (outcome.status, outcome.kind) == ("failed", "crash")
    assert "without a record" in outcome.reason


@pytest.mark.parametrize(
    ("code", "log", "several", "expected"),
    [
        (1, "the cell failed: CellError: broken", False, ("error", "CellError: broken")),
        (
            1,
            "x\nprocess 1 failed: torch.OutOfMemoryError: CUDA out of memory\nTraceback",
            True,
            ("out_of_memory", None),
        ),
        (1, f"process 1 failed: Connection reset\n{ROOT_CAUSE} -9 (pid: 5)", True, ("crash", None)),
        (1, f"process 1 failed: KeyError\n{ROOT_CAUSE} 1 (pid: 5)", True, ("error", "KeyError")),
        (1, "process 2 failed: MemoryError\nthe cell failed: Connection closed", True, ("out_of_memory", None)),
        (1, "Traceback\nKeyError: 5", False, ("error", "KeyError: 5")),
        (1, "", False, ("crash", "exit code 1 without a message")),
        (-11, "error: x", False, ("crash", "ended by SIGSEGV")),
        (137, "", False, ("crash", None)),
        (2, "error: no such task", False, ("refused", "no such task")),
    ],
)
def test_what_an_end_means(code: int, log: str, several: bool, expected: tuple, tmp_path: Path) -> None:
    (tmp_path / "log").write_text(f"earlier\nerror: of an earlier start\n{log}\n")
    words = failure.last_words(tmp_path / "log", len("earlier\nerror: of an earlier start\n"))
    kind, reason = failure.classify(code, words, None, several)
    assert kind == expected[0]
    assert expected[1] in (None, reason)


def test_a_record_of_an_earlier_start_says_nothing_of_this_one(go: Try) -> None:
    _, running = go("fail", retries=0)
    (path,) = running.plan.records.glob("*.json")
    earlier = path.read_text()
    assert "launcher" not in earlier  # the cell's own
    outcome, _ = go("kill", retries=0)
    assert outcome.kind == "crash"
    assert path.read_text() != earlier
    assert failure.fresh_record(running.plan, path.stem, "2000-01-01T00:00:00+00:00", None) is not None
    assert failure.fresh_record(running.plan, path.stem, "2999-01-01T00:00:00+00:00", None) is None


def test_an_older_record_is_no_success_of_a_child_that_left_before_it_looked(go: Try) -> None:
    outcome, running = go("done")
    before = the_record(running)
    outcome, running = go("silent silent", retries=1)
    assert (outcome.status, outcome.kind) == ("failed", "crash")
    assert kinds(running) == ["done", "crash", "crash"]
    assert the_record(running) == before, "what was finished stays"


def test_a_failure_never_replaces_a_finished_record(go: Try) -> None:
    _, running = go("done")
    again, _ = go("kill", retries=0)
    assert again.status == "failed"
    assert the_record(running).status == "done"


def test_an_item_waits_for_the_one_it_starts_from(go: Try, tmp_path: Path) -> None:
    _, running = go("done")
    first, second = running.item, model.Item("f" * 16, "second", running.item.overrides, after=running.item.key)
    plan = model.Plan(model.SCHEMA, "x", "", running.plan.results_dir, running.plan.runs_dir, (first, second))
    (tmp_path / "scenario").write_text("done")
    waiting = Running(plan, second, Policy())
    assert waiting.start() is None
    assert waiting.child is not None
    waiting.child.wait()
    assert f"init_from={the_record(running).cell_id}" in waiting.log.read_text()
    next(iter(running.plan.records.glob("*.json"))).unlink()
    outcome = Running(plan, second, Policy()).start()
    assert outcome is not None
    assert outcome.status == "waiting"


def test_the_child_is_told_when_its_launcher_dies(tmp_path: Path) -> None:
    child = Path(attempt.__file__).with_name("child.py")
    pid_file = tmp_path / "pid"
    inner = f"import os, time; open({str(pid_file)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    launcher = (
        "import os, subprocess, sys, time;"
        f"subprocess.Popen([sys.executable, {str(child)!r}, str(os.getpid()), sys.executable, '-c', {inner!r}]);"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", launcher]) as process:
        deadline = time.monotonic() + 20
        while not (pid_file.is_file() and pid_file.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        pid = int(pid_file.read_text())
        process.send_signal(signal.SIGKILL)
    while _alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_offline_runs_are_listed_until_they_are_sent(tmp_path: Path) -> None:
    for name in ("b/wandb/offline-run-2-b", "a/wandb/offline-run-1-a", "a/wandb/offline-run-3-a"):
        (tmp_path / name).mkdir(parents=True)
    assert [p.name for p in offline_runs.find(tmp_path)] == ["offline-run-1-a", "offline-run-2-b", "offline-run-3-a"]
    (tmp_path / "b/wandb/offline-run-2-b/run-b.wandb.synced").touch()


@pytest.mark.parametrize(("others", "which"), [((), "*"), (("c",), "{a,b}")])
def test_a_grid_ends_with_the_offline_runs_of_its_own_cells(
    others: tuple[str, ...], which: str, tmp_path: Path
) -> None:
    plan = make_plan(tmp_path)
    for cell_id in ("a", "b", *others):
        (plan.folder / cell_id / "wandb" / f"offline-run-{cell_id}").mkdir(parents=True)
    first, second = replace(plan.items[0], cell_id="a"), replace(plan.items[0], key="f" * 16)
    attempts.write_lease(attempts.attempts_folder(tmp_path / "runs", plan.experiment), second.key, "b", "now")
    said = offline_runs.lines(replace(plan, items=(first, second)))
    assert said[0] == "W&B: 2 runs recorded offline; send them with"
    assert said[1].endswith(f"{plan.folder}/{which}/wandb/offline-run-*")
    untracked = replace(first, overrides=(*first.overrides, "tracker=none"))
    assert offline_runs.lines(replace(plan, items=(untracked,))) == []

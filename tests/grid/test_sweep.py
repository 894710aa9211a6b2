"""`uora-bench plan … launcher=local` for real: cells in child processes, killed and taken up again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from uora_bench.records import attempts

# a few seconds a cell; checkpoints often enough that a kill finds one
CELL = (
    "task=tiny/nli", "recipe=none", "task.splits.train=train[:96]", "task.splits.dev=validation[:48]",
    "task.splits.test=null", "trainer.batch_size=8", "trainer.checkpoint_every=2", "trainer.precision=float32",
    "experiment_name=sweep",
)  # fmt: skip
GRID = (*CELL, "method=uora,alpha_lora", "seed=0,1", "trainer.epochs=20", "method.tau=0.02")
# what two runs of one cell may differ in
ITS_OWN = (
    "seconds", "examples_per_second", "tokens_per_second", "peak_memory_bytes", "peak_memory_by_phase", "restarts",
    "provenance",
)  # fmt: skip


def plan(folder: Path, *words: str) -> list[str]:
    where = (f"results.dir={folder / 'results'}", f"runs.dir={folder / 'runs'}")
    return [sys.executable, "-m", "uora_bench", "plan", *words, *where, "launcher=local"]


def environment() -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "src"), "WANDB_MODE": "offline"}


def sweep(folder: Path, *words: str, code: int = 0) -> str:
    done = subprocess.run(plan(folder, *words), capture_output=True, text=True, timeout=500, env=environment())
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def records(folder: Path) -> dict[str, dict[str, Any]]:
    found = {p.stem: json.loads(p.read_text()) for p in (folder / "results" / "records" / "sweep").glob("*.json")}
    for record in found.values():
        for key in ITS_OWN:
            record.pop(key)
        for epoch in record["epochs"]:
            epoch.pop("seconds")
    return found


def wait_for(condition: Callable[[], Any], seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError("it did not come to that")


def leases(folder: Path) -> list[attempts.Lease]:
    place = attempts.attempts_folder(folder / "runs", "sweep")
    keys = [p.name.split(".")[0] for p in place.glob("*.lease.json")]
    return [c for c in (attempts.read_lease(place, k) for k in keys) if c is not None]


def in_the_middle(folder: Path, besides: tuple[str, ...] = ()) -> Callable[[], list[attempts.Lease]]:
    """Leases of cells that have a checkpoint and no record yet."""
    runs, done = folder / "runs" / "sweep", folder / "results" / "records" / "sweep"

    def look() -> list[attempts.Lease]:
        return [
            c
            for c in leases(folder)
            if (runs / c.cell_id / "checkpoints" / "last.pt").is_file()
            and not (done / f"{c.cell_id}.json").is_file()
            and c.cell_id not in besides
        ]

    return look


def tries(folder: Path) -> list[Sequence[attempts.Attempt]]:
    """The starts so far of every cell."""
    place = attempts.attempts_folder(folder / "runs", "sweep")
    return [attempts.read_attempts(place, p.name.split(".")[0]) for p in place.glob("*.attempts.json")]


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.slow
def test_a_sweep_killed_twice_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    words = [w for w in GRID if not w.startswith("method")]
    grid = ["method=uora,alpha_lora", *words]
    sweep(whole, *grid)
    # a child is killed: it is started again; then the launcher is: its children save and leave
    with subprocess.Popen(plan(broken, *grid), stdout=subprocess.PIPE, text=True, env=environment()) as launcher:
        victim = wait_for(in_the_middle(broken))[0]
        os.kill(victim.pid, signal.SIGKILL)
        wait_for(lambda: any(a.kind == "crash" for t in tries(broken) for a in t))  # the launcher has seen it
        other = wait_for(in_the_middle(broken, (victim.cell_id,)))[0]
        launcher.send_signal(signal.SIGKILL)
    wait_for(lambda: not alive(other.pid))
    assert len(list((broken / "results" / "records" / "sweep").glob("*.json"))) < 4
    out = sweep(broken, *grid)
    assert "4 of 4 cells done" in out
    assert records(broken) == records(whole)
    assert sorted(sum(a.kind == "done" for a in t) for t in tries(broken)) == [1] * 4
    assert any(a.kind == "crash" for t in tries(broken) for a in t)
    # one W&B run per cell: every start of a cell is of the same id
    for cell_id in records(broken):
        runs = list((broken / "runs" / "sweep" / cell_id / "wandb").glob("offline-run-*"))
        assert runs
        assert {p.name.rsplit("-", 1)[1] for p in runs} == {cell_id}
    assert "wandb sync" in out
    assert "4 of 4 cells done" in sweep(broken, *grid)  # nothing is run again
    assert records(broken) == records(whole)


@pytest.mark.slow
def test_cells_that_are_copies_end_as_fresh_processes_do(tmp_path: Path) -> None:
    grid = [*CELL, "method=uora,alpha_lora", "seed=0", "trainer.epochs=3", "tracker=none"]
    sweep(tmp_path / "copies", *grid)
    sweep(tmp_path / "fresh", *grid, "launcher.fork=false")
    copies, fresh = ({p.name: p for p in (tmp_path / kind).rglob("*")} for kind in ("copies", "fresh"))
    assert copies.keys() - fresh.keys() == {"fork_server.log"}
    assert copies["fork_server.log"].read_text() == ""
    assert records(tmp_path / "copies") == records(tmp_path / "fresh")
    for cell_id in records(tmp_path / "copies"):
        weights = [
            [
                (tmp_path / kind / "runs/sweep" / cell_id / f"{part}.safetensors").read_bytes()
                for part in ("adapter", "head")
            ]
            for kind in ("copies", "fresh")
        ]
        assert weights[0] == weights[1]


@pytest.mark.slow
def test_ctrl_c_saves_and_the_next_call_goes_on(tmp_path: Path) -> None:
    grid = [*CELL, "method=uora", "seed=0", "trainer.epochs=30", "tracker=none"]
    with subprocess.Popen(
        plan(tmp_path, *grid), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment()
    ) as launcher:
        running = wait_for(in_the_middle(tmp_path))[0]
        launcher.send_signal(signal.SIGINT)
        out, error = launcher.communicate(timeout=120)
    assert launcher.returncode == 128 + signal.SIGINT
    assert "run the same command again to resume" in error
    assert "0 of 1 cell done, 1 left" in out
    assert not alive(running.pid)
    assert "resumes from its checkpoint" in " ".join(sweep(tmp_path, *grid).split())
    (path,) = (tmp_path / "results" / "records" / "sweep").glob("*.json")
    assert json.loads(path.read_text())["restarts"] == 1


@pytest.mark.slow
def test_hydras_own_habit_is_the_same_planner_and_what_failed_is_said(tmp_path: Path) -> None:
    # a learning rate that breaks the weights: one cell fails, the other is done
    words = [*CELL, "method=lora", "trainer.max_steps=4", "trainer.lr_adapter=1e-3,1e30", "tracker=none"]
    where = [f"results.dir={tmp_path / 'results'}", f"runs.dir={tmp_path / 'runs'}"]
    command = [sys.executable, "-m", "uora_bench", "-m", *words, *where]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment())
    assert done.returncode == 1, done.stderr
    assert "1 of 2 cells done, 1 failed" in done.stdout
    assert "not finite" in done.stdout
    found = records_by_status(tmp_path)
    assert sorted(found) == ["done", "failed"]
    assert found["done"]["provenance"]["launch"]["launcher"] == "local"
    assert found["failed"]["provenance"]["failure"]["kind"] == "error"


def records_by_status(folder: Path) -> dict[str, dict[str, Any]]:
    paths = (folder / "results" / "records" / "sweep").glob("*.json")
    return {r["status"]: r for r in (json.loads(p.read_text()) for p in paths)}


@pytest.mark.slow
def test_a_cell_of_two_processes_is_one_of_two(tmp_path: Path) -> None:
    words = [*CELL, "method=lora", "trainer.max_steps=4", "tracker=none", "launcher.processes=2"]
    sweep(tmp_path, *words, "launcher.cpu_slots=2")
    (path,) = (tmp_path / "results" / "records" / "sweep").glob("*.json")
    assert json.loads(path.read_text())["processes"] == 2


@pytest.mark.slow
def test_a_cell_of_two_processes_is_stopped_and_killed_like_one(tmp_path: Path) -> None:
    words = [*CELL, "method=uora", "seed=0", "trainer.epochs=60", "tracker=none", "launcher.processes=2"]
    with subprocess.Popen(
        plan(tmp_path, *words, "launcher.cpu_slots=2"), stdout=subprocess.PIPE, text=True, env=environment()
    ) as launcher:
        os.kill(wait_for(in_the_middle(tmp_path))[0].pid, signal.SIGKILL)  # the first of the two: a crash, tried again
        place = attempts.attempts_folder(tmp_path / "runs", "sweep")
        wait_for(lambda: list(place.glob("*.attempts.json")))
        first = leases(tmp_path)[0].pid
        second = wait_for(lambda: [c for c in leases(tmp_path) if c.pid != first and alive(c.pid)])[0]
        time.sleep(4)
        launcher.send_signal(signal.SIGINT)
        out, _ = launcher.communicate(timeout=120)
    assert launcher.returncode == 128 + signal.SIGINT
    assert "retry 1 of 1" in out
    assert "0 of 1 cell done, 1 left" in out
    assert not alive(second.pid)
    sweep(tmp_path, *words, "launcher.cpu_slots=2")
    (record,) = records_by_status(tmp_path).values()
    assert (record["status"], record["processes"]) == ("done", 2)
    assert record["restarts"] >= 1
    (key,) = {p.name.split(".")[0] for p in place.glob("*.attempts.json")}
    assert [a.kind for a in attempts.read_attempts(place, key)] == ["crash", "interrupted", "done"]


@pytest.mark.slow
def test_out_of_memory_ends_in_smaller_micro_batches_and_the_record_says_so(tmp_path: Path) -> None:
    words = [
        "task=tiny/nli", "method=full", "recipe=none", "task.splits.test=null", "task.splits.dev=validation[:16]",
        "trainer.batch_size=4096", "trainer.max_steps=1", "experiment_name=sweep", "tracker=none",
        "trainer.precision=float32",
    ]  # fmt: skip
    # how much address space micro-batches of 256 take here, and somewhat more: batches of 4096 take a gigabyte more
    code = (
        "import re, sys; from uora_bench.cli.main import main; assert main(sys.argv[1:]) == 0;"
        "print('VmPeak', re.search(r'VmPeak:\\s+(\\d+)', open('/proc/self/status').read())[1])"
    )
    where = [f"results.dir={tmp_path / 'first'}", f"runs.dir={tmp_path / 'first'}", "trainer.micro_batch_size=256"]
    first = subprocess.run(
        [sys.executable, "-c", code, *words, *where], capture_output=True, text=True, timeout=300, env=environment()
    )
    assert first.returncode == 0, first.stderr
    limit = int(first.stdout.split("VmPeak")[1]) + 250_000
    command = ["bash", "-c", 'ulimit -v "$0"; exec "$@"', str(limit), *plan(tmp_path, *words, "launcher.cpu_slots=1")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, env=environment())
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the global batch stays" in done.stdout
    (record,) = records_by_status(tmp_path).values()
    assert record["status"] == "done"
    assert record["micro_batch_size"] < 4096
    assert record["cell"]["trainer"]["batch_size"] == 4096
    assert "out_of_memory" in record["provenance"]["launch"]["earlier_failures"][0]

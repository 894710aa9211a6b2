"""The queue over one machine's slots, with stand-ins for cells: everything ends, once, and what happened is said."""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.support.fake_plan import FAKE, make_plan
from tests.support.paths import ROOT
from uora_bench.errors import Interrupted, UserError
from uora_bench.grid.launch import forks, local, progress, slots
from uora_bench.grid.launch.attempt import Outcome, Policy, Running
from uora_bench.grid.launch.slots import Slots
from uora_bench.grid.model import SCHEMA, Item, Plan
from uora_bench.records import attempts
from uora_bench.records.record import read_record

Go = Callable[..., tuple[int, str, Plan]]


@pytest.fixture
def go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Go:
    """Run a grid of two seeds; ``acts``: the scenario of each."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "src")]))
    monkeypatch.setattr(local, "AGAIN", 0.2)
    monkeypatch.setattr(forks, "MODULES", ["tests.support.fake_cell"])
    copies: list[int] = []

    class Noted(forks.Forked):
        def __init__(self, server: forks.ForkServer, pid: int) -> None:
            super().__init__(server, pid)
            copies.append(pid)

    monkeypatch.setattr(forks, "Forked", Noted)

    def command(self: Running) -> list[str]:
        return [sys.executable, FAKE, str(tmp_path / f"scenario.{self.item.key}")]

    monkeypatch.setattr(Running, "_command", command)

    def run(*acts: str, **options: object) -> tuple[int, str, Plan]:
        seeds = ",".join(map(str, range(len(acts))))
        plan = make_plan(tmp_path, f"seed={seeds}")
        for item, act in zip(plan.items, acts, strict=True):
            (tmp_path / f"scenario.{item.key}").write_text(act)
        out = io.StringIO()
        given = {"gpus": "none", "cpu_slots": 2, "grace_seconds": 1.0, **options}
        try:
            code = local.run(plan, local.read_options(given), Console(file=out, width=200))
        finally:
            run.out = out.getvalue()  # type: ignore[attr-defined]
        assert bool(copies) == (len(acts) > 1)
        return code, out.getvalue(), plan

    return run


def statuses(plan: Plan) -> list[str]:
    return sorted(read_record(p).status for p in plan.records.glob("*.json"))


def test_every_cell_is_run_once_and_one_failure_does_not_end_the_grid(go: Go) -> None:
    code, out, plan = go("done", "fail", "done", "kill done")
    assert code == 1
    assert statuses(plan) == ["done", "done", "done", "failed"]
    assert "3 of 4 cells done, 1 failed" in out
    assert "the loss is not finite" in out
    assert str(plan.folder / "logs" / f"{plan.items[1].key}.log") in out


def test_what_is_done_is_not_run_again(go: Go) -> None:
    _, _, plan = go("done", "done")
    tries = [attempts.read_attempts(attempts.attempts_folder(Path(plan.runs_dir), "x"), i.key) for i in plan.items]
    assert [len(t) for t in tries] == [1, 1]


def test_a_cell_that_is_busy_elsewhere_is_waited_for(go: Go) -> None:
    code, out, plan = go("busy busy done", "done")
    assert code == 0
    assert statuses(plan) == ["done", "done"]
    assert out.count("waiting for it") == 1


def test_a_signal_stops_the_cells_and_the_grid_goes_on_next_time(go: Go) -> None:
    threading.Timer(4.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    begun = time.monotonic()
    with pytest.raises(Interrupted) as caught:
        go("slow", "slow", "done", cpu_slots=2)
    assert caught.value.signum == signal.SIGINT
    assert time.monotonic() - begun < 30
    assert "3 left" in go.out  # type: ignore[attr-defined]
    code, _, plan = go("done", "done", "done")
    assert code == 0
    assert statuses(plan) == ["done"] * 3


def test_failed_cells_can_be_left_alone(go: Go, tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    item = Item(plan.items[0].key, "x", plan.items[0].overrides, "failed", "it was so")
    plan = Plan(SCHEMA, "x", "", plan.results_dir, plan.runs_dir, (item,))
    out = io.StringIO()
    assert local.run(plan, local.read_options({"gpus": "none", "rerun_failed": False}), Console(file=out)) == 1
    assert "it was so" in out.getvalue()
    assert not list(plan.records.glob("*"))


def test_cells_that_start_from_a_failed_one_are_not_run(go: Go, tmp_path: Path) -> None:
    (tmp_path / "y").mkdir()
    base = make_plan(tmp_path, "seed=0,1")
    first, second = base.items
    second = Item(second.key, "second", second.overrides, after=first.key)
    plan = Plan(SCHEMA, "x", "", base.results_dir, base.runs_dir, (second, first))
    (tmp_path / f"scenario.{first.key}").write_text("fail")
    out = io.StringIO()
    assert local.run(plan, local.read_options({"gpus": "none"}), Console(file=out, width=200)) == 1
    assert f"the cell it starts from ({first.key}) is not done" in out.getvalue()
    assert statuses(plan) == ["failed"]


def test_a_cell_waits_for_the_one_it_starts_from_even_if_an_older_record_is_there(go: Go, tmp_path: Path) -> None:
    base = make_plan(tmp_path, "seed=0,1")
    first, second = base.items
    (tmp_path / f"scenario.{first.key}").write_text("done done")
    (tmp_path / f"scenario.{second.key}").write_text("done")
    alone = Plan(SCHEMA, "x", "", base.results_dir, base.runs_dir, (first,))
    console = Console(file=io.StringIO(), width=200)
    assert local.run(alone, local.read_options({"gpus": "none"}), console) == 0
    stale = Item(first.key, "first", first.overrides, "stale")
    second = Item(second.key, "second", second.overrides, after=first.key)
    plan = Plan(SCHEMA, "x", "", base.results_dir, base.runs_dir, (stale, second))
    out = io.StringIO()
    given = {"gpus": "none", "cpu_slots": 2}
    assert local.run(plan, local.read_options(given), Console(file=out, width=200)) == 0
    said = out.getvalue()
    assert said.index("done first") < said.index("started second")


def test_nothing_is_started_after_a_signal(go: Go, tmp_path: Path) -> None:
    plan = make_plan(tmp_path, "seed=range(0,12)")
    board = progress.Board(plan, 12, Console(file=io.StringIO(), width=200))
    queue = local._Queue(
        plan, local.read_options({"gpus": "none"}), slots.find("none", 1, 12, 1), [*plan.items], board, None
    )
    queue.stop(signal.SIGINT)
    queue.run()
    assert not queue.running
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"slot_per_gpu": 2}, "did you mean 'launcher.slots_per_gpu'"),
        ({"retries": -1}, "must not be negative"),
        ({"minutes": 0.0}, "must be above zero"),
        ({"processes": 0}, "must be at least 1"),
        ({"threads": 0}, "must be at least 1"),
        ({"gpus": [977]}, "no GPU 977 here"),
        ({"retries": "many"}, "whole number"),
    ],
)
def test_options_that_cannot_be_are_one_line(given: dict[str, object], message: str, tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        local.run(make_plan(tmp_path), local.read_options({"gpus": "none", **given}), Console(file=io.StringIO()))
    assert message in str(caught.value)


def test_more_processes_than_slots_are_refused_before_anything_starts(tmp_path: Path) -> None:
    plan = make_plan(tmp_path)
    plan = Plan(SCHEMA, "x", "", "", "", (Item("a" * 16, "x", plan.items[0].overrides, processes=3),))
    with pytest.raises(UserError, match="wants 3 processes and there are 2"):
        local.run(plan, local.read_options({"gpus": "none", "cpu_slots": 2}), Console(file=io.StringIO()))


# --- slots --------------------------------------------------------------------------------------------------------


@given(st.integers(1, 4), st.integers(1, 3), st.lists(st.integers(1, 4), max_size=20))
def test_slots_never_hold_more_than_they_can(devices: int, capacity: int, wishes: list[int]) -> None:
    held = Slots("gpu", [str(i) for i in range(devices)], capacity, 1)
    places = []
    for number, processes in enumerate(wishes):
        place = held.take(processes)
        if place is None:
            assert sum(1 for d in held.devices if held.used.get(d, 0) < capacity) < processes
            if places:
                held.give(places.pop(number % len(places)))
            continue
        assert len(set(place.devices)) == processes
        assert place.environment["CUDA_VISIBLE_DEVICES"].split(",") == list(place.devices)
        places.append(place)
        assert all(0 <= n <= capacity for n in held.used.values())
    for place in places:
        held.give(place)
    assert not any(held.used.values())


def test_gpus_are_those_that_the_environment_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-ab")
    assert slots.visible_gpus() == ["2", "GPU-ab"]
    found = slots.find("auto", 2, None, 1)
    assert (found.kind, found.total) == ("gpu", 4)
    place = found.take(1)
    assert place is not None
    assert place.shared  # its timings are not its own
    assert slots.find("none", 2, 3, 1).total == 3
    assert slots.find(["GPU-ab"], 1, None, 1).devices == ["GPU-ab"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert slots.visible_gpus() == []
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("PATH", "/nonexistent")
    assert slots.visible_gpus() == []


def test_nvidia_smi_is_asked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 0\necho 1\n")
    tool.chmod(0o755)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert slots.visible_gpus() == ["0", "1"]


# --- what is shown ------------------------------------------------------------------------------------------------


def test_time_left_is_corrected_by_how_right_the_estimates_were(tmp_path: Path) -> None:
    items = tuple(Item(f"{n:016d}", f"cell {n}", (), seconds=100.0) for n in range(5))
    board = progress.Board(Plan(SCHEMA, "x", "", "", "", items), 2, Console(file=io.StringIO()))
    assert board.left([], items, 0.0) == pytest.approx(250)
    board.ended(items[0], Outcome("done", seconds=50.0))
    assert board.left([], items[1:], 0.0) == pytest.approx(100)  # twice as fast as foretold
    unknown = [Item("f" * 16, "u", ())]
    assert board.left([], unknown, 0.0) == pytest.approx(50)  # as long as cells took so far
    fresh = progress.Board(Plan(SCHEMA, "x", "", "", "", items), 2, Console(file=io.StringIO()))
    assert fresh.left([], unknown, 0.0) is None


def test_the_live_table_shows_what_runs(tmp_path: Path) -> None:
    out = io.StringIO()
    plan = make_plan(tmp_path)
    console = Console(file=out, force_terminal=True, width=120)
    with progress.Board(plan, 2, console) as board:
        running = Running(plan, plan.items[0], Policy())
        running.clock = time.monotonic()
        board.show([running], [], {})
        board.ended(plan.items[0], Outcome("failed", reason="no luck"))
    assert "the cell" in out.getvalue()
    assert "0 of 1 done" in out.getvalue()
    assert "FAILED (no luck)" in out.getvalue()

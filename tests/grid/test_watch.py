"""The running cells of a grid, as its own shell and others show them."""

from __future__ import annotations

import io
import re
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from tests.support.fake_plan import make_plan
from uora_bench.cli.main import main
from uora_bench.grid import running, watch
from uora_bench.grid.launch import progress
from uora_bench.grid.launch.attempt import Policy, Running
from uora_bench.grid.model import Item, Plan
from uora_bench.records import attempts
from uora_bench.util.live import Live, LiveFile

STEPS = Live(120, 300, {"epoch": "2", "loss": "0.4120", "dev": "accuracy 80.12"}, 75.0)


def begin(plan: Plan, item: Item, live: Live | None) -> None:
    """Leave what a running cell of ``item`` leaves."""
    cell_id = item.key[::-1]
    attempts.write_lease(attempts.attempts_folder(Path(plan.runs_dir), plan.experiment), item.key, cell_id, "now")
    folder = plan.folder / cell_id
    folder.mkdir(parents=True, exist_ok=True)
    if live is not None:
        LiveFile(folder).write(live)


def plain(text: str) -> list[str]:
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text).splitlines()


def test_a_cell_loads_then_says_its_step_loss_score_and_time_left(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, "seed=0,1,2")
    first, second, third = plan.items
    begin(plan, first, STEPS)
    begin(plan, second, None)
    assert running.words(running.read_item(plan, first)) == "step 120/300 · epoch 2 · loss 0.4120 · dev accuracy 80.12"
    assert running.words(running.read_item(plan, second)) == "loading"
    assert running.words(running.read_item(plan, third)) == "loading"


@pytest.mark.parametrize("width", [80, 140])
def test_a_line_fits_the_terminal(tmp_path: Path, width: int) -> None:
    out = io.StringIO()
    label = "tied_lora glue/mrpc roberta_large method.rank=8 optimizer.lr=0.0004 seed=0"
    Console(file=out, width=width).print(running.table([(label, STEPS, 12.0), ("short", None, 3.0)]))
    lines = out.getvalue().splitlines()
    assert len(lines) == 2
    assert "step 120/300 · epoch 2" in lines[0]
    assert lines[0].rstrip().endswith("75 s left")
    assert lines[1].rstrip().endswith("3 s")


def test_a_cell_keeps_its_line_when_another_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "REFRESH", -1.0)
    plan = make_plan(tmp_path, "seed=0,1,2,3")
    entries = [Running(plan, replace(item, label=f"cell {n}"), Policy()) for n, item in enumerate(plan.items)]
    for entry in entries:
        entry.clock = 0.0
    out = io.StringIO()
    with progress.Board(plan, 3, Console(file=out, force_terminal=True, width=120)) as board:
        board.show(entries[:3], [], {})
        board.show([entries[1], entries[2], entries[3]], [], {})
        board.show([entries[2], entries[3]], [], {})
    order = [m[1] for line in plain(out.getvalue()) if (m := re.match(r".*cell (\d)", line))]
    assert order[:8] == ["0", "1", "2", "3", "1", "2", "3", "2"]  # the end draws the last one again


def test_another_shell_sees_every_change_until_nothing_runs(tmp_path: Path) -> None:
    plan = make_plan(tmp_path, "seed=0,1")
    first, second = plan.items
    begin(plan, first, STEPS)

    def looks() -> list[Plan]:
        states = [("running", "todo"), ("running", "todo"), ("done", "running"), ("done", "failed")]
        return [replace(plan, items=(replace(first, state=a), replace(second, state=b))) for a, b in states]

    waiting, out = looks(), io.StringIO()
    watch.watch(lambda: waiting.pop(0), Console(file=out, width=200), every=0.0)
    assert waiting == []
    assert out.getvalue().splitlines() == [
        f"{first.label}: running: step 120/300 · epoch 2 · loss 0.4120 · dev accuracy 80.12",
        f"{first.label}: done",
        f"{second.label}: running: loading",
        f"{second.label}: failed",
        "x: nothing of it is running",
    ]


def test_watching_is_not_launching(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "experiment=quickstart", "watch=true", "launcher=local"]) == 2
    assert "watch=true looks at what another shell" in capsys.readouterr().err

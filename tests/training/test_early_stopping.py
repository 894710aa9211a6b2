"""Early stopping: when it looks, when it stops, and that a run which was killed stops at the same step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support.short_fit import ID, short_fit
from uora_bench.config.compose import compose
from uora_bench.errors import UserError
from uora_bench.training import trainer
from uora_bench.training.checkpoint import Checkpoints

LONG = {"epochs": 8, "lr_adapter": 3e-2, "lr_head": 3e-2, "patience": 3, "patience_every": 2, "checkpoint_every": 3}


def dev_losses(rows: list[dict[str, Any]]) -> list[tuple[int, float]]:
    return [(row["step"], row["dev/loss"]) for row in rows if "dev/loss" in row]


@pytest.mark.parametrize(
    ("changes", "looks", "stopped", "ends"),
    [
        ({"patience": 2, "patience_every": 2}, [2, 4, 6], 6, [5, 6]),
        ({"patience": 1, "patience_every": 5}, [5, 10], 10, [5, 10]),
        ({"patience": 2}, [5, 10, 15], 15, [5, 10, 15]),
        ({"patience": 9, "patience_every": 7}, [7, 14], None, [5, 10, 15, 20]),
    ],
)
def test_weights_that_never_change_stop_after_patience(
    changes: dict[str, int], looks: list[int], stopped: int | None, ends: list[int], tmp_path: Path
) -> None:
    history, _, rows = short_fit(tmp_path, epochs=4, lr_adapter=0.0, lr_head=0.0, **changes)
    assert [step for step, _ in dev_losses(rows)] == looks
    assert len({loss for _, loss in dev_losses(rows)}) == 1
    assert (history.stopped, [e.step for e in history.epochs]) == (stopped, ends)
    assert all("dev" in e.scores for e in history.epochs)


def test_the_last_epoch_is_scored_where_only_the_last_is(tmp_path: Path) -> None:
    history, _, _ = short_fit(
        tmp_path, epochs=4, lr_adapter=0.0, lr_head=0.0, patience=1, patience_every=3, evaluate="last"
    )
    assert history.stopped == 6
    assert [bool(e.scores) for e in history.epochs] == [False, True]


def test_looking_changes_nothing_that_is_trained(tmp_path: Path) -> None:
    plain = short_fit(tmp_path / "plain", lr_adapter=1e-2)[2]
    looked = short_fit(tmp_path / "looked", lr_adapter=1e-2, patience=100, patience_every=1)[2]
    assert [row["train/loss"] for row in plain if "train/loss" in row] == [
        row["train/loss"] for row in looked if "train/loss" in row
    ]


@pytest.mark.parametrize("kill", [2, 4, 7])
def test_a_killed_run_stops_at_the_same_step_with_the_same_bytes(
    kill: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, _, rows = short_fit(tmp_path / "whole", **LONG)
    assert whole.stopped is not None
    assert kill < whole.stopped < 40
    step = trainer._Fit._step

    def killed(self: Any, batch: Any) -> None:
        if self.history.steps == kill:
            raise KeyboardInterrupt
        step(self, batch)

    monkeypatch.setattr(trainer._Fit, "_step", killed)
    with pytest.raises(KeyboardInterrupt):
        short_fit(tmp_path / "killed", **LONG)
    monkeypatch.undo()
    again, _, later = short_fit(tmp_path / "killed", **LONG)
    assert again.stopped == whole.stopped
    assert dev_losses(later) == dev_losses(rows)[-len(dev_losses(later)) :]
    assert [(e.step, e.train_loss, e.scores) for e in again.epochs] == [
        (e.step, e.train_loss, e.scores) for e in whole.epochs
    ]
    states = [Checkpoints(tmp_path / name, ID).latest()[0] for name in ("whole", "killed")]
    for a, b in zip(*(state["head"].values() for state in states if state), strict=True):
        assert torch.equal(a, b)


def test_a_run_that_has_stopped_does_not_go_on(tmp_path: Path) -> None:
    first, _, _ = short_fit(tmp_path, **LONG)
    again, _, rows = short_fit(tmp_path, **LONG)
    assert (again.steps, again.stopped) == (first.steps, first.stopped)
    assert not dev_losses(rows)


def test_the_keys_are_strict_and_leave_no_trace_where_unused() -> None:
    words = ["method=lora", "task=tiny/nli"]
    with pytest.raises(UserError, match=r"trainer.patience_every is of early stopping: set trainer.patience"):
        _ = compose([*words, "trainer.patience_every=5"]).cell
    with pytest.raises(UserError, match=r"trainer.patience"):
        _ = compose([*words, "trainer.patience=0"]).cell
    cell = compose([*words, "early_stopping_patience=3"]).cell
    assert cell.trainer.patience == 3
    assert cell.canonical()["trainer"]["patience"] == 3
    assert not {"patience", "patience_every"} & set(compose(words).cell.canonical()["trainer"])

"""The loop itself: batch shares, accumulation, warm-up, clipping, checkpointing, and a non-finite loss."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.support.short_fit import ID, encoded, short_fit
from uora_bench.config import registry
from uora_bench.config.compose import compose
from uora_bench.contract.models import inject, make_method, roberta
from uora_bench.errors import CellError
from uora_bench.methods.base import Method
from uora_bench.models.heads import head_parameters
from uora_bench.training import optimisation, trainer
from uora_bench.training.checkpoint import Checkpoints


def losses(rows):
    return [r["train/loss"] for r in rows if "train/loss" in r]


def test_accumulation_changes_nothing_but_rounding(tmp_path):
    whole = losses(short_fit(tmp_path / "a")[2])
    for size in (1, 3, 5):
        parts = losses(short_fit(tmp_path / str(size), micro_batch_size=size)[2])
        assert parts == pytest.approx(whole, rel=1e-5)


def test_the_authors_placement_looks_once_per_optimizer_step_however_a_batch_is_cut(tmp_path):
    options = {"timing": "authors", "tau": 10.0, "k": 1}  # everything is under τ: each look is a hit of every index
    for size in (None, 6, 4):
        history, method, _ = short_fit(
            tmp_path / str(size), method_options=options, micro_batch_size=size, batch_size=12, lr_adapter=1e-3
        )
        (refresher,) = method.refreshers.values()
        assert (refresher.counters == history.steps).all()


def test_a_method_is_told_of_the_first_forward_pass_of_each_step(tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr(Method, "before_forward", lambda self, step, first: told.append((step, first)))
    short_fit(tmp_path, "lora", batch_size=10, micro_batch_size=4, max_steps=2)
    assert told == [(step, first) for step in (1, 2) for first in (True, False, False)]


def test_weights_broken_by_the_last_step_are_not_kept(tmp_path, monkeypatch):
    step = torch.optim.AdamW.step

    def broken(self, *args, **kwargs):
        step(self, *args, **kwargs)
        self.param_groups[-1]["params"][0].data.fill_(float("nan"))

    monkeypatch.setattr(torch.optim.AdamW, "step", broken)
    with pytest.raises(CellError, match="weights are not finite"):
        short_fit(tmp_path, "head_only", max_steps=1)
    assert Checkpoints(tmp_path, ID).latest()[0] is None


def test_gradient_checkpointing_gives_the_same_losses(tmp_path):
    plain = losses(short_fit(tmp_path / "a")[2])
    assert losses(short_fit(tmp_path / "b", gradient_checkpointing=True)[2]) == pytest.approx(plain, rel=1e-5)


def test_padding_policy_changes_nothing_but_rounding(tmp_path):
    long = {"max_position_embeddings": 140}
    dynamic = losses(short_fit(tmp_path / "a", model_changes=long)[2])
    fixed = losses(short_fit(tmp_path / "b", padding="max_length", model_changes=long)[2])
    assert fixed == pytest.approx(dynamic, rel=1e-5)


def test_training_lowers_the_loss_and_counts_its_work(tmp_path):
    history, _, rows = short_fit(tmp_path, "full", epochs=8, lr_adapter=1e-3, lr_head=1e-3)
    assert history.steps == 8 * 5
    assert history.examples == 8 * 40
    assert history.tokens == 8 * int(encoded(40, 0).lengths.sum())
    assert np.mean(losses(rows)[-5:]) < 0.8 * np.mean(losses(rows)[:5])
    assert [e.epoch for e in history.epochs] == list(range(1, 9))


def test_all_methods_see_the_same_batches(tmp_path, monkeypatch):
    seen: dict[str, list[list[list[int]]]] = {}
    for name in registry.choices("method"):
        epochs: list[list[list[int]]] = []
        original = trainer.batching.epoch_batches

        def watched(lengths, size, window, seed, epoch, _make=original, _into=epochs):
            batches = _make(lengths, size, window, seed, epoch)
            if len(lengths) == 40:  # the training set, not the rows of an auxiliary step
                _into.append([b.tolist() for b in batches])
            return batches

        monkeypatch.setattr(trainer.batching, "epoch_batches", watched)
        short_fit(tmp_path / name, method_name=name)
        monkeypatch.undo()
        seen[name] = epochs
    first = seen.pop("uora")
    assert len(first) == 2
    assert all(epochs == first for epochs in seen.values())


def test_max_steps_wins_over_epochs_and_still_evaluates(tmp_path):
    history, _, _ = short_fit(tmp_path, max_steps=7)
    assert history.steps == 7
    assert [e.step for e in history.epochs] == [5, 7]


def test_a_loss_that_is_not_finite_ends_the_short_fit(tmp_path):
    with pytest.raises(CellError, match="not finite"):
        short_fit(tmp_path, lr_adapter=1e30, lr_head=1e30)
    state = Checkpoints(tmp_path, ID).latest()[0]
    assert state is None or all(torch.isfinite(v).all() for v in state["head"].values())


def test_the_adapter_and_the_head_have_their_own_rates_and_decay(tmp_path):
    cell = compose(["method=lora", "recipe=none"]).cell
    settings = replace(
        cell.trainer, lr_adapter=1e-3, lr_head=5e-4, weight_decay_adapter=0.2, weight_decay_head=0.1
    )  # fmt: skip
    model = roberta(torch.float32)
    method = make_method("lora")
    inject(method, model)
    head = head_parameters(model)
    groups = optimisation.groups(settings, method, head)
    assert [(g["lr"], g["weight_decay"]) for g in groups] == [(1e-3, 0.2), (5e-4, 0.1), (5e-4, 0.0)]
    assert all(p.ndim == 1 for p in groups[2]["params"])
    assert sum(len(g["params"]) for g in groups) == len(method.parameters()) + len(head)


@pytest.mark.parametrize(
    ("step", "schedule", "expected"),
    [(0, "linear", 1 / 3), (1, "linear", 2 / 3), (2, "linear", 1.0), (6, "linear", 0.5), (10, "linear", 0.0),
     (0, "constant", 1 / 3), (9, "constant", 1.0)],
)  # fmt: skip
def test_the_schedule_warms_up_then_falls_or_stays(step, schedule, expected):
    assert optimisation.learning_rate_factor(step, 10, 2, schedule) == pytest.approx(expected)


def test_clipping_bounds_the_step(tmp_path):
    free = losses(short_fit(tmp_path / "a", lr_adapter=1e-3)[2])
    clipped = losses(short_fit(tmp_path / "b", lr_adapter=1e-3, max_grad_norm=1e-9, eps=1.0)[2])
    # with such a clip and a large epsilon AdamW cannot move: every epoch repeats the first losses of its batches
    assert free != pytest.approx(clipped, rel=1e-4)


def test_seconds_are_counted_once(tmp_path, monkeypatch):
    predict = trainer.evaluation.predict

    def slow(*args, **kwargs):
        time.sleep(0.5)
        return predict(*args, **kwargs)

    monkeypatch.setattr(trainer.evaluation, "predict", slow)
    began = time.monotonic()
    history, _, _ = short_fit(tmp_path, "head_only", epochs=4)
    assert history.seconds["eval"] >= 4 * 0.5
    assert history.seconds["train"] + history.seconds["eval"] <= time.monotonic() - began

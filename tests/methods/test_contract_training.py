"""The contract, part 4: the real trainer, interrupted, checkpointed and cut into micro-batches."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from tests.support.contract_harness import (
    PER_EPOCH,
    every_method,
    file_of,
    identical,
    plain_run,
    set_up,
    stops_for,
    train,
)
from tests.support.tinymodels import roberta

# dropout in the model and in the adapter, so that the random streams have to survive too
NOISY = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}


def stir(value: int) -> None:
    """Leave the global random streams where another process would have them."""
    torch.manual_seed(value), random.seed(value), np.random.seed(value)  # noqa: NPY002


@every_method
def test_an_interrupted_run_ends_with_the_bits_of_an_undisturbed_one(name, tmp_path):
    spec = set_up(name).method.auxiliary()
    # a stop between two logs: what was summed since the last one has to survive too
    settings = {
        "options": {"dropout": 0.1},
        "model_changes": NOISY,
        "log_every": 3 if not spec or spec.every % 3 else 4,
    }
    whole = train(name, tmp_path / "whole", **settings)
    stops = sorted(set(stops_for(spec)))
    assert stops[-1] < whole.history.steps
    rows = []
    for i, stop_at in enumerate((*stops, None)):
        stir(i)
        leg = train(name, tmp_path / "parts", stop_at=stop_at, **settings)
        assert (leg.history is None) == (stop_at is not None)
        rows += leg.rows
    assert leg.history.restarts == len(stops)
    assert identical(leg.outcome(), whole.outcome())
    assert rows == whole.rows, "every logged number, and each once"


@every_method
def test_training_moves_all_that_a_method_trains_and_nothing_else(name):
    start, end = file_of(set_up(name).method), plain_run(name)
    optimized = {id(p) for p in end.method.parameters()}
    state = end.method.adapter_state()
    # neither of two optimizers may leave its part where it was
    assert [k for k, t in state.items() if id(t) in optimized and torch.equal(t, start[k])] == []
    optimized |= {id(p) for p in end.head.values()}
    before = dict(roberta(torch.float32).named_parameters())
    assert [n for n, p in end.own.items() if id(p) not in optimized and not torch.equal(p, before[n])] == []
    assert all(not torch.equal(p, before[n]) for n, p in end.head.items())


@every_method
def test_an_auxiliary_step_is_taken_in_these_runs_where_a_method_has_one(name):
    """Else the other tests of this file would say nothing of it."""
    trained = plain_run(name)
    losses = [r["auxiliary/loss"] for r in trained.rows if "auxiliary/loss" in r]
    assert bool(losses) == (trained.method.auxiliary() is not None)
    assert not losses or sum(value > 0 for value in losses) >= 3


@every_method
def test_gradient_checkpointing_gives_the_same_run(name, tmp_path):
    again = train(name, tmp_path, gradient_checkpointing=True)
    assert again.losses == pytest.approx(plain_run(name).losses, rel=1e-5)
    assert len(again.losses) >= 2 * PER_EPOCH


@every_method
def test_accumulation_changes_nothing_but_rounding(name, tmp_path):
    parts = train(name, tmp_path, micro_batch_size=3).losses
    assert parts == pytest.approx(plain_run(name).losses, rel=1e-4)


@every_method
def test_the_same_cell_gives_the_same_bits_and_another_seed_others(name, tmp_path):
    first, again = plain_run(name), train(name, tmp_path / "again")
    assert identical(first.outcome(), again.outcome())
    assert first.losses != train(name, tmp_path / "other", seed=2, epochs=1).losses[: len(first.losses)]

"""The contract, part 4: the real trainer, interrupted, checkpointed and cut into micro-batches."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import torch

from uora_bench.contract.check import Checks, ensure, ensure_near
from uora_bench.contract.harness import PER_EPOCH, file_of, identical, plain_run, set_up, stops_for, train
from uora_bench.contract.models import roberta

# dropout in the model and in the adapter, so that the random streams have to survive too
NOISY = {"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
check = Checks()


def stir(value: int) -> None:
    """Seed the global random streams (torch, random, numpy) with ``value``, as another process would have them."""
    torch.manual_seed(value), random.seed(value), np.random.seed(value)  # noqa: NPY002


@check()
def an_interrupted_run_ends_with_the_bits_of_an_undisturbed_one(name: str, folder: Path) -> None:
    spec = set_up(name).method.auxiliary()
    # a stop between two logs: what was summed since the last one has to survive too
    settings: dict[str, Any] = {
        "options": {"dropout": 0.1},
        "model_changes": NOISY,
        "log_every": 3 if not spec or spec.every % 3 else 4,
    }
    whole = train(name, folder / "whole", **settings)
    stops = sorted(set(stops_for(spec)))
    assert whole.history is not None
    ensure(stops[-1] < whole.history.steps, f"a run of {whole.history.steps} steps has no step {stops[-1]} to stop in")
    rows: list[dict[str, float]] = []
    for i, stop_at in enumerate((*stops, None)):
        stir(i)
        leg = train(name, folder / "parts", stop_at=stop_at, **settings)
        ensure((leg.history is None) == (stop_at is not None), f"the run told to stop in step {stop_at} did not")
        rows += leg.rows
    assert leg.history is not None
    ensure(leg.history.restarts == len(stops), f"{leg.history.restarts} restarts were counted, not {len(stops)}")
    found, expected = leg.outcome(), whole.outcome()
    other = [part for part in expected if not identical(found[part], expected[part])]
    ensure(not other, f"stopped in steps {stops} it ends with another {', '.join(other)}: state() lacks something")
    ensure(rows == whole.rows, "an interrupted run does not log every number, or logs one twice")


@check()
def training_moves_all_that_a_method_trains_and_nothing_else(name: str) -> None:
    start, end = file_of(set_up(name).method), plain_run(name)
    optimized = {id(p) for p in end.method.parameters()}
    state = end.method.adapter_state()
    # neither of two optimizers may leave its part where it was
    left = [k for k, t in state.items() if id(t) in optimized and torch.equal(t, start[k])]
    ensure(not left, f"training leaves {left[:3]} where they were")
    optimized |= {id(p) for p in end.head.values()}
    before = dict(roberta(torch.float32).named_parameters())
    moved = [n for n, p in end.own.items() if id(p) not in optimized and not torch.equal(p, before[n])]
    ensure(not moved, f"training changes frozen tensors: {moved[:3]}")
    ensure(all(not torch.equal(p, before[n]) for n, p in end.head.items()), "training leaves the head where it was")


@check()
def an_auxiliary_step_is_taken_in_these_runs_where_a_method_has_one(name: str) -> None:
    """Else the other checks of this part would say nothing of it."""
    trained = plain_run(name)
    losses = [r["auxiliary/loss"] for r in trained.rows if "auxiliary/loss" in r]
    ensure(bool(losses) == (trained.method.auxiliary() is not None), f"{len(losses)} auxiliary losses were logged")
    ensure(not losses or sum(value > 0 for value in losses) >= 3, "fewer than three auxiliary steps were taken")


@check()
def gradient_checkpointing_gives_the_same_run(name: str, folder: Path) -> None:
    again = train(name, folder, gradient_checkpointing=True)
    ensure_near(again.losses, plain_run(name).losses, 1e-5, "losses with gradient checkpointing")
    ensure(len(again.losses) >= 2 * PER_EPOCH, f"only {len(again.losses)} losses were logged")


@check()
def accumulation_changes_nothing_but_rounding(name: str, folder: Path) -> None:
    parts = train(name, folder, micro_batch_size=3).losses
    ensure_near(parts, plain_run(name).losses, 1e-4, "losses of batches in micro-batches of 3")


@check()
def the_same_cell_gives_the_same_bits_and_another_seed_others(name: str, folder: Path) -> None:
    first, again = plain_run(name), train(name, folder / "again")
    ensure(identical(first.outcome(), again.outcome()), "the same run gives other numbers the second time")
    other = train(name, folder / "other", seed=2, epochs=1).losses
    ensure(other != first.losses[: len(other)], "another seed gives the same losses")

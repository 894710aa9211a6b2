"""Several processes evaluate like one: a prediction per example in the right order, and they leave together."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.gloo import Group
from uora_bench.errors import CellError, Interrupted, UserError
from uora_bench.tasks.base import Encoded
from uora_bench.training import evaluation
from uora_bench.training.distributed import Count, StopConsensus, check
from uora_bench.util.signals import StopRequest


@pytest.fixture(scope="module", params=[2, 3])
def group(request):
    group = Group(request.param, "fork")
    yield group
    group.close()


class Echo:
    """A task whose prediction for a row is its number, or as many copies of it as the longest number asks for."""

    def __init__(self, wide: bool, stop: StopRequest, at: int | None) -> None:
        self.wide, self.stop, self.at, self.calls = wide, stop, at, 0

    def set_epoch(self, encoded: Encoded, batches: Any, draw: int | None) -> Encoded:
        return encoded

    def collate(self, encoded: Encoded, indices: Any, padding: str) -> dict[str, torch.Tensor]:
        return {"rows": torch.as_tensor(np.asarray(indices), dtype=torch.int64)}

    def predict(self, model: Any, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        if self.calls == self.at:
            self.stop.signum = signal.SIGINT
        self.calls += 1
        rows = batch["rows"]
        return rows[:, None].expand(-1, int(rows.max()) % 3 + 1) if self.wide else rows


def look(
    lengths: list[int],
    batch_size: int,
    wide: bool,
    new_tokens: int,
    told: tuple[int, int] | None,
    most: int | None = None,
) -> tuple[int, Any]:
    """In every process: (rounds begun, the predictions, or the signal that ended them). ``told``: the process and
    the number of its batch in which it gets a signal."""
    accelerator, stop = Accelerator(cpu=True), StopRequest()
    task: Any = Echo(wide, stop, told[1] if told and told[0] == accelerator.process_index else None)
    count = np.asarray(lengths, dtype=np.int64)
    encoded = Encoded({"input_ids": [[0] * n for n in lengths]}, np.arange(len(lengths)), count, {}, new_tokens)
    begun: list[int] = []

    def watch(items: Any) -> Any:
        for item in items:
            begun.append(len(item))
            yield item

    model, consensus = torch.nn.Linear(1, 1), StopConsensus(stop, accelerator)
    try:
        made = evaluation.predict(model, task, encoded, accelerator, batch_size, "dynamic", consensus, watch, most)
    except Interrupted as error:
        return len(begun), error.signum
    return len(begun), made


rows = st.lists(st.integers(1, 30), max_size=40)


@settings(max_examples=80, deadline=None)
@given(rows, st.integers(1, 45), st.booleans(), st.none() | st.integers(1, 90))
def test_every_example_gets_one_prediction_in_its_place(group, lengths, batch_size, wide, most):
    for _, made in group(look, lengths, batch_size, wide, 0, None, most):
        assert len(made) == len(lengths)
        first = made[:, 0] if made.ndim > 1 else made
        assert first.tolist() == list(range(len(lengths)))
        if made.ndim > 1:
            assert all(set(row) <= {i, evaluation.FILL} for i, row in enumerate(made.tolist()))


@settings(max_examples=80, deadline=None)
@given(rows.filter(len), st.integers(1, 6), st.integers(0, 5), st.integers(0, 2), st.booleans())
def test_all_leave_in_the_same_round_when_one_is_told_to(group, lengths, batch_size, batch, rank, writes):
    rank %= group.size
    shares = [-(-len(range(r, len(lengths), group.size)) // batch_size) for r in range(group.size)]
    answers = group(look, lengths, batch_size, False, int(writes), (rank, batch))
    assert len({begun for begun, _ in answers}) == 1
    begun = answers[0][0]
    if batch < shares[rank] and batch + 1 < shares[0]:  # it was told, and there was a vote after that
        assert all(result == signal.SIGINT for _, result in answers)
        late = 0 if writes else 1
        assert begun == min(batch + 2 + late, shares[0])
    else:
        assert all(np.array_equal(made, np.arange(len(lengths))) for _, made in answers)
        assert begun == shares[0]


def steps(told: dict[int, tuple[int, int]], count: int) -> list[tuple[float, int | None]]:
    """``count`` training steps: the summed weights and what is known at the end of each; ``told``: {process: (step,
    signal)}, which comes in the middle of the step."""
    accelerator, stop = Accelerator(cpu=True), StopRequest()
    consensus, seen = StopConsensus(stop, accelerator), []
    when, signum = told.get(accelerator.process_index, (-1, 0))
    for step in range(count):
        total = consensus.add(torch.tensor(1.5 + accelerator.process_index))
        if step == when:
            stop.signum = signum
        seen.append((float(total), consensus.asked()))
    return [*seen, (0.0, consensus.now())]


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_votes_ride_along_with_the_weights_and_are_known_one_step_later(group, signum):
    expected = sum(1.5 + r for r in range(group.size))
    answers = group(steps, {1: (2, int(signum))}, 5)
    assert all(seen == answers[0] for seen in answers)
    assert [total for total, _ in answers[0][:-1]] == [expected] * 5
    assert [asked for _, asked in answers[0]] == [None, None, None, signum, signum, signum]
    assert all(asked is None for seen in group(steps, {}, 3) for _, asked in seen)


def test_one_process_sends_nothing_and_knows_at_once():
    accelerator, stop = Accelerator(cpu=True), StopRequest()
    consensus = StopConsensus(stop, accelerator)
    assert consensus.cast() is None
    assert (float(consensus.add(torch.tensor(3.0))), consensus.asked(), consensus.now()) == (3.0, None, None)
    stop.signum = signal.SIGTERM
    assert consensus.asked() == consensus.now() == signal.SIGTERM


def test_terminate_goes_before_interrupt_when_both_came():
    assert Count(torch.tensor([1.0, 2.0])).signum() == signal.SIGTERM
    assert Count(torch.tensor([0.0, 2.0])).signum() == signal.SIGINT
    assert Count(torch.zeros(2)).signum() is None


def test_the_number_of_processes_is_held_against_what_was_asked_for(monkeypatch):
    monkeypatch.delenv("UORA_PROCESSES", raising=False)
    check(1)
    monkeypatch.setenv("UORA_PROCESSES", "2")
    check(2)
    with pytest.raises(CellError, match="asked for 2 processes, 1 run"):
        check(1)
    for wrong in ("two", "0", ""):
        monkeypatch.setenv("UORA_PROCESSES", wrong)
        with pytest.raises(UserError, match="must be a number of processes"):
            check(1)


def test_among_several_processes_the_echo_of_a_signal_is_no_second_one(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    stop = StopRequest()
    stop.guard()
    for _ in range(3):  # Slurm to the process, Slurm to torchrun, torchrun to the process
        stop._receive(signal.SIGTERM, None)
    assert stop.signum == signal.SIGTERM
    stop.echo = 0.0  # as if the time had passed
    with pytest.raises(Interrupted):
        stop._receive(signal.SIGTERM, None)


def test_a_second_signal_to_a_single_process_does_not_wait(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    stop = StopRequest()
    stop.guard()
    stop._receive(signal.SIGINT, None)
    with pytest.raises(Interrupted):
        stop._receive(signal.SIGINT, None)


def test_a_process_that_left_before_training_is_an_interruption_for_one_that_was_told_too(monkeypatch):
    def left() -> None:
        raise RuntimeError("Connection closed by peer")

    monkeypatch.setattr(torch.distributed, "barrier", left)
    stop = StopRequest()
    consensus = StopConsensus(stop, SimpleNamespace(num_processes=2))
    with pytest.raises(RuntimeError, match="Connection closed"):
        consensus.begin()
    stop._receive(signal.SIGTERM, None)  # noted: the guard is up before the others are waited for
    with pytest.raises(Interrupted):
        consensus.begin()

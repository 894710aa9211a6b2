"""Which examples form which step: every one once per epoch, for any number of processes, the same for all methods."""

from __future__ import annotations

import inspect
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from uora_bench.data.batching import (
    epoch_batches,
    evaluation_batches,
    evaluation_rounds,
    micro_batches,
    steps_per_epoch,
)

sizes = st.integers(1, 200)
batch_sizes = st.integers(1, 40)
windows = st.integers(0, 8)
ranks = st.integers(1, 9)
seeds = st.integers(0, 2**31)


def lengths_of(examples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 129, examples)


def padded_tokens(lengths: np.ndarray, batches: list[np.ndarray]) -> int:
    return sum(int(lengths[b].max()) * len(b) for b in batches)


@given(sizes, batch_sizes, windows, seeds, st.integers(0, 5))
def test_an_epoch_holds_every_example_once(examples: int, size: int, window: int, seed: int, epoch: int) -> None:
    batches = epoch_batches(lengths_of(examples), size, window, seed, epoch)
    assert sorted(np.concatenate(batches).tolist()) == list(range(examples))
    assert all(1 <= len(b) <= size for b in batches)


@given(sizes, batch_sizes, windows)
def test_all_batches_but_one_are_full(examples: int, size: int, window: int) -> None:
    short = [b for b in epoch_batches(lengths_of(examples), size, window, 0, 0) if len(b) < size]
    assert len(short) == (1 if examples % size else 0)


@given(sizes, batch_sizes, windows)
def test_steps_per_epoch_is_the_real_number(examples: int, size: int, window: int) -> None:
    for epoch in (0, 1):
        assert steps_per_epoch(examples, size, window) == len(
            epoch_batches(lengths_of(examples), size, window, 0, epoch)
        )
    assert steps_per_epoch(examples, size, window) == -(-examples // size)


def test_the_order_is_a_function_of_its_arguments_alone() -> None:
    assert list(inspect.signature(epoch_batches).parameters) == ["lengths", "batch_size", "window", "seed", "epoch"]
    lengths = lengths_of(100)
    first = epoch_batches(lengths, 8, 4, 7, 2)
    np.random.seed(1)  # noqa: NPY002 - another state of the global stream, as another method would leave it
    second = epoch_batches(lengths.copy(), 8, 4, 7, 2)
    assert [b.tolist() for b in first] == [b.tolist() for b in second]


def test_the_order_does_not_change_between_versions() -> None:
    batches = epoch_batches(np.arange(10), 4, 2, 0, 0)
    assert [b.tolist() for b in batches] == [[0, 2, 3, 4], [5, 6, 7, 9], [1, 8]]


@pytest.mark.parametrize("window", [0, 4])
def test_epochs_and_seeds_have_their_own_order(window: int) -> None:
    lengths = lengths_of(100)
    orders = {
        (seed, epoch): tuple(np.concatenate(epoch_batches(lengths, 8, window, seed, epoch)))
        for seed in (0, 1)
        for epoch in (0, 1)
    }
    assert len(set(orders.values())) == 4


def test_sorting_in_a_window_reduces_padding_and_a_wider_one_more() -> None:
    lengths = lengths_of(2000)
    padded = [padded_tokens(lengths, epoch_batches(lengths, 16, window, 0, 0)) for window in (0, 4, 50)]
    assert padded[0] > 1.3 * padded[1]
    assert padded[1] > 1.05 * padded[2]
    assert padded[2] < 1.05 * lengths.sum()


def test_batches_are_not_in_the_order_of_their_lengths() -> None:
    lengths = lengths_of(800)
    longest = [lengths[b].max() for b in epoch_batches(lengths, 16, 50, 0, 0)]
    rising = sum(a <= b for a, b in itertools.pairwise(longest))
    assert 0.25 < rising / (len(longest) - 1) < 0.75


@given(st.integers(1, 70), ranks, st.none() | st.integers(1, 40))
def test_the_shares_of_all_processes_are_the_batch(examples: int, processes: int, micro: int | None) -> None:
    batch = np.random.default_rng(0).permutation(1000)[:examples]
    shares = [micro_batches(batch, rank, processes, micro) for rank in range(processes)]
    real = [indices for share in shares for indices, counts in share if counts]
    assert sorted(np.concatenate(real).tolist()) == sorted(batch.tolist())


@given(st.integers(1, 70), ranks, st.none() | st.integers(1, 40))
def test_all_processes_do_the_same_number_of_forward_passes(examples: int, processes: int, micro: int | None) -> None:
    batch = np.arange(examples)
    shares = [micro_batches(batch, rank, processes, micro) for rank in range(processes)]
    assert len({len(share) for share in shares}) == 1
    largest = -(-examples // processes)
    for indices, counts in (pair for share in shares for pair in share):
        assert 1 <= len(indices) <= min(micro or largest, largest)
        assert counts or len(indices) == 1


@given(st.integers(1, 70), ranks, st.none() | st.integers(1, 40), st.integers(0, 10))
def test_the_weighted_mean_over_shares_is_the_mean_over_the_batch(
    examples: int, processes: int, micro: int | None, seed: int
) -> None:
    losses = np.random.default_rng(seed).random(1000)
    batch = np.random.default_rng(seed + 1).permutation(1000)[:examples]
    total = weight = 0.0
    for rank in range(processes):
        for indices, counts in micro_batches(batch, rank, processes, micro):
            total += losses[indices].sum() * counts
            weight += len(indices) * counts
    assert weight == examples
    assert total / weight == pytest.approx(losses[batch].mean(), rel=1e-12)


def test_a_process_without_examples_gets_one_that_counts_nothing() -> None:
    share = micro_batches(np.array([5, 6]), 3, 4, None)
    assert [(indices.tolist(), counts) for indices, counts in share] == [([5], False)]


@given(st.integers(0, 200), batch_sizes, ranks)
def test_an_evaluation_covers_every_example_once(examples: int, size: int, processes: int) -> None:
    lengths = lengths_of(examples)
    found: list[int] = []
    shares = []
    for rank in range(processes):
        batches = evaluation_batches(lengths, size, rank, processes)
        assert all(1 <= len(b) <= size for b in batches)
        shares.append(sum(map(len, batches)))
        found += [int(i) for b in batches for i in b]
    assert sorted(found) == list(range(examples))
    assert max(shares) - min(shares) <= 1


@given(st.integers(0, 200), batch_sizes, ranks, st.integers(1, 2000))
def test_a_limit_of_tokens_makes_batches_of_fewer_examples(examples: int, size: int, processes: int, most: int) -> None:
    lengths = lengths_of(examples)
    shares = [evaluation_batches(lengths, size, rank, processes, most) for rank in range(processes)]
    assert sorted(int(i) for batches in shares for b in batches for i in b) == list(range(examples))
    assert all(len(b) == 1 or (len(b) <= size and lengths[b].max() * len(b) <= most) for s in shares for b in s)
    assert evaluation_rounds(lengths, size, processes, most) == max(map(len, shares))
    for rank, batches in enumerate(shares):  # where the limit does not bind, nothing changes
        if all(len(b) == size for b in batches[:-1]):
            wide = evaluation_batches(lengths, size, rank, processes)
            assert [b.tolist() for b in batches] == [b.tolist() for b in wide]


def test_an_evaluation_starts_with_the_longest() -> None:
    lengths = lengths_of(300)
    batches = evaluation_batches(lengths, 16, 0, 2)
    longest = [int(lengths[b].max()) for b in batches]
    assert longest == sorted(longest, reverse=True)
    assert padded_tokens(lengths, batches) < 1.15 * sum(int(lengths[b].sum()) for b in batches)

"""Which examples form which optimizer step: the order of an epoch, and its shares for processes and accumulation.

Everything is a function of (lengths, batch size, window, seed, epoch), so the same for all methods, and of nothing that
a resume or another number of processes would change.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from uora_bench.util.seeds import derive

if TYPE_CHECKING:
    import numpy as np


def epoch_batches(lengths: np.ndarray, batch_size: int, window: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The global batches of ``epoch``: every example once, only the last-cut batch may be smaller.

    The examples are shuffled; inside each window of ``window`` batches they are sorted by length before being cut, so
    that a batch pads little, and the batches are then shuffled. ``window`` 0 keeps the plain shuffle.
    """
    import numpy as np

    generator = np.random.default_rng(derive(seed, "data", epoch))
    order = generator.permutation(len(lengths))
    if not window:
        return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]
    batches: list[np.ndarray] = []
    span = window * batch_size
    for start in range(0, len(order), span):
        part = order[start : start + span]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches.extend(part[i : i + batch_size] for i in range(0, len(part), batch_size))
    return [batches[i] for i in generator.permutation(len(batches))]


def steps_per_epoch(examples: int, batch_size: int, window: int) -> int:
    """How many batches `epoch_batches` makes."""
    span = window * batch_size or max(examples, 1)
    whole, rest = divmod(examples, span)
    return whole * math.ceil(span / batch_size) + math.ceil(rest / batch_size)


def micro_batches(
    batch: np.ndarray, rank: int, processes: int, micro_batch_size: int | None
) -> list[tuple[np.ndarray, bool]]:
    """The share of ``batch`` that process ``rank`` works through, as (indices, counts) pairs.

    All processes get the same number of micro-batches, since each one is a collective operation. Where a small batch
    leaves a process without examples, it gets one with ``counts`` false, whose loss is to be weighted by zero.
    """
    largest = math.ceil(len(batch) / processes)
    size = min(micro_batch_size or largest, largest)
    own = batch[rank::processes]
    shares = []
    for start in range(0, largest, size):
        share = own[start : start + size]
        shares.append((share, True) if len(share) else (batch[:1], False))
    return shares


def evaluation_rounds(lengths: np.ndarray, batch_size: int, processes: int, most_tokens: int | None = None) -> int:
    """The largest number of `evaluation_batches` that a process gets."""
    return max(len(evaluation_batches(lengths, batch_size, rank, processes, most_tokens)) for rank in range(processes))


def evaluation_batches(
    lengths: np.ndarray, batch_size: int, rank: int, processes: int, most_tokens: int | None = None
) -> list[np.ndarray]:
    """Batches of similar length for process ``rank`` of an evaluation; every example is in one process's share.

    A batch has at most ``batch_size`` examples, and so few that they times the longest of ``lengths`` among them are at
    most ``most_tokens`` (an example that is longer is alone); None: no such limit.
    """
    import numpy as np

    order = np.argsort(-lengths, kind="stable")  # the longest first: a batch that does not fit fails at once
    own = order[rank::processes]
    batches, start = [], 0
    while start < len(own):
        room = batch_size if most_tokens is None else most_tokens // max(int(lengths[own[start]]), 1)
        size = max(1, min(batch_size, room))
        batches.append(own[start : start + size])
        start += size
    return batches

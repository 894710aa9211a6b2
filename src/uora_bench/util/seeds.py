"""Seeds derived from a cell's seed by hashing named axes, and random streams apart from the training's.

Head, adapter, data order and dropout each have a seed of their own, so that two methods on one seed share the head and
the data order whatever either draws for itself: comparisons are paired. Dropout in training passes draws from torch's
global stream, and nothing else does but a method's own dropout (``method.dropout`` above 0, PEFT's dropouts): other
passes take an `own_stream`. So methods without dropout of their own share the backbone's masks at every step.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def derive(seed: int, *axes: str | int) -> int:
    """A seed in [0, 2^63) that depends on ``seed`` and on every one of ``axes``, and on nothing else."""
    text = ":".join([str(seed), *map(str, axes)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


@contextmanager
def own_stream(seed: int, device: torch.device) -> Iterator[None]:
    """Inside, torch's global streams (the CPU's and that of ``device``) begin at ``seed``.

    Afterwards they go on as if nothing had been drawn. Waits for no device.
    """
    import torch

    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield

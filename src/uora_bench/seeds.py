"""Seeds derived from a cell's seed by hashing named axes.

Every random stream (head, adapter, data order, dropout) has its own, so that two methods on one seed share the head,
the data order and the dropout stream whatever either draws for itself: comparisons are paired.
"""

from __future__ import annotations

import hashlib


def derive(seed: int, *axes: str | int) -> int:
    """A seed in [0, 2^63) that depends on ``seed`` and on every one of ``axes``, and on nothing else."""
    text = ":".join([str(seed), *map(str, axes)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

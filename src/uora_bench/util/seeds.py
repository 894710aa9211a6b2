"""Seeds derived from a cell's seed by hashing named axes.

Head, adapter, data order and dropout each have a seed of their own, so that two methods on one seed share the head and
the data order whatever either draws for itself: comparisons are paired. They share the backbone's dropout masks too, as
long as neither draws from that stream itself (``method.dropout`` above 0 does).
"""

from __future__ import annotations

import hashlib


def derive(seed: int, *axes: str | int) -> int:
    """A seed in [0, 2^63) that depends on ``seed`` and on every one of ``axes``, and on nothing else."""
    text = ":".join([str(seed), *map(str, axes)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1

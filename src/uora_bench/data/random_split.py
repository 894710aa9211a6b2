"""A seeded, stratified split of rows into train, dev and test that does not depend on their order.

Which part a row goes to follows from a hash of its content and the seed alone, so a file that was sorted, or written in
another format, is split alike. In every stratum each part has its share of the rows to within one, and rows that are
equal in content are told apart by their number only: which of them goes where makes no difference.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from math import floor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

REST = "train"


def random_split(
    contents: Sequence[str], strata: Sequence[Hashable], shares: Mapping[str, float], seed: int
) -> dict[str, np.ndarray]:
    """The row numbers (ascending) of each part: those of ``shares`` (part → share of the rows), and `REST`.

    ``contents``: the text of each row that its hash is of; ``strata``: what each row is to be balanced by. `REST` is
    given a row of every stratum, a stratum of one row included.
    """
    import numpy as np

    rows: dict[Hashable, list[tuple[bytes, int]]] = {}
    seen: Counter[tuple[Hashable, str]] = Counter()
    for number, (content, stratum) in enumerate(zip(contents, strata, strict=True)):
        copy = seen[stratum, content]
        seen[stratum, content] += 1
        digest = hashlib.sha256(f"{seed}\0{copy}\0{content}".encode("utf-8", "surrogatepass")).digest()
        rows.setdefault(stratum, []).append((digest, number))
    parts = [REST, *shares]
    whole = {REST: 1.0 - sum(shares.values()), **shares}
    owed = dict.fromkeys(parts, 0.0)  # how far a part is behind its share of all strata so far
    found: dict[str, list[int]] = {part: [] for part in parts}
    for stratum in sorted(rows, key=str):
        order = [number for _, number in sorted(rows[stratum])]
        counts = _counts(len(order), whole, owed)
        for part in parts:
            found[part] += order[: counts[part]]
            order = order[counts[part] :]
    return {part: np.array(sorted(numbers), dtype=np.int64) for part, numbers in found.items()}


def _counts(rows: int, shares: Mapping[str, float], owed: dict[str, float]) -> dict[str, int]:
    """How many of the ``rows`` of a stratum each part is given: its share, rounded down or up.

    What is left goes to `REST` where that has none yet, else to whom the most is ``owed``, which is brought up to date.
    """
    wanted = {part: share * rows for part, share in shares.items()}
    # a share of 0.1 of 30 rows is 3, whatever the last bit says
    counts = {part: floor(value + 1e-9) for part, value in wanted.items()}
    for part, value in wanted.items():
        owed[part] += value - counts[part]
    open_parts = [part for part, value in wanted.items() if value - counts[part] > 1e-9]
    for _ in range(rows - sum(counts.values())):
        needy = REST in open_parts and counts[REST] == 0
        part = REST if needy else max(open_parts, key=lambda p: owed[p])
        counts[part] += 1
        owed[part] -= 1
        open_parts.remove(part)
    return counts

"""The Pareto front: which points no other one beats."""

from __future__ import annotations

from collections.abc import Sequence


def front(points: Sequence[tuple[float, float]], higher_is_better: bool = True) -> list[int]:
    """Indices of the (cost, score) pairs that no other pair dominates, cheapest first, equal pairs in given order.

    A pair dominates another if it costs no more and scores no worse, and one of the two is better. Of equal pairs
    neither does, so all of them are on the front or none is.
    """
    sign = -1.0 if higher_is_better else 1.0
    order = sorted(range(len(points)), key=lambda i: (points[i][0], sign * points[i][1], i))
    found: list[int] = []
    for i in order:
        cost, score = points[i][0], sign * points[i][1]
        if not found or score < sign * points[found[-1]][1] or (cost, points[i][1]) == points[found[-1]]:
            found.append(i)
    return found

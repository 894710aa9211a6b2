"""Transfers between pairs of digits: real pictures that scikit-learn carries, made hard by noise. No download.

A domain is a pair (negative, positive) of digits. Its 64 pixels are standardised within the pair (constant ones become
0), multiplied by one half and padded with zeros to 400 columns; fresh N(0, I_400) is added and the 400 columns are
standardised. Pairs of digits alone are too easy: ten rows of the target would give 97.6 %. The source is all rows of
its pair, about 360; the target gives n random rows for training and the others for testing. Moments are debiased.

The five pairs of `TRANSFERS` share no digit and were picked for the alignment of their means, not for accuracy.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from uora_bench.errors import UserError
from uora_bench.theory import empirical
from uora_bench.theory.empirical import Domain, Transfer
from uora_bench.util.seeds import derive

Pair = tuple[int, int]
TRANSFERS: tuple[tuple[Pair, Pair], ...] = (
    ((1, 4), (2, 0)),
    ((3, 8), (9, 4)),
    ((1, 3), (4, 9)),
    ((6, 8), (4, 7)),
    ((3, 7), (2, 4)),
)
FEATURES = 400
SCALE = 0.5
GRID = np.round(np.arange(-4, 8 + 0.1, 0.2), 10)


@cache
def _pictures() -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits

    return load_digits(return_X_y=True)


def domain(pair: Pair, seed: int, draw: int) -> Domain:
    """The domain (rows, 400) of a pair with the noise of draw number ``draw``, the same in every transfer.

    Raises:
        UserError: unless ``pair`` is two different digits.
    """
    if len(set(pair)) != 2 or not set(pair) <= set(range(10)):
        raise UserError(f"pair={pair} is not two different digits, as (1, 4)")
    pictures, digits = _pictures()
    rows = np.isin(digits, pair)
    pixels = SCALE * empirical.standardised(pictures[rows])
    features = np.random.default_rng(derive(seed, "theory", "digits", *pair, draw)).standard_normal(
        (len(pixels), FEATURES)
    )
    features[:, : pixels.shape[1]] += pixels
    labels = np.where(digits[rows] == pair[1], 1.0, -1.0)
    return Domain(f"({pair[0]},{pair[1]})", empirical.standardised(features), labels)


def transfer(
    source: Pair,
    target: Pair,
    n: int = 20,
    gamma_pre: float = 10.0,
    gamma: float = 1.0,
    draws: int = 40,
    splits: int = 10,
    seed: int = 0,
    grid: Any = GRID,
) -> Transfer:
    """One transfer: ``draws`` draws of the noise, ``splits`` random choices of n training rows on each.

    Noise and choices depend on the seed, the draw and the pair alone: other penalties see the same data.

    Raises:
        UserError: for pairs that are none, and an n that leaves nothing to test on.
    """
    parts = []
    for draw in range(draws):
        ours, theirs = domain(source, seed, draw), domain(target, seed, draw)
        rng = np.random.default_rng(derive(seed, "theory", "digits", "splits", *target, draw))
        chosen = empirical.splits_of(theirs, n, splits, rng)
        parts.append(empirical.one_draw(ours, theirs, chosen, gamma_pre, gamma, np.asarray(grid, float), debias=True))
    return empirical.joined(parts)

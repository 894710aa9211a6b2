"""Results of one transfer between two real data sets, of `amazon` or `digits`, in the form of a record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from uora_bench.theory import amazon, digits
from uora_bench.theory.empirical import COLUMNS, Transfer
from uora_bench.theory.estimates import estimate, number
from uora_bench.theory.parameters import AmazonTransfer, DigitsTransfer, values
from uora_bench.theory.presets import TheoryCell
from uora_bench.theory.record import Results


def results_of(cell: TheoryCell, data: Mapping[str, Any]) -> Results:
    """The results of a transfer: the accuracies of `COLUMNS` and the curve of accuracy against α, each with the
    standard error over repetitions (splits of the reviews; draws of the noise of the digits). ``best``: the largest
    mean accuracy of the curve, chosen on the test rows themselves, so a bound and no method."""
    given = cell.parameters
    if isinstance(given, AmazonTransfer):
        return _results(
            amazon.transfer(
                data["domains"], given.source, given.target, given.N, given.n, given.gamma_pre, given.gamma,
                splits=cell.repetitions, seeds=[cell.seed], grid=values(given.alphas),
            ),
            by_split=True,
        )  # fmt: skip
    assert isinstance(given, DigitsTransfer)
    source, target = _pair(given.source), _pair(given.target)
    return _results(
        digits.transfer(
            source, target, given.n, given.gamma_pre, given.gamma, draws=cell.repetitions, splits=given.splits,
            seed=cell.seed, grid=values(given.alphas),
        ),
        by_split=False,
    )  # fmt: skip


def _pair(given: tuple[int, ...]) -> tuple[int, int]:
    return given[0], given[-1]


def _results(found: Transfer, by_split: bool) -> Results:
    def draws(accuracies: np.ndarray) -> np.ndarray:
        return accuracies[0] if by_split else accuracies.mean(axis=1)

    special = {
        f"{column}.optimal_alpha": float(np.mean(found.alphas[column]))
        for column in ("corrected", "released")
        if np.all(np.isfinite(found.alphas[column]))
    }
    best_alpha, best = found.best()
    facts: dict[str, float | None] = {"beta": number(np.mean(found.beta)), "best_alpha": best_alpha, "best": best}
    for column in COLUMNS:
        if column in found.theory:
            facts[f"theory.{column}"] = number(np.mean(found.theory[column]))
    measured = {column: estimate(draws(found.accuracy[column])) for column in COLUMNS}
    curve = estimate(draws(found.curve))
    return Results("alpha", tuple(float(a) for a in found.grid), {}, {"accuracy": curve}, special, facts, measured)

"""Transfers between noisy digits: the printed tables within 4 standard errors, and what the recipe promises."""

from __future__ import annotations

import re

import numpy as np
import pytest

from tests.support.theory_page import number, numbers, simulated, tables
from uora_bench.errors import UserError
from uora_bench.theory import digits, empirical
from uora_bench.theory.simulate import standard_error

ROWS = [(table, row) for table in (0, 1) for row in range(5)]
PENALTIES = (10.0, 1.0)
ERROR = 0.003  # "s.e. 0.002–0.003" of the printed accuracies
COLUMNS = {"α=0": "target_only", "α=1": "plain", "α=α*": "corrected"}


def near(values: np.ndarray, printed: float, error: float, rounding: float, what: str) -> None:
    """Per-draw means against a printed one: 4 standard errors of both, and rounding."""
    own = values if values.ndim == 1 else values.mean(axis=1)
    limit = 4 * np.hypot(standard_error(own), error) + rounding
    assert abs(own.mean() - printed) <= limit, (what, own.mean(), printed, limit)


def compare(table: int, index: int, draws: int, seed: int) -> None:
    row = tables("8.3")[table][index]
    pairs = [tuple(map(int, pair)) for pair in re.findall(r"\((\d),(\d)\)", row["source→target"])]
    assert tuple(pairs) == digits.TRANSFERS[index]
    found = digits.transfer(*digits.TRANSFERS[index], 20, PENALTIES[table], 1.0, draws, 10, seed)
    for column, name in COLUMNS.items():
        accuracy, predicted = numbers(row[column])
        near(found.accuracy[name], accuracy, ERROR, 5e-4, f"{row} {name}")
        near(found.theory[name], predicted, ERROR, 5e-4, f"{row} {name} predicted")
    near(found.accuracy["source_only"], number(row["src"]), ERROR, 5e-4, f"{row} source")
    gain = simulated(row.get("α*−α=1 (paired)") or row["α*−α=1"])
    near(found.accuracy["corrected"] - found.accuracy["plain"], gain.value, gain.error, 5e-5, f"{row} gain")
    spread = float(found.alphas["corrected"].std(ddof=1)) / np.sqrt(40)  # of the printed mean of 40 draws
    near(found.alphas["corrected"], number(row["α*"]), spread, 5e-3, f"{row} α*")
    if "β" in row:
        near(found.beta, number(row["β"]), float(found.beta.std(ddof=1)) / np.sqrt(40), 5e-3, f"{row} β")
    accuracy, at = numbers(row["best@α"])
    near(found.curve[..., found.grid.searchsorted(at - 1e-9)], accuracy, ERROR, 5e-4, f"{row} at the best α")


@pytest.mark.parametrize(("table", "index"), ROWS)
def test_the_printed_tables(table: int, index: int) -> None:
    compare(table, index, 12, 0)


@pytest.mark.slow  # as many draws as printed
@pytest.mark.parametrize(("table", "index"), ROWS)
def test_the_printed_tables_at_their_draws(table: int, index: int) -> None:
    compare(table, index, 40, 1)


def test_the_patterns_the_page_reports() -> None:
    for source, target in digits.TRANSFERS:
        found = digits.transfer(source, target, draws=15)
        means = {name: float(values.mean()) for name, values in found.accuracy.items()}
        assert means["target_only"] < means["plain"] < means["corrected"]
        assert found.best()[1] - means["corrected"] < 0.005  # the corrected α* is next to the grid's argmax
        assert abs(found.theory["corrected"].mean() - means["corrected"]) < 0.025


def test_the_released_alpha_costs_accuracy_where_the_page_says() -> None:
    found = digits.transfer((6, 8), (4, 7), draws=20)
    assert found.alphas["released"].mean() == pytest.approx(1.65, abs=0.1)
    assert found.alphas["corrected"].mean() == pytest.approx(2.82, abs=0.25)
    lost = (found.accuracy["corrected"] - found.accuracy["released"]).mean(axis=1)
    assert abs(lost.mean() - 0.008) <= 4 * standard_error(lost)
    assert lost.mean() > 0.002


def test_a_domain_is_made_as_described() -> None:
    made = digits.domain((1, 4), 0, 0)
    assert made.features.shape == (363, 400)
    np.testing.assert_allclose(made.features.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(made.features.std(axis=0), 1, rtol=1e-12)
    assert (np.sum(made.labels < 0), np.sum(made.labels > 0)) == (
        182,
        181,
    )  # ones, then fours: as scikit-learn has them
    again, other, pixels = digits.domain((1, 4), 0, 0), digits.domain((1, 4), 0, 1), digits.domain((4, 1), 0, 0)
    np.testing.assert_array_equal(made.features, again.features)
    assert np.all(np.any(made.features != other.features, axis=0))
    np.testing.assert_array_equal(made.labels, -pixels.labels)
    # the classes differ in the pixels and not in the columns of noise
    apart = np.abs(empirical.half_difference(made))
    assert np.sum(apart[:64] ** 2) > 1.3
    assert np.sum(apart[64:] ** 2) == pytest.approx(336 / 363, rel=0.25)  # what estimation makes of no difference


def test_penalties_share_the_data() -> None:
    one = digits.transfer((3, 7), (2, 4), gamma_pre=10.0, draws=2, splits=3)
    other = digits.transfer((3, 7), (2, 4), gamma_pre=1.0, draws=2, splits=3)
    np.testing.assert_array_equal(one.accuracy["target_only"], other.accuracy["target_only"])
    assert not np.array_equal(one.accuracy["plain"], other.accuracy["plain"])
    assert one.accuracy["plain"].shape == (2, 3)
    assert one.curve.shape == (2, 3, len(digits.GRID))
    zero = int(np.flatnonzero(one.grid == 0)[0])
    np.testing.assert_array_equal(one.curve[..., zero], one.accuracy["target_only"])
    again = digits.transfer((3, 7), (2, 4), draws=2, splits=3, seed=1)
    assert not np.array_equal(one.accuracy["plain"], again.accuracy["plain"])


def test_pairs_and_sizes_that_are_none() -> None:
    with pytest.raises(UserError, match="two different digits"):
        digits.transfer((1, 1), (2, 4), draws=1)
    with pytest.raises(UserError, match="two different digits"):
        digits.domain((1, 12), 0, 0)
    with pytest.raises(UserError, match="n=5000"):
        digits.transfer((1, 4), (2, 0), n=5000, draws=1)

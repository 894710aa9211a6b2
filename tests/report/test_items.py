"""Tests over items against known values and scipy's own."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from uora_bench.report.items import Crossed, crossed, mcnemar, permutation, verdict


def columns(both: int, first: int, second: int, none: int) -> tuple[np.ndarray, np.ndarray]:
    a = np.repeat([True, True, False, False], [both, first, second, none])
    b = np.repeat([True, False, True, False], [both, first, second, none])
    return a, b


@pytest.mark.parametrize(
    ("first", "second", "exact", "mid"),
    [  # worked by hand: 2 · Σ C(n, k) / 2^n, and half of the observed term on each side less
        (1, 7, 2 * (1 + 8) / 256, 2 * (1 + 8) / 256 - 8 / 256),
        (7, 1, 2 * (1 + 8) / 256, 2 * (1 + 8) / 256 - 8 / 256),
        (0, 5, 2 / 32, 1 / 32),
        (3, 3, 1.0, 1 - 20 / 64 / 2),
        (0, 0, 1.0, 1.0),
    ],
)
def test_mcnemar_has_the_values_worked_by_hand(first: int, second: int, exact: float, mid: float) -> None:
    assert mcnemar(*columns(50, first, second, 10)) == pytest.approx((exact, mid))


def test_mcnemar_of_the_textbook() -> None:
    # Agresti, Categorical Data Analysis (1990), approval ratings: 150 and 86 changed; the exact p is 3.7e-05
    exact, mid = mcnemar(*columns(794, 150, 86, 570))
    assert exact == pytest.approx(3.716e-05, rel=1e-3)
    assert mid < exact


@pytest.mark.parametrize(
    ("first", "second", "exact"),  # the exact values that statsmodels' tests of its McNemar hold it to
    [(121, 59, 4e-6), (70, 59, 0.378688), (80, 59, 0.089452), (30, 60, 0.00206), (10, 30, 0.002221), (10, 10, 1.0)],
)
def test_mcnemar_has_the_values_of_statsmodels(first: int, second: int, exact: float) -> None:
    assert mcnemar(*columns(101, first, second, 33))[0] == pytest.approx(exact, abs=5e-7)


def test_one_seed_is_the_paired_t_test_of_scipy() -> None:
    values = np.random.default_rng(1).normal(0.1, 1, (1, 40))
    found, known = crossed(values), stats.ttest_1samp(values[0], 0)
    assert found.p == pytest.approx(known.pvalue)
    interval = known.confidence_interval(0.95)
    assert (found.interval(0.95).low, found.interval(0.95).high) == pytest.approx((interval.low, interval.high))


def test_where_only_seeds_differ_it_is_the_t_test_over_seeds_and_where_only_items_differ_that_over_items() -> None:
    spread = np.random.default_rng(2).normal(0.2, 1, 6)
    over_seeds = crossed(np.repeat(spread[:, None], 50, axis=1))
    assert over_seeds.p == pytest.approx(stats.ttest_1samp(spread, 0).pvalue)
    over_items = crossed(np.repeat(spread[None], 4, axis=0))
    assert over_items.p == pytest.approx(stats.ttest_1samp(spread, 0).pvalue)
    assert crossed(np.zeros((3, 9))).p == 1.0
    assert crossed(np.ones((3, 9))).p == 0.0


def test_the_mean_squares_are_those_of_a_table_worked_by_hand() -> None:
    # rows 1 3 / 2 8: mean 3.5, MS_seed = 2 · ((2 − 3.5)² + (5 − 3.5)²) = 9, MS_item = 2 · 2 · 2² = 16, MS_rest = 4
    found = crossed(np.array([[1.0, 3.0], [2.0, 8.0]]))
    assert found.mean == 3.5
    assert found.error == pytest.approx(np.sqrt((9 + 16 - 4) / 4))
    assert found.share == pytest.approx(9 / (9 + 16))


def test_the_permutation_is_exact_for_few_items_and_close_to_mcnemar_for_many() -> None:
    few = np.array([[0.0, 1, 1, 1, -1, 0, 1, 1]])
    assert permutation(few) == pytest.approx(mcnemar(*columns(2, 5, 1, 0))[0])
    a, b = columns(300, 60, 35, 100)
    many = (a.astype(float) - b)[None]
    assert permutation(many) == pytest.approx(mcnemar(a, b)[0], abs=0.01)
    assert permutation(many) == permutation(many)
    assert permutation(np.zeros((2, 5))) == 1.0
    assert permutation(np.array([[0.0, 100.0, 0.0]])) == 1.0  # of one item no p is smaller


@pytest.mark.parametrize(("seeds", "count"), [(1, 8), (3, 9), (1, 14), (3, 277), (5, 1000)])
def test_the_permutation_has_the_p_of_scipy(seeds: int, count: int) -> None:
    draws = np.random.default_rng(count)
    values = 100.0 * (draws.random((seeds, count)) < 0.55) - 100.0 * (draws.random((seeds, count)) < 0.45)
    by_item = values.mean(axis=0)
    known = stats.permutation_test(
        (by_item[by_item != 0],), lambda x, axis: x.sum(axis=axis), permutation_type="samples", vectorized=True,
        n_resamples=9_999, rng=np.random.default_rng(7),
    )  # fmt: skip
    assert permutation(values, seed=7) == known.pvalue


def test_the_quantile_lies_between_those_of_seeds_and_items_by_their_shares() -> None:
    found = Crossed(1.0, 0.5, 0.25, 3, 100)
    expected = 0.25 * stats.t.ppf(0.975, 2) + 0.75 * stats.t.ppf(0.975, 99)
    assert found.quantile(0.975) == pytest.approx(expected)
    assert found.interval(1 - found.p).low == pytest.approx(0.0, abs=1e-9)  # p is where the interval meets zero
    assert Crossed(1e6, 0.5, 0.0, 1, 100).p > 0


def test_one_seed_of_right_and_wrong_is_the_score_test_of_tango() -> None:
    # from the likelihood: the share of items that the row alone has right is searched for, most likely if it is worse
    count, first, second, delta = 44, 3, 1, 0.1
    differences = np.zeros((1, count))
    differences[0, :first], differences[0, first : first + second] = 100.0, -100.0
    shares = np.linspace(1e-9, (1 - delta) / 2 - 1e-9, 2_000_001)
    left = 1 - 2 * shares - delta
    fit = first * np.log(shares) + second * np.log(shares + delta) + (count - first - second) * np.log(left)
    best = shares[np.argmax(fit)]
    expected = (first - second + count * delta) / np.sqrt(count * (2 * best + delta * (1 - delta)))
    found = crossed(differences, 100.0)
    assert found._score(delta) == pytest.approx(expected, rel=1e-5)
    level = 1 - stats.norm.cdf(expected)
    assert found.exceeds(-10.0, level * 1.01)
    assert not found.exceeds(-10.0, level * 0.99)


def test_rows_without_a_difference_are_not_equivalent_before_there_are_enough_items() -> None:
    for seeds in (1, 3):
        few, many = (crossed(np.zeros((seeds, count)), 100.0) for count in (50, 2000))
        assert verdict(few, 1.0, 2.0, True) == "cannot tell"
        assert verdict(many, 1.0, 2.0, True) == "equivalent within 2"
    assert verdict(crossed(np.zeros((1, 50)), 100.0), 1.0, 100.0, True) == "equivalent within 100"


@pytest.mark.parametrize("seeds", [1, 3])
@pytest.mark.parametrize(("items", "alone"), [(100, 0.01), (100, 0.08), (277, 0.01), (277, 0.08)])
def test_a_row_that_is_worse_by_the_margin_passes_in_one_of_twenty_at_most(
    seeds: int, items: int, alone: float
) -> None:
    draws, hits, count = np.random.default_rng(items), 0, 2000
    for _ in range(count):  # the plain interval lets 9.6 % pass at 100 items and 1 %
        sort = draws.random((1, items))
        differences = (sort < alone).astype(float) - (sort > 1 - alone - 0.02)
        hits += crossed(np.repeat(differences, seeds, axis=0), 1.0).exceeds(-0.02, 0.05)
    assert hits / count < 0.05 + 2 * np.sqrt(0.05 * 0.95 / count)


def test_mirrored_is_the_other_row_first() -> None:
    values = 100.0 * (np.random.default_rng(3).random((3, 40)) < 0.2)
    one, other = crossed(values, 100.0).mirrored, crossed(-values, 100.0)
    assert one.mean == other.mean
    for bound in (-8.0, -16.0, -24.0, -32.0):
        assert one.exceeds(bound, 0.05) == other.exceeds(bound, 0.05)
    assert [one.exceeds(bound, 0.05) for bound in (-8.0, -32.0)] == [False, True]


def test_with_three_seeds_that_spread_it_rejects_no_more_than_one_in_twenty() -> None:
    draws = np.random.default_rng(4)  # 1,000 items, seeds twice as far apart as items explain: the hardest setting
    hits = [crossed(draws.normal(0, 0.03, (3, 1)) + draws.normal(0, 0.5, (3, 1000))).p <= 0.05 for _ in range(600)]
    assert np.mean(hits) < 0.065


@pytest.mark.parametrize(
    ("mean", "p", "margin", "expected"),
    [
        (0.0, 0.9, 1.0, "equivalent within 1"), (0.3, 0.01, 1.0, "equivalent within 1"),
        (0.9, 0.2, 1.0, "not inferior within 1"),
        (2.0, 0.01, 1.0, "better"), (-2.0, 0.01, 1.0, "worse"), (-0.9, 0.2, 1.0, "cannot tell"),
        (0.0, 0.9, None, "cannot tell"), (2.0, 0.01, None, "better"),
    ],
)  # fmt: skip
def test_the_five_verdicts(mean: float, p: float, margin: float | None, expected: str) -> None:
    found = Crossed(mean, 0.3, 0.0, 3, 100)
    assert verdict(found, p, margin, True) == expected
    assert verdict(Crossed(-mean, 0.3, 0.0, 3, 100), p, margin, False) == expected

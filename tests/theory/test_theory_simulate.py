"""The simulation against the printed one (within 4 standard errors), against refitting, and against the formulas."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp, kstest

from tests.support.scripts import script
from tests.support.theory_page import Printed, number, section, simulated, tables
from tests.support.theory_settings import NAMES, alphas_of, arbitrary, setting_of
from uora_bench.errors import UserError
from uora_bench.theory import classification, regression, ridge
from uora_bench.theory import simulate as simulation
from uora_bench.theory.classification import Source
from uora_bench.theory.settings import Setting

PLAIN = script("bench_theory")  # the plain ways, which the bench measures
SMALL = Setting(60, 12, 30, 1.0, 0.8, 0.6, 0.5, 0.7)


def agrees(values: np.ndarray, printed: Printed, what: str) -> None:
    """The mean of ``values`` is within 4 standard errors, both simulations' combined, of the printed one."""
    error = np.hypot(simulation.standard_error(values), printed.error)
    assert abs(values.mean() - printed.value) <= 4 * error + printed.rounding, (what, values.mean(), error, printed)


def compare(name: str, repetitions: int, seed: int, draw: simulation.Draw = simulation.law) -> None:
    rows, alphas = alphas_of(name)
    setting = setting_of(name)
    found = simulation.simulate(setting, alphas, repetitions, seed, draw=draw)
    for i, row in enumerate(rows):
        agrees(found.accuracy[:, i], simulated(row["accuracy, simulated"]), f"{name} accuracy {row['α']}")
        agrees(found.mean[:, i], simulated(row["m simulated"]), f"{name} m {row['α']}")
        agrees(found.second_moment[:, i], simulated(row["ν simulated"]), f"{name} ν {row['α']}")
        error = simulation.standard_error(found.accuracy[:, i])
        assert abs(found.accuracy[:, i].mean() - number(row["accuracy, theory"])) <= 4 * error + 0.002
    (row,) = [row for row in tables("4.3")[0] if row["id"] == name]
    agrees(found.source_mean / setting.beta, simulated(row["m̃ simulated"]), f"{name} m̃")
    agrees(found.source_norm2, simulated(row["W simulated"]), f"{name} W")
    alone = number(row["source-only accuracy Φ(βm̃/√W)"])
    assert abs(found.source_accuracy.mean() - alone) <= 4 * simulation.standard_error(found.source_accuracy) + 0.002


@pytest.mark.parametrize("name", NAMES)
def test_the_printed_simulations(name: str) -> None:
    compare(name, 150, 1)


@pytest.mark.slow  # a minute: as many repetitions as printed
@pytest.mark.parametrize("name", NAMES)
def test_the_printed_simulations_at_their_repetitions(name: str) -> None:
    (row,) = [row for row in tables("4.1")[0] if row["id"] == name]
    compare(name, int(number(row["reps"])), 2)


@pytest.mark.slow  # source sets drawn as data: N × p normals each
@pytest.mark.parametrize("name", ["O2", "O9", "O12", "O14", "O15"])
def test_the_printed_simulations_with_drawn_source_sets(name: str) -> None:
    compare(name, 60, 3, draw=PLAIN.data)


@pytest.mark.parametrize("index", range(5))
def test_printed_simulations_with_arbitrary_sources(index: int) -> None:
    row = tables("4.4")[0][index]
    setting, source = arbitrary(row)
    columns = {"acc α=0": 0.0, "acc α=1": 1.0, "acc α*": classification.optimal_alpha(setting, source)}
    found = simulation.simulate(setting, list(columns.values()), 80, 5, source)
    for i, column in enumerate(columns):
        agrees(found.accuracy[:, i], simulated(row[column]), column)
    np.testing.assert_allclose(found.source_norm2, source.W)
    np.testing.assert_allclose(found.source_accuracy, number(row["source alone"]), atol=5.1e-5)


def test_the_printed_sweep_over_gamma() -> None:
    printed = {
        1e-6: (0.8257, 0.0008), 1e-3: (0.8262, 0.0008), 0.1: (0.8548, 0.0006),
        1.0: (0.8900, 0.0003), 10.0: (0.8221, 0.0004), 1000.0: (0.6164, 0.0008),
    }  # fmt: skip
    for gamma, (value, error) in printed.items():
        found = simulation.simulate(Setting(1000, 200, 100, 1, 1.5, 0.3, 1, gamma), 0.5, 200, 7)
        agrees(found.accuracy[:, 0], Printed(value, error), f"γ={gamma}")


def test_the_printed_risks_of_target_only_training() -> None:
    printed = {
        (1000, 100, 100, 0.01): (1.9980, 0.0239), (1000, 50, 100, 0.1): (0.7080, 0.0043),
        (5000, 500, 100, 1): (0.4278, 0.0004),
    }  # fmt: skip
    for (N, n, p, gamma), (value, error) in printed.items():
        found = simulation.simulate(Setting(N, n, p, 1.5, 1, 0.8, 1, gamma), 0, 150, 8)
        agrees(found.second_moment[:, 0] + 1 - 2 * found.mean[:, 0], Printed(value, error), f"{N}, {n}, {p}, {gamma}")


FINITE = {50: [(0.6578, 5), (0.7094, 3), (0.7105, 3)], 100: [(0.6609, 4), (0.7099, 3), (0.7112, 3)],
          200: [(0.6596, 5), (0.7094, 3), (0.7106, 3)], 400: [(0.6612, 5), (0.7097, 4), (0.7111, 4)],
          800: [(0.6594, 6), (0.7092, 4), (0.7104, 4)]}  # fmt: skip


@pytest.mark.parametrize("p", FINITE)
def test_printed_finite_sizes(p: int) -> None:
    setting = Setting(p, p // 4, p, 1, 1, 0.8, 0.5, 1)
    best = classification.optimal_alpha(setting, classification.ridge_source(setting))
    found = simulation.simulate(setting, [0, 1, best], 400 if p < 400 else 30, 9)
    for i, (value, error) in enumerate(FINITE[p]):
        agrees(found.accuracy[:, i], Printed(value, error * 1e-4), f"p={p} column {i}")


def counted(accuracy: np.ndarray, points: int) -> np.ndarray:
    """Accuracies as counted on ``points`` fresh test points each."""
    return np.random.default_rng(1).binomial(points, accuracy) / points


def test_folding_as_printed() -> None:
    assert "averages 0.5193 ± 0.0010 instead of\n0.5004 ± 0.0017 (unfolded)" in section("4.6")
    setting = setting_of("O5")
    worst = classification.worst_alpha(setting, classification.ridge_source(setting))
    found = simulation.simulate(setting, [worst, 1], 400, 10)
    points = 20 * int(setting.n)
    plain = counted(found.accuracy[:, 0], points)
    folded = np.maximum(plain, 1 - plain)  # as the released code reports it
    agrees(plain, Printed(0.5004, 0.0017), "unfolded")
    agrees(folded, Printed(0.5193, 0.0010), "folded")
    assert folded.min() >= 0.5
    spread = plain.std()
    assert found.accuracy[:, 0].std() == pytest.approx(0.014, abs=0.002)
    assert spread == pytest.approx(0.024, abs=0.002)


@pytest.mark.parametrize("beta", [-2.0, 0.5, 2.0])
@pytest.mark.parametrize(("n", "p", "d"), [(20, 40, 10), (20, 200, 4)])
def test_regression_risks(n: int, p: int, d: int, beta: float) -> None:
    source, target = regression.matrices(d, p, beta, 123)
    alphas = [-4, -1, 0, 1, beta]
    found = regression.simulate_regression(source, target, alphas, n, 0.01, 0.5, 200, 11)
    expected = regression.risk(source, target, alphas, n, 0.01, 0.5)
    error = simulation.standard_error(found)
    np.testing.assert_array_less(np.abs(found.mean(axis=0) - expected), 4 * error + 0.007 * expected)  # as printed
    assert np.argmin(expected) == 4


def test_a_regression_risk_is_that_of_a_fresh_point() -> None:
    source, target = regression.matrices(3, 8, 0.5, 1)
    (found,) = regression.simulate_regression(source, target, [0.7], 20, 0.1, 0.5, 1, 4)
    ((points, targets),) = regression._draws(source, target, 20, 0.5, 1, 4)
    resolvent = np.linalg.inv(points[0].T @ points[0] / 20 + 0.1 * np.eye(8))
    fitted = targets[0].T @ points[0] @ resolvent / 20 + 0.7 * 0.1 * source @ resolvent
    assert found[0] == pytest.approx(np.sum((target - fitted) ** 2) + 0.25 * 3, rel=1e-12)


@given(
    n=st.integers(1, 25), p=st.integers(3, 25), N=st.integers(1, 40), gamma=st.floats(0.01, 20),
    gamma_pre=st.floats(0.01, 20), beta=st.floats(-0.95, 0.95), mu=st.floats(0.1, 3), seed=st.integers(0, 99),
    fixed=st.booleans(),
)  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_two_solves_equal_refitting(
    n: int, p: int, N: int, gamma: float, gamma_pre: float, beta: float, mu: float, seed: int, fixed: bool
) -> None:
    setting = Setting(N, n, p, mu, 0.7, beta, gamma_pre, gamma)
    source = Source(0.3 * mu, 2.0 * mu**2) if fixed else None
    alphas = [-3.0, 0.0, 1.0, 7.5]
    quick = simulation.simulate(setting, alphas, 2, seed, source)
    for smaller in (False, True):
        plain = PLAIN.refit(setting, alphas, 2, seed, source, smaller=smaller)
        for name in ("accuracy", "mean", "second_moment", "source_accuracy", "source_mean", "source_norm2"):
            ours, theirs = getattr(quick, name), getattr(plain, name)
            np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-10 * np.abs(theirs).max(), err_msg=name)


@given(m=st.integers(1, 30), p=st.integers(1, 30), outputs=st.integers(1, 3), gamma=st.floats(1e-3, 100))
@settings(max_examples=60, deadline=None)
def test_the_adapter_is_the_definition_on_both_sides_of_square(m: int, p: int, outputs: int, gamma: float) -> None:
    rng = np.random.default_rng(m * 31 + p)
    points, targets = rng.standard_normal((2, m, p)), rng.standard_normal((2, m, outputs))
    source = rng.standard_normal((2, p, outputs))
    base, pull = ridge.adapter(points, targets, source, gamma)
    for i in range(2):
        resolvent = np.linalg.inv(points[i].T @ points[i] / m + gamma * np.eye(p))
        np.testing.assert_allclose(base[i], resolvent @ points[i].T @ targets[i] / m, atol=1e-9, rtol=1e-9)
        np.testing.assert_allclose(pull[i], gamma * resolvent @ source[i], atol=1e-9, rtol=1e-9)
        one = PLAIN.refitted(points[i], targets[i], source[i], gamma, 1.7)
        np.testing.assert_allclose(base[i] + 1.7 * pull[i], one, atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize(("m", "p"), [(7, 30), (30, 7)])
def test_one_system_of_the_smaller_size_for_all_alphas(m: int, p: int, monkeypatch: pytest.MonkeyPatch) -> None:
    solved: list[tuple[int, ...]] = []
    solve = np.linalg.solve
    monkeypatch.setattr(np.linalg, "solve", lambda a, b: solved.append(a.shape) or solve(a, b))
    simulation.simulate(Setting(60, m, p, 1.0, 0.8, 0.6, 0.5, 0.7), np.linspace(-9, 9, 50), 5, 0)
    assert solved == [(5, 7, 7)]


def test_scikit_learns_ridge_is_the_same_estimator() -> None:
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(0)
    points, labels, source = rng.standard_normal((20, 50)), rng.choice([-1.0, 1.0], 20), rng.standard_normal(50)
    base, pull = ridge.adapter(points, labels[:, None], source[:, None], 0.3)
    theirs = Ridge(alpha=20 * 0.3, fit_intercept=False).fit(points, labels - 2.5 * points @ source).coef_
    np.testing.assert_allclose((base + 2.5 * pull)[:, 0], theirs + 2.5 * source, atol=1e-12)


# points under, at and over the features, a single source point, few features: every shape of the bidiagonal matrix
@pytest.mark.parametrize(("N", "p"), [(30, 20), (21, 20), (20, 20), (19, 20), (10, 30), (2, 5), (1, 5), (50, 2)])
def test_the_source_drawn_by_law_is_the_source_drawn_as_data(N: int, p: int) -> None:
    setting = Setting(N, 8, p, 1.0, 0.7, 0.6, 0.3, 0.5)
    law = simulation.simulate(setting, [0.5, 2.0], 2000, 1)
    data = simulation.simulate(setting, [0.5, 2.0], 2000, 1, draw=PLAIN.data)
    for values in ("source_mean", "source_norm2", "source_accuracy", "accuracy"):
        one, other = np.atleast_2d(getattr(law, values).T), np.atleast_2d(getattr(data, values).T)
        for a, b in zip(one, other, strict=True):
            assert ks_2samp(a, b).pvalue > 1e-3, values


def test_the_law_is_not_one_that_only_looks_alike() -> None:
    # the check above can fail: four source points more than twenty show
    few = simulation.simulate(Setting(20, 8, 20, 1.0, 0.7, 0.6, 0.3, 0.5), 1, 2000, 1)
    more = simulation.simulate(Setting(24, 8, 20, 1.0, 0.7, 0.6, 0.3, 0.5), 1, 2000, 2, draw=PLAIN.data)
    assert ks_2samp(few.source_norm2, more.source_norm2).pvalue < 1e-3


def test_a_longer_run_begins_with_the_shorter_one(monkeypatch: pytest.MonkeyPatch) -> None:
    long = simulation.simulate(SMALL, [0, 1], 12, 4)
    monkeypatch.setattr(simulation, "_CHUNK", 5 * 12 * 30)  # other batches
    short = simulation.simulate(SMALL, [0, 1], 7, 4)
    np.testing.assert_allclose(long.accuracy[:7], short.accuracy, rtol=1e-12)
    assert len(np.unique(long.accuracy[:, 0])) == 12
    assert not np.array_equal(simulation.simulate(SMALL, [0, 1], 7, 5).accuracy, short.accuracy)


def test_alpha_zero_does_not_see_the_source() -> None:
    one = simulation.simulate(SMALL, [0, 1], 5, 4)
    other = simulation.simulate(replace(SMALL, gamma_pre=9.0), [0, 1], 5, 4)
    np.testing.assert_array_equal(one.accuracy[:, 0], other.accuracy[:, 0])
    assert np.all(one.accuracy[:, 1] != other.accuracy[:, 1])


def test_decision_values_follow_the_normal_law_of_the_formulas() -> None:
    setting = setting_of("O8")
    labels, values = simulation.decision_values(setting, [0.1, 1, 10], 4000, 3)
    assert (labels.sum(), values.shape) == (0, (3, 4000))
    source = classification.ridge_source(setting)
    mean, second = classification.moments(setting, source, [0.1, 1, 10])
    for row, m, nu in zip(values, mean, second, strict=True):
        standard = (labels * row - m) / np.sqrt(nu - m**2)
        # one draw of the training sets moves m and σ a little from their limits: far less than a wrong formula would
        assert abs(standard.mean()) < 0.12
        assert abs(standard.std() - 1) < 0.12
        assert kstest((standard - standard.mean()) / standard.std(), "norm").pvalue > 1e-3
    hits = np.mean(values * labels > 0, axis=1)
    np.testing.assert_allclose(hits, classification.accuracy(setting, source, [0.1, 1, 10]), atol=0.03)


def test_a_given_norm_is_the_one_simulated() -> None:
    setting = Setting.from_moments(60, 12, 30, 1.0, 0.6, 1.9, 0.5, 0.7)
    target = simulation.target_mean(setting)
    assert target @ target == pytest.approx(1.9)
    assert target[0] == pytest.approx(0.6)
    fixed = simulation.simulate(setting, 1, 1, 0, Source(-0.4, 1.3))
    assert (fixed.source_mean[0], fixed.source_norm2[0]) == (pytest.approx(-0.4), pytest.approx(1.3))


@pytest.mark.parametrize(
    ("change", "call", "words"),
    [
        ({}, {"repetitions": 0}, "repetitions=0"),
        ({"gamma": np.array([1.0, 2.0])}, {}, "numbers, not arrays"),
        ({"target_norm2_override": 0.1}, {}, "no vector μ_β"),
        ({}, {"source": Source(2.0, 0.1)}, "no source vector"),
    ],
)
def test_what_cannot_be_simulated(change: dict[str, Any], call: dict[str, Any], words: str) -> None:
    given = {"repetitions": 2, "seed": 0, **call}
    with pytest.raises(UserError, match=words):
        simulation.simulate(replace(SMALL, **change), [0, 1], **given)

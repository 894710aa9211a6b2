"""Every printed row of the theory page against the formulas: to the printed digits plus 1e-6."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.special import ndtr

from tests.support.theory_page import number, numbers, section, tables
from tests.support.theory_settings import FOUR, NAMES, alphas_of, arbitrary, row_of, setting_of
from uora_bench.theory import classification, equivalents, regression
from uora_bench.theory.classification import Source
from uora_bench.theory.settings import Setting

SIX = 5e-7 + 1e-6  # six printed decimals, and the tolerance


def test_the_page_has_the_rows_these_tests_are_about() -> None:
    assert [row["id"] for row in tables("4.1")[0]] == NAMES
    assert [row["id"] for row in tables("4.2")[0]] == [name for name in NAMES for _ in range(4)]
    assert [row["id"] for row in tables("4.3")[0]] == NAMES
    assert len(tables("4.4")[0]) == 5


def test_check_values_of_the_fixed_point() -> None:
    printed = {
        (25, 0.1): 240.04148663,
        (10, 1): 9.09901951,
        (2, 1): 1.41421356,
        (0.2, 5): 0.03351447,
        (4, 1): 3.23606798,
    }
    for (ratio, gamma), value in printed.items():
        assert equivalents.delta(ratio, gamma) == pytest.approx(value, abs=1e-8, rel=0)
    c = equivalents.constants(25, 0.1, 0.64)
    assert (c.k, c.h) == (pytest.approx(24.10414866, abs=1e-8), pytest.approx(0.96033120, abs=1e-8))


@pytest.mark.parametrize("name", NAMES)
def test_optimal_and_worst_alpha(name: str) -> None:
    row, setting = row_of(name), setting_of(name)
    right = classification.ridge_source(setting)
    released = classification.ridge_source(setting, "released")
    assert classification.worst_alpha(setting, right) == pytest.approx(number(row["ᾱ"]), abs=SIX, rel=0)
    assert classification.worst_alpha(setting, released) == classification.worst_alpha(setting, right)
    assert classification.optimal_alpha(setting, right) == pytest.approx(number(row["α* (correct)"]), abs=SIX, rel=0)
    assert classification.optimal_alpha(setting, released) == pytest.approx(number(row["α* (code)"]), abs=SIX, rel=0)


@pytest.mark.parametrize("name", NAMES)
def test_accuracy_mean_and_second_moment(name: str) -> None:
    setting = setting_of(name)
    rows, alphas = alphas_of(name)
    source = classification.ridge_source(setting)
    mean, second = classification.moments(setting, source, alphas)
    hits = classification.accuracy(setting, source, alphas)
    for found, column in ((hits, "accuracy, theory"), (mean, "m theory"), (second, "ν theory")):
        np.testing.assert_allclose(found, [number(row[column]) for row in rows], atol=SIX, rtol=0)


@pytest.mark.parametrize("name", NAMES)
def test_the_released_codes_accuracy(name: str) -> None:
    setting = setting_of(name)
    rows, alphas = alphas_of(name)
    found = classification.accuracy(setting, classification.ridge_source(setting, "released"), alphas)
    words = [row["accuracy, code formula"] for row in rows]
    printed = [np.nan if word == "NaN" else number(word) for word in words]
    np.testing.assert_allclose(found, printed, atol=FOUR, rtol=0)  # NaN must be NaN


@pytest.mark.parametrize("name", NAMES)
def test_the_source_vector(name: str) -> None:
    (row,) = [row for row in tables("4.3")[0] if row["id"] == name]
    setting = setting_of(name)
    source = classification.ridge_source(setting)
    found = {
        "m̃ theory": classification.source_mean(setting),
        "W correct": source.W,
        "W implied by code's T_3": classification.ridge_source(setting, "released").W,
        "source-only accuracy Φ(βm̃/√W)": classification.source_accuracy(source),
    }
    for column, value in found.items():
        assert value == pytest.approx(number(row[column]), abs=SIX, rel=0), column


@pytest.mark.parametrize("index", range(5))
def test_arbitrary_sources(index: int) -> None:
    row = tables("4.4")[0][index]
    setting, source = arbitrary(row)
    best = classification.optimal_alpha(setting, source)
    found: dict[str, Any] = {
        "α*": best,
        "ᾱ": classification.worst_alpha(setting, source),
        "acc α=0": classification.accuracy(setting, source, 0),
        "acc α=1": classification.accuracy(setting, source, 1),
        "acc α*": classification.accuracy(setting, source, best),
        "source alone": classification.source_accuracy(source),
    }
    for column, value in found.items():
        assert value == pytest.approx(number(row[column]), abs=FOUR, rel=0), column


def test_the_arbitrary_source_curves() -> None:
    curves = tables("3.7")[0]
    assert len(curves) == 4
    for row in curves:
        eta, *printed = (number(cell) for cell in row.values())
        setting = Setting.from_moments(2000, 200, 200 * eta, 1.0, 1.0, 1.0, 1.0, 1.0)
        found = classification.optimal_alpha(setting, Source(np.array([0.25, 0.5, 0.75, 1.0]), 1.0))
        np.testing.assert_allclose(found, printed, atol=SIX, rtol=0)


def test_the_ridge_source_curves_in_both_variants() -> None:
    curves = tables("3.7")[1]
    assert len(curves) == 4
    for row in curves:
        eta, *pairs = (numbers(cell) for cell in row.values())
        setting = Setting(2000, 200, 200 * eta[0], 1, 1, np.array([0.25, 0.5, 0.75, 1.0]), 1, 1)
        for column, variant in enumerate(classification.VARIANTS):
            found = classification.optimal_alpha(setting, classification.ridge_source(setting, variant))
            np.testing.assert_allclose(found, [pair[column] for pair in pairs], atol=FOUR, rtol=0)


def test_the_sweep_over_gamma() -> None:
    words = "γ=" + section("4.5").split("theory / simulated:\n", 1)[1].split("(p = 100", 1)[0]
    rows = [numbers(part)[:2] for part in words.replace("γ=γ=", "γ=").replace(";\n", "; ").split("; ")]
    assert [row[0] for row in rows] == [1e-6, 1e-3, 0.1, 1, 10, 1000]
    setting = Setting(1000, 200, 100, 1, 1.5, 0.3, 1, np.array([row[0] for row in rows]))
    found = classification.accuracy(setting, classification.ridge_source(setting), 0.5)
    np.testing.assert_allclose(found, [row[1] for row in rows], atol=FOUR, rtol=0)


RISKS = [((1000, 100, 100, 0.01), 1.9756), ((1000, 50, 100, 0.1), 0.7126), ((5000, 500, 100, 1), 0.4279)]


@pytest.mark.parametrize(("sizes", "printed"), RISKS)
def test_the_risk_of_target_only_training(sizes: tuple[float, ...], printed: float) -> None:
    N, n, p, gamma = sizes
    assert f"({N},{n},{p},{gamma}) {printed}" in section("4.5")
    setting = Setting(N, n, p, 1.5, 1, 0.8, 1, gamma)
    found = classification.risk(setting, classification.ridge_source(setting), 0)
    assert found == pytest.approx(printed, abs=FOUR, rel=0)


@pytest.mark.parametrize("p", [50, 100, 200, 400, 800])
def test_fixed_ratios_have_one_limit(p: int) -> None:
    assert "theory for p ≥ 100: 0.6603 at α=0, 0.7094 at α=1, 0.7107 at α*=0.7808" in section("4.6")
    setting = Setting(p, p // 4, p, 1, 1, 0.8, 0.5, 1)  # p=50: n=12, which is not a quarter
    source = classification.ridge_source(setting)
    best = classification.optimal_alpha(setting, source)
    found = [*classification.accuracy(setting, source, [0, 1, best]), best]
    printed = [0.6603, 0.7094, 0.7107, 0.7808]
    if p == 50:
        found, printed = found[:3], [0.6581, 0.7087, 0.7100]
    np.testing.assert_allclose(found, printed, atol=FOUR, rtol=0)


def test_the_source_alone_and_the_limit_of_much_penalty() -> None:
    assert "source-only 0.6831, α* at γ=1 0.6813, at γ=10 0.6864, γ→∞ 0.6885" in section("3.5")
    setting = Setting(5000, 40, 400, 1, 0.7, 0.5, 1, np.array([1, 10, 1e7]))
    source = classification.ridge_source(setting)
    np.testing.assert_allclose(classification.best_accuracy(setting, source), [0.6813, 0.6864, 0.6885], atol=FOUR)
    assert classification.source_accuracy(source) == pytest.approx(0.6831, abs=FOUR)
    assert classification.source_accuracy(source) > classification.best_accuracy(setting, source)[0]


def test_the_annotations_of_figure_1_are_the_released_formulas() -> None:
    assert "α* = 1.64, 4.13, 7.53; ᾱ = −1.41, −0.56, −0.31" in section("5.")
    setting = Setting(5000, 40, 1000, 0.8, 0.8, np.array([0.2, 0.5, 0.9]), 5, 0.1)
    released = classification.ridge_source(setting, "released")
    np.testing.assert_allclose(classification.optimal_alpha(setting, released), [1.64, 4.13, 7.53], atol=0.005)
    np.testing.assert_allclose(classification.worst_alpha(setting, released), [-1.41, -0.56, -0.31], atol=0.005)


def test_the_codes_own_second_moment_of_the_source_is_the_corrected_one() -> None:
    # the page says so: mean² + W is what the ridge source gives on a fresh source point, and so its accuracy there
    setting = setting_of("O14")
    source = classification.ridge_source(setting)
    own = Setting(setting.n, setting.N, setting.p, 1, 0, 1, 1, setting.gamma_pre, setting.mu**2)  # trained as a target
    mean, second = classification.moments(own, Source(0.0, 0.0), 0)
    assert mean == pytest.approx(classification.source_mean(setting), rel=1e-12)
    assert second - mean**2 == pytest.approx(source.W, rel=1e-12)
    assert ndtr(mean / np.sqrt(source.W)) == pytest.approx(classification.accuracy(own, Source(0.0, 0.0), 0))


def test_regression_has_its_optimum_at_the_alignment() -> None:
    for beta in (-2.0, 0.5, 2.0):
        source, target = regression.matrices(10, 40, beta, 123)
        assert regression.optimal_alpha(source, target) == pytest.approx(beta, rel=1e-12)

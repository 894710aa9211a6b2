"""What must hold for every setting: identities between the forms, optimality of α*, and where the variants part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.special import ndtr

from uora_bench.errors import UserError
from uora_bench.theory import classification as theory
from uora_bench.theory import equivalents, regression
from uora_bench.theory.classification import Source
from uora_bench.theory.settings import Setting

ALPHAS = np.linspace(-12, 12, 97)
positive = st.floats(0.01, 50)
# products of numbers that are smaller still lose their digits
share = st.floats(-1, 1).map(lambda value: value if abs(value) > 1e-100 else 0.0)


@st.composite
def any_setting(draw: st.DrawFn) -> Setting:
    return Setting(
        draw(st.integers(5, 5000)), draw(st.integers(5, 500)), draw(st.integers(2, 1000)),
        draw(st.floats(0.1, 3)), draw(st.floats(0.1, 3)), draw(share), draw(positive), draw(positive),
    )  # fmt: skip


@st.composite
def any_source(draw: st.DrawFn, setting: Setting) -> Source:
    """The ridge source, or any vector's s and W."""
    if draw(st.booleans()):
        return theory.ridge_source(setting)
    length, cosine = draw(st.floats(0.05, 5)), draw(share)
    return Source(cosine * length * np.sqrt(setting.target_norm2), length**2)


@st.composite
def both(draw: st.DrawFn) -> tuple[Setting, Source]:
    setting = draw(any_setting())
    return setting, draw(any_source(setting))


@given(ratio=st.floats(1e-4, 1e4), gamma=st.floats(1e-8, 1e6))
def test_delta_solves_its_equation(ratio: float, gamma: float) -> None:
    d = equivalents.delta(ratio, gamma)
    assert d > 0
    assert d == pytest.approx(ratio / (gamma + 1 / (1 + d)), rel=1e-9)
    assert gamma * d**2 + (1 + gamma) * d == pytest.approx(ratio * (1 + d), rel=1e-9)


@given(ratio=st.floats(1e-3, 1e3), gamma=st.floats(1e-6, 1e4))
def test_the_other_constants(ratio: float, gamma: float) -> None:
    c = equivalents.constants(ratio, gamma, 2.0)
    assert 0 < c.h < 1
    assert c.lam == pytest.approx(2 + 1 + c.k)
    assert c.kappa == pytest.approx(ratio * (1 + c.delta) / c.delta, rel=1e-8)  # a consequence of δ's equation


def second_moment_terms(setting: Setting, source: Source) -> tuple[Any, Any, Any]:
    """(T_1, T_2, T_3) of ν = T_1 + αT_2 + α²T_3: the published long form of the same second moment.

    The released code's slip sits in W alone (`ridge_source`), which enters T_3 alone.
    """
    c, norm2 = equivalents.of_target(setting), setting.target_norm2
    s, k, lam, h = source.s, c.k, c.lam, c.h
    first = norm2 / (h * lam) * ((norm2 + 1) / lam - 2 * (1 - h)) + (1 - h) / h
    second = 2 * k * s / (h * lam) * ((norm2 + 1) / lam - (1 - h))
    third = k**2 / h * ((s / lam) ** 2 + (1 - h) / c.eta * (source.W + s**2 / lam * (norm2 / lam - 2)))
    return first, second, third


@given(both())
def test_the_compact_form_is_the_long_form(case: tuple[Setting, Source]) -> None:
    setting, source = case
    first, second, third = second_moment_terms(setting, source)
    _, found = theory.moments(setting, source, ALPHAS)
    scale = first + np.abs(ALPHAS * second) + ALPHAS**2 * abs(third)
    assert np.all(np.abs(found - (first + ALPHAS * second + ALPHAS**2 * third)) <= 1e-9 * scale)


@given(both())
def test_optimal_alpha_from_the_long_form(case: tuple[Setting, Source]) -> None:
    setting, source = case
    c, norm2 = equivalents.of_target(setting), setting.target_norm2
    first, second, third = second_moment_terms(setting, source)
    c0, c1 = norm2 / c.lam, c.k * source.s / c.lam
    found = theory.optimal_alpha(setting, source)
    # (c_0T_2 − 2c_1T_1)/(c_1T_2 − 2c_0T_3), compared without its division, which loses digits
    terms = (c0 * second, -2 * c1 * first, -found * c1 * second, 2 * found * c0 * third)
    assert abs(sum(terms)) <= 1e-8 * sum(map(abs, terms))
    # and the released code's form for arbitrary sources
    bracket = c.lam * norm2 * source.W - (c.lam - c.eta) * source.s**2
    scale = c.lam * norm2 * source.W + abs(c.lam - c.eta) * source.s**2
    assert found * c.k * bracket == pytest.approx(
        c.eta * c.kappa * source.s, rel=1e-8, abs=abs(found) * c.k * scale * 1e-9
    )


@given(both())
def test_no_alpha_beats_the_optimal_one(case: tuple[Setting, Source]) -> None:
    setting, source = case
    best = theory.optimal_alpha(setting, source)
    top = theory.accuracy(setting, source, best)
    around = best + np.concatenate([ALPHAS, ALPHAS * 1e-2, ALPHAS * abs(best)])
    assert np.all(theory.accuracy(setting, source, around) <= top + 1e-12)
    assert top == pytest.approx(theory.best_accuracy(setting, source), abs=1e-9)
    assert np.sign(best) == np.sign(source.s)


@given(both())
def test_the_worst_alpha_is_chance_and_the_sign_turns_there(case: tuple[Setting, Source]) -> None:
    setting, source = case
    worst = theory.worst_alpha(setting, source)
    assume(abs(source.s) >= 1e-9)
    assert theory.moments(setting, source, worst)[0] == pytest.approx(0, abs=1e-12)
    assert theory.accuracy(setting, source, worst) == pytest.approx(0.5, abs=1e-9)
    assert theory.accuracy(setting, source, 2 * worst) < 0.5 < theory.accuracy(setting, source, worst / 2)


@given(both(), st.floats(1.1, 100))
def test_with_alpha_tuned_more_penalty_is_never_worse(case: tuple[Setting, Source], factor: float) -> None:
    setting, source = case
    more = replace(setting, gamma=setting.gamma * factor)
    assert theory.best_accuracy(more, source) >= theory.best_accuracy(setting, source) - 1e-12


@given(both())
def test_risk_is_the_second_moment_of_the_error(case: tuple[Setting, Source]) -> None:
    setting, source = case
    mean, second = theory.moments(setting, source, ALPHAS)
    np.testing.assert_allclose(theory.risk(setting, source, ALPHAS), second - mean**2 + (1 - mean) ** 2, rtol=1e-9)
    assert np.all(second >= mean**2)


@given(any_setting())
def test_the_variants_part_only_in_the_source_norm(setting: Setting) -> None:
    right, released = theory.ridge_source(setting), theory.ridge_source(setting, "released")
    assert right.s == released.s
    assert right.W > released.W
    assert theory.worst_alpha(setting, released) == pytest.approx(theory.worst_alpha(setting, right), nan_ok=True)
    assert second_moment_terms(setting, right)[:2] == second_moment_terms(setting, released)[:2]
    assert theory.moments(setting, right, 0) == pytest.approx(theory.moments(setting, released, 0), rel=1e-12)
    # the two missing pieces, put back, give the corrected one
    c, mean = equivalents.of_source(setting), theory.source_mean(setting)
    assert (released.W + (1 - c.h) * mean**2) / c.h == pytest.approx(right.W, rel=1e-9)


def test_the_variants_agree_where_there_is_much_source_data_and_penalty() -> None:
    setting = Setting(10**6, 40, 100, 1, 1, 0.5, 10, 1)
    pair = [theory.optimal_alpha(setting, theory.ridge_source(setting, variant)) for variant in theory.VARIANTS]
    assert pair[1] == pytest.approx(pair[0], rel=1e-4)


# the stress rows O12 to O14 of the theory page: as many or fewer source points than features, little penalty
@pytest.mark.parametrize(
    ("setting", "alphas"),
    [
        (Setting(400, 100, 400, 1, 1, 0.5, 0.1, 1), (0.224246, 0.682006)),
        (Setting(400, 100, 400, 1, 1, 0.9, 0.1, 1), (0.423960, 1.437065)),
        (Setting(200, 100, 400, 2, 1, 0.8, 0.1, 0.1), (0.575570, -2.280621)),
    ],
)
def test_the_variants_part_where_source_data_is_scarce(setting: Setting, alphas: tuple[float, float]) -> None:
    right, released = theory.ridge_source(setting), theory.ridge_source(setting, "released")
    found = tuple(float(theory.optimal_alpha(setting, source)) for source in (right, released))
    np.testing.assert_allclose(found, alphas, atol=1.5e-6)
    assert theory.accuracy(setting, released, 1) > theory.accuracy(setting, right, 1) + 0.05
    # taken at its word, the released α* costs accuracy
    assert theory.accuracy(setting, right, found[1]) < theory.accuracy(setting, right, found[0]) - 0.01


def test_the_released_second_moment_can_be_negative() -> None:
    setting = Setting(200, 100, 400, 2, 1, 0.8, 0.1, 0.1)
    source = theory.ridge_source(setting, "released")
    assert source.W < 0
    assert np.isnan(theory.source_accuracy(source))
    found = theory.accuracy(setting, source, [1, 10])
    assert not np.isnan(found[0])
    assert np.isnan(found[1])


def test_the_numbers_of_the_errata_page_are_those_of_the_formulas(root: Path) -> None:
    lines = (root / "docs" / "theory_errata.md").read_text("utf-8").splitlines()
    cells = [[cell.strip().replace("−", "-") for cell in line.strip("|").split("|")] for line in lines]
    figure = {
        float(row[0]): [float(cell) for cell in row[1:5]] for row in cells if len(row) == 6 and row[0][:2] == "0."
    }
    scarce = [[float(row[i]) for i in (0, 1, 2, 4, 5, 6, 7)] for row in cells if len(row) == 9 and row[0][:2] == "0."]
    assert (len(figure), len(scarce)) == (3, 3)
    for beta, printed in figure.items():
        setting = Setting(5000, 40, 1000, 0.8, 0.8, beta, 5, 0.1)
        right, released = theory.ridge_source(setting), theory.ridge_source(setting, "released")
        best = theory.optimal_alpha(setting, right)
        found = [theory.optimal_alpha(setting, released), best]
        found += [theory.accuracy(setting, source, best) for source in (released, right)]
        np.testing.assert_allclose(found[:2], printed[:2], atol=5.1e-4)
        np.testing.assert_allclose(found[2:], printed[2:], atol=5.1e-5)
    for row, (N, mu, gamma) in zip(scarce, [(400, 1, 1), (400, 1, 1), (200, 2, 0.1)], strict=True):
        setting = Setting(N, 100, 400, mu, 1, row[0], 0.1, gamma)
        sources = [theory.ridge_source(setting, "released"), theory.ridge_source(setting)]
        found = [source.W for source in sources]
        found += [theory.optimal_alpha(setting, source) for source in sources]
        found += [theory.accuracy(setting, source, 1) for source in sources]
        np.testing.assert_allclose(found[2:4], row[3:5], atol=5.1e-4)
        np.testing.assert_allclose(found[:2] + found[4:], row[1:3] + row[5:], atol=5.1e-5)


def test_a_source_without_alignment_is_best_left_out() -> None:
    setting = Setting(2000, 40, 400, 1, 1, 0.0, 1, 1)
    source = theory.ridge_source(setting)
    assert theory.optimal_alpha(setting, source) == 0
    assert np.isnan(theory.worst_alpha(setting, source))
    assert theory.best_accuracy(setting, source) == theory.accuracy(setting, source, 0)
    nothing = Source(0.0, 0.0)
    assert theory.optimal_alpha(setting, nothing) == 0
    assert theory.best_accuracy(setting, nothing) == pytest.approx(theory.accuracy(setting, nothing, 0))


def test_a_parallel_source_has_the_closed_form() -> None:
    setting = Setting.from_moments(100, 50, 80, 1.0, 1.0, 2.25, 1.0, 0.5)
    c, source = equivalents.of_target(setting), Source(0.9 * 1.5, 0.81)
    assert theory.optimal_alpha(setting, source) == pytest.approx(c.kappa / (c.k * source.s), rel=1e-12)
    assert theory.best_accuracy(setting, source) == pytest.approx(ndtr(np.sqrt(c.h * 2.25)), rel=1e-12)


def test_everything_broadcasts_over_grids_of_settings() -> None:
    beta, gamma = np.array([0.2, 0.5, 0.8])[:, None, None], np.array([0.1, 1.0])[:, None]
    grid = Setting(2000, 40, 400, 1, 1, beta, 1, gamma)
    source = theory.ridge_source(grid)
    alphas = np.array([0.0, 1.0, 2.0, 4.0])
    functions: list[tuple[Any, tuple[int, ...]]] = [
        (lambda s, v: theory.accuracy(s, v, alphas), (3, 2, 4)),
        (lambda s, v: theory.moments(s, v, alphas)[1], (3, 2, 4)),
        (lambda s, v: theory.risk(s, v, alphas), (3, 2, 4)),
        (theory.optimal_alpha, (3, 2, 1)),
        (theory.worst_alpha, (3, 2, 1)),
        (theory.best_accuracy, (3, 2, 1)),
    ]
    for function, shape in functions:
        whole = function(grid, source)
        assert whole.shape == shape
        one = Setting(2000, 40, 400, 1, 1, 0.5, 1, 1.0)
        np.testing.assert_allclose(whole[1, 1], np.atleast_1d(function(one, theory.ridge_source(one))), rtol=1e-12)


def test_plain_numbers_give_numbers() -> None:
    setting = Setting(2000, 40, 400, 1, 1, 0.5, 1, 1.0)
    source = theory.ridge_source(setting)
    of_both = (theory.best_accuracy, theory.optimal_alpha, theory.worst_alpha)
    found = [*theory.moments(setting, source, 1), theory.accuracy(setting, source, 1), source.s, source.W]
    found += [function(setting, source) for function in of_both]
    assert [type(value) for value in found if not isinstance(value, float)] == []


def test_given_moments_and_the_slip_of_the_norm() -> None:
    setting = Setting.from_moments(2000, 20, 400, 1.2, 0.8, 1.45, 1, 1)
    assert setting.target_norm2 == 1.45
    slipped = replace(setting, target_norm2_override=None)  # (1 − β²) taken off a part that is not normalised
    assert slipped.target_norm2 == pytest.approx(0.96**2 + (1 - 0.64) * (1.45 - 0.96**2))
    source = theory.ridge_source(setting)
    assert theory.optimal_alpha(slipped, source) > theory.optimal_alpha(setting, source)
    assert Setting.from_moments(2000, 20, 400, 1.2, 1.1, 1.0, 1, 1).mu_perp == 0


@given(
    outputs=st.integers(1, 4), features=st.integers(2, 30), beta=st.floats(-2, 2), n=st.integers(3, 60),
    gamma=st.floats(0.01, 10), noise=st.floats(0.1, 2),
)  # fmt: skip
@settings(max_examples=50)
def test_regression_is_best_at_the_alignment(
    outputs: int, features: int, beta: float, n: int, gamma: float, noise: float
) -> None:
    source, target = regression.matrices(outputs, features, beta, 1)
    assert regression.optimal_alpha(source, target) == pytest.approx(beta, abs=1e-10)
    risks = regression.risk(source, target, beta + ALPHAS, n, gamma, noise)
    least = regression.risk(source, target, beta, n, gamma, noise)
    assert np.all(risks >= least * (1 - 1e-12))
    assert least > noise**2 * outputs  # the noise of the fresh point itself


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"n": 0}, "n=0"),
        ({"gamma": 0.0}, "gamma=0.0"),
        ({"gamma_pre": np.array([1.0, -1.0])}, "gamma_pre"),
        ({"mu": -1.0}, "mu=-1.0"),
        ({"beta": 2.0, "mu": 0.5}, "from_moments"),
        ({"n": float("nan")}, "n=nan"),
    ],
)
def test_impossible_settings(change: dict[str, Any], words: str) -> None:
    fields = {"N": 100, "n": 20, "p": 30, "mu": 1.0, "mu_perp": 1.0, "beta": 0.5, "gamma_pre": 1.0, "gamma": 1.0}
    with pytest.raises(UserError, match=words):
        Setting(**{**fields, **change})


def test_an_unknown_variant_and_unequal_matrices() -> None:
    setting = Setting(100, 20, 30, 1, 1, 0.5, 1, 1)
    with pytest.raises(UserError, match="did you mean 'released'"):
        theory.ridge_source(setting, "release")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="outputs × features"):
        regression.risk(np.ones((2, 3)), np.ones((3, 2)), 0.5, 10, 1.0, 0.5)

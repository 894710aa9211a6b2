"""The statistics of a report: against scipy, against closed forms, and what they promise about order and symmetry."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st

from uora_bench.errors import UserError
from uora_bench.report import bootstrap, pairing, stats
from uora_bench.report.stats import compare

# eighths: sums and differences are exact, so that equal stays equal
values = st.integers(-800, 800).map(lambda n: n / 8)
quick = settings(max_examples=60, deadline=None)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def one(*scores: float, task: str = "rte") -> dict[str, dict[int, float]]:
    return {task: dict(enumerate(scores))}


def column(generator: np.random.Generator, mean: float, n: int = 8, spread: float = 1.0) -> dict[str, dict[int, float]]:
    return one(*generator.normal(mean, spread, size=n))


def paired_interval(a, b, **options):
    return bootstrap.difference_interval(pairing.pair(a, b), **options)


def permutation_test(a, b, generator, **options):
    return stats.sign_flip_test(pairing.pair(a, b), generator, **options)


def turned(scores):
    """The same scores, tasks and seeds in the opposite order."""
    return {task: dict(reversed(list(seeds.items()))) for task, seeds in reversed(list(scores.items()))}


@st.composite
def two_methods(draw, most_tasks: int = 3, most_seeds: int = 5):
    a: dict[str, dict[int, float]] = {}
    b: dict[str, dict[int, float]] = {}
    for t in range(draw(st.integers(1, most_tasks))):
        shared = draw(st.integers(3, most_seeds))
        a[f"t{t}"] = {s: draw(values) for s in range(shared + draw(st.integers(0, 2)))}
        b[f"t{t}"] = {s: draw(values) for s in (*range(shared), *range(100, 100 + draw(st.integers(0, 2))))}
    return a, b


# summaries and their intervals


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=40))
def test_the_interquartile_mean_is_scipys_trimmed_mean(numbers):
    assert bootstrap.interquartile_mean([np.array(numbers)]) == pytest.approx(
        scipy.stats.trim_mean(numbers, 0.25), abs=1e-9
    )


def test_the_interquartile_mean_ignores_outliers():
    assert bootstrap.interquartile_mean([np.array([1000, 1, 2, 3]), np.array([4, -1000, 2, 3])]) == 2.5


def test_points_of_the_statistics_on_unequal_tasks():
    scores = {"a": {0: 1.0, 1: 2.0, 2: 6.0}, "b": {0: 10.0, 1: 10.0, 2: 10.0, 3: 20.0, 4: 30.0}}
    points = {s: bootstrap.bootstrap(scores, s, repetitions=10, generator=rng()).point for s in stats_names()}
    assert points == {"mean": 9.5, "iqm": (6 + 10 + 10 + 10) / 4}


def stats_names():
    return ("mean", "iqm")


@pytest.mark.parametrize(
    ("statistic", "function"),
    [("mean", np.mean), ("iqm", lambda x, axis: scipy.stats.trim_mean(x, 0.25, axis=axis))],
)
def test_one_task_is_scipys_percentile_bootstrap(statistic, function):
    sample = rng(3).normal(80, 2, size=20)
    ours = bootstrap.bootstrap(one(*sample), statistic, 0.9, 20_000, generator=rng(1))
    theirs = scipy.stats.bootstrap(
        (sample,), function, n_resamples=20_000, confidence_level=0.9, method="percentile", vectorized=True, rng=rng(2)
    ).confidence_interval
    assert ours.point == pytest.approx(float(function(sample, axis=0)))
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.12)


def test_seeds_are_resampled_within_their_task_only():
    """Two tasks far apart, no spread within: resampling tasks would give an interval, resampling seeds gives none."""
    interval = bootstrap.bootstrap(
        {"a": dict.fromkeys(range(3), 0.0), "b": dict.fromkeys(range(5), 100.0)}, generator=rng()
    )
    assert (interval.low, interval.point, interval.high) == (50, 50, 50)


def test_coverage_of_the_interval():
    """95 % intervals of 20 normal scores cover the mean about as often as they say."""
    generator = rng(11)
    runs = [bootstrap.bootstrap(column(generator, 7, 20), repetitions=500, generator=generator) for _ in range(400)]
    assert 0.88 <= np.mean([i.low <= 7 <= i.high for i in runs]) <= 0.98


def test_a_paired_interval_does_not_see_what_both_methods_share():
    noise = rng(5).normal(0, 10, size=6)
    better = noise + np.array([1.0, 1.1, 0.9, 1.05, 0.95, 1.0])
    paired = paired_interval(one(*better), one(*noise), generator=rng())
    assert paired.point == pytest.approx(1.0)
    assert 0.9 <= paired.low < paired.point < paired.high <= 1.1
    alone = bootstrap.bootstrap(one(*better), generator=rng())
    assert alone.high - alone.low > 5


# probability of improvement


def test_the_probability_of_improvement_is_mann_whitneys_u():
    generator = rng(8)
    a = {t: dict(enumerate(generator.integers(0, 6, size=7).tolist())) for t in ("x", "y")}
    b = {t: dict(enumerate(generator.integers(0, 6, size=7).tolist())) for t in ("x", "y")}
    u = [scipy.stats.mannwhitneyu(list(a[t].values()), list(b[t].values())).statistic / 49 for t in a]
    found = bootstrap.probability_of_improvement(a, b, generator=rng())
    assert found.point == pytest.approx(np.mean(u))
    assert 0 <= found.low < found.point < found.high <= 1


def test_the_interval_of_the_probability_of_improvement_is_that_of_independent_draws():
    x, y = rng(1).normal(0.5, 1, size=9), rng(2).normal(0, 1, size=9)
    ours = bootstrap.probability_of_improvement(one(*x), one(*y), generator=rng(3))
    generator = rng(4)
    drawn = [np.mean(generator.choice(x, 9)[:, None] > generator.choice(y, 9)) for _ in range(4000)]
    assert (ours.low, ours.high) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.05)


@quick
@given(two_methods())
def test_the_probabilities_of_improvement_of_two_methods_add_up_to_one(methods):
    a, b = methods
    forth, back, lower = (
        bootstrap.probability_of_improvement(x, y, higher, repetitions=10, generator=rng()).point
        for x, y, higher in ((a, b, True), (b, a, True), (a, b, False))
    )
    assert forth + back == pytest.approx(1)
    assert lower == pytest.approx(back)


# the sign-flip test


@pytest.mark.parametrize("n", [1, 3, 5, 6, 16])
def test_equal_differences_give_the_smallest_p(n):
    test = permutation_test(one(*[90.3] * n), one(*[90.1] * n), rng())
    assert test == (2 / 2**n, 2 / 2**n)


def test_no_difference_gives_p_1():
    assert permutation_test(one(0.1, 0.2, 0.3), one(0.1, 0.2, 0.3), rng())[0] == 1


@pytest.mark.parametrize("seed", range(5))
def test_one_task_is_scipys_exact_paired_test(seed):
    x, y = rng(seed).normal(0.4, 1, size=9), rng(seed + 50).normal(0, 1, size=9)
    expected = scipy.stats.permutation_test(
        (x, y), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", vectorized=True,
        n_resamples=np.inf, alternative="two-sided",
    ).pvalue  # fmt: skip
    assert permutation_test(one(*x), one(*y), rng())[0] == pytest.approx(expected)


def test_tasks_weigh_the_same_however_many_seeds_they_have():
    a = {"few": {0: 3.0, 1: 2.0}, "many": {0: -1.0, 1: 0.5, 2: -2.0, 3: 0.25}}
    b = {task: dict.fromkeys(seeds, 0.0) for task, seeds in a.items()}
    few, many = (np.array(list(seeds.values())) for seeds in a.values())
    flips = [np.array(s) for s in itertools.product([1, -1], repeat=6)]
    flipped = [abs((s[:2] * few).mean() + (s[2:] * many).mean()) for s in flips]
    assert permutation_test(a, b, rng())[0] == np.mean(np.array(flipped) >= flipped[0] - 1e-12)


def test_sums_that_differ_by_rounding_only_are_ties():
    """0.1 + 0.2 is not 0.3 in floating point; the flip that makes one of the other is as far from 0."""
    test = permutation_test(one(0.1, 0.2, -0.3, 0.3), one(0.0, 0.0, 0.0, 0.0), rng())
    assert test == permutation_test(one(1, 2, -3, 3), one(0, 0, 0, 0), rng())


def test_beyond_the_limit_flips_are_drawn():
    x = rng(6).normal(0.35, 1, size=17)
    drawn, smallest = permutation_test(one(*x), one(*[0.0] * 17), rng())
    assert smallest == 2**-16
    exact = scipy.stats.permutation_test(
        (x, np.zeros(17)), lambda x, y, axis: np.mean(x - y, axis=axis), permutation_type="samples", vectorized=True,
        n_resamples=np.inf, batch=2**14,
    ).pvalue  # fmt: skip
    assert drawn == pytest.approx(exact, abs=0.01)
    certain = permutation_test(one(*[1.0] * 40), one(*[0.0] * 40), rng(), draws=99)
    assert certain == (0.01, 0.01)


@settings(max_examples=20, deadline=None)
@given(st.lists(values, min_size=3, max_size=6), st.sampled_from([0.05, 0.1, 0.3, 0.5]))
def test_the_exact_test_keeps_its_level(differences, level):
    """Were the methods the same, all sign patterns would be as likely: at most ``level`` of them may be rejected."""
    zero = one(*[0.0] * len(differences))
    patterns = itertools.product([1, -1], repeat=len(differences))
    p = [permutation_test(one(*np.multiply(s, differences).tolist()), zero, rng())[0] for s in patterns]
    assert np.mean(np.array(p) <= level) <= level


def test_the_test_finds_a_large_difference_and_seldom_none():
    generator = rng(9)
    null = [compare(column(generator, 0), column(generator, 0), repetitions=1, generator=generator) for _ in range(400)]
    real = [compare(column(generator, 2), column(generator, 0), repetitions=1, generator=generator) for _ in range(100)]
    assert np.mean([c.verdict != "not distinguished" for c in null]) <= 0.09
    assert np.mean([c.verdict == "better" for c in real]) >= 0.85


# Holm


@given(st.lists(st.floats(0, 1), max_size=12))
def test_holm_is_its_definition(p):
    order = sorted(range(len(p)), key=p.__getitem__)
    naive = {
        i: min(1.0, max((len(p) - k) * p[j] for k, j in enumerate(order[: rank + 1]))) for rank, i in enumerate(order)
    }
    adjusted = stats.holm(p)
    assert adjusted == pytest.approx([naive[i] for i in range(len(p))])
    assert all(raw <= new <= 1 for raw, new in zip(p, adjusted, strict=True))
    assert [adjusted[i] for i in order] == sorted(adjusted)


def test_holm_of_an_example():
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])


@pytest.mark.parametrize("bad", [float("nan"), -0.1, 1.5])
def test_holm_takes_probabilities_only(bad):
    with pytest.raises(UserError, match="not a p-value"):
        stats.holm([0.1, bad])


# comparisons


@quick
@given(two_methods(), st.booleans())
def test_comparing_the_other_way_round_turns_everything_round(methods, higher):
    a, b = methods
    forth, back = (compare(x, y, higher, 0.3, 200, generator=rng()) for x, y in ((a, b), (b, a)))
    turned_round = {"better": "worse", "worse": "better"}
    assert (forth.p, forth.difference) == (back.p, -back.difference)
    assert forth.verdict == turned_round.get(back.verdict, back.verdict)
    assert (forth.interval.low, forth.interval.high) == pytest.approx((-back.interval.high, -back.interval.low))
    assert compare(a, b, not higher, 0.3, 200, generator=rng()).verdict == back.verdict


@quick
@given(two_methods(), st.lists(values, min_size=3, max_size=3))
def test_a_constant_per_task_changes_nothing(methods, constants):
    moved = [
        {task: {s: v + c for s, v in seeds.items()} for (task, seeds), c in zip(m.items(), constants, strict=False)}
        for m in methods
    ]
    assert compare(*moved, repetitions=50, generator=rng()) == compare(*methods, repetitions=50, generator=rng())


@quick
@given(two_methods(most_seeds=8))
def test_the_order_of_tasks_seeds_and_methods_changes_nothing(methods):
    a, b = methods
    c, d = turned(a), turned(b)
    assert compare(a, b, repetitions=50, generator=rng()) == compare(c, d, repetitions=50, generator=rng())
    for name in stats_names():
        forth, back = (bootstrap.bootstrap(x, name, repetitions=50, generator=rng()) for x in (a, c))
        assert forth == back
    forth, back = (stats.best_marks(x, generator=rng()) for x in ({"a": a, "b": b}, {"b": d, "a": c}))
    assert forth == back


def test_only_seeds_that_both_methods_ran_are_compared():
    a = {"rte": {0: 1.0, 1: 2.0, 2: 3.0, 7: 50.0}, "mrpc": {s: 1.0 for s in range(5)}}
    b = {"rte": {2: 2.0, 1: 1.0, 0: 0.0, 9: -50.0}, "mrpc": {s: 0.0 for s in range(4)}}
    found = compare(a, b, generator=rng())
    assert (found.difference, found.n_pairs) == (1, 7)
    assert (found.p, found.verdict) == (2 / 2**7, "better")
    assert compare(a, b, higher_is_better=False, generator=rng()).verdict == "worse"


@pytest.mark.parametrize(("n", "difference"), [(0, None), (1, 5.0), (2, 5.0)])
def test_under_three_seeds_nothing_is_claimed(n, difference):
    a = {"rte": {s: 6.0 for s in range(n)} | {100: 1.0}, "mrpc": {s: 6.0 for s in range(9)}}
    b = {"rte": {s: 1.0 for s in range(n)} | {200: 1.0}, "mrpc": {s: 1.0 for s in range(9)}}
    found = compare(a, b, generator=rng())
    assert (found.difference, found.verdict) == (difference, "too few seeds")
    assert (found.p, found.adjusted_p, found.smallest_p, found.interval) == (None, None, None, None)
    with pytest.raises(UserError, match=f"task 'rte' has {n} seeds that both methods ran"):
        paired_interval(a, b, generator=rng())
    assert stats.best_marks({"a": a, "b": b}, generator=rng()) == stats.Marks(None, None)


def test_three_seeds_of_one_task_cannot_show_anything():
    found = compare(one(99, 98, 99), one(1, 2, 1), generator=rng())
    assert (found.p, found.smallest_p, found.verdict) == (0.25, 0.25, "not distinguished")


def test_a_family_is_corrected_and_the_corrected_p_decides():
    """Six equal differences give p = 0.03125: enough alone, not enough as one of three comparisons."""
    methods = {"low": one(*[1.0] * 6), "middle": one(*[2.0] * 6), "high": one(*[3.0] * 6)}
    assert compare(methods["high"], methods["low"], generator=rng()).verdict == "better"
    assert stats.best_marks(methods, generator=rng()) == stats.Marks(None, None)
    assert stats.best_marks(methods, level=0.1, generator=rng()) == stats.Marks("high", "middle")
    against = {name: compare(methods[name], methods["low"], generator=rng()) for name in ("high", "middle")}
    assert {name: (c.adjusted_p, c.verdict) for name, c in stats.corrected(against, level=0.07).items()} == {
        "high": (4 / 64, "better"),
        "middle": (4 / 64, "better"),
    }


def test_comparisons_with_too_few_seeds_are_not_in_the_family():
    methods = {"a": one(*[2.0] * 6), "b": one(*[1.0] * 6), "short": one(5.0), "empty": {"rte": {}}, "absent": {}}
    found = stats.corrected({name: compare(methods[name], methods["b"], generator=rng()) for name in ("a", "short")})
    assert {name: (c.verdict, c.family) for name, c in found.items()} == {
        "a": ("better", 1),
        "short": ("too few seeds", 1),
    }
    assert found["short"].difference == 4
    assert stats.best_marks({k: v for k, v in methods.items() if k != "short"}, generator=rng()) == stats.Marks("a")


# marks


def test_best_and_second_are_marked_when_every_comparison_shows_it():
    methods = {name: one(*[score] * 9) for name, score in (("c", 1.0), ("a", 2.0), ("b", 3.0))}
    assert stats.best_marks(methods, generator=rng()) == stats.Marks("b", "a")
    assert stats.best_marks(methods, higher_is_better=False, generator=rng()) == stats.Marks("c", "a")


def test_a_tie_at_the_top_marks_nobody_and_one_below_marks_the_best_only():
    top, low = [5.0, 6.0] * 5, [1.0] * 10
    tied = {"a": one(*top), "b": one(*top), "c": one(*low)}
    assert stats.best_marks(tied, generator=rng()) == stats.Marks(None, None)
    below = {"a": one(*top), "b": one(*low), "c": one(*low)}
    assert stats.best_marks(below, generator=rng()) == stats.Marks("a", None)


def test_marks_are_the_same_in_every_drawing_of_a_table():
    methods = {name: column(rng(i), mean, 18) for i, (name, mean) in enumerate((("a", 0.0), ("b", 0.9), ("c", 1.8)))}
    first = stats.best_marks(methods, generator=rng())
    assert first == stats.best_marks(dict(reversed(methods.items())), generator=rng())
    assert first.best == "c"


def test_of_two_methods_none_is_second():
    assert stats.best_marks({"a": one(*[2.0] * 6), "b": one(*[1.0] * 6)}, generator=rng()) == stats.Marks("a", None)


def test_one_method_with_too_few_seeds_leaves_the_best_open():
    methods = {"a": one(*[3.0] * 9), "b": one(*[2.0] * 9), "short": one(1.0, 1.0)}
    assert stats.best_marks(methods, generator=rng()) == stats.Marks(None, None)


@pytest.mark.parametrize("methods", [{}, {"a": one(1, 2, 3)}, {"a": one(1, 2, 3), "b": {}, "c": {"rte": {}}}])
def test_fewer_than_two_methods_with_scores_mark_nobody(methods):
    assert stats.best_marks(methods, generator=rng()) == stats.Marks(None, None)


# mistakes


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None, "0.9", True])
def test_a_score_that_is_no_number_is_named(bad):
    wrong, right = {"rte": {0: 1.0, 1: 2.0, 4: bad}}, {"rte": {0: 1.0, 1: 2.0, 3: 1.0}}
    calls = [
        lambda: compare(wrong, right, generator=rng()),
        lambda: bootstrap.bootstrap(wrong, generator=rng()),
        lambda: permutation_test(right, wrong, rng()),
        lambda: stats.best_marks({"lora": right, "vera": wrong}, generator=rng()),
    ]
    for call in calls:
        with pytest.raises(UserError, match=r"task 'rte', seed 4: the score is .*, not a finite number"):
            call()
    with pytest.raises(UserError, match="method 'vera'"):
        calls[-1]()


@pytest.mark.parametrize("empty", [{}, {"rte": {}}])
def test_empty_scores_are_a_mistake(empty):
    for function in (compare, paired_interval, bootstrap.probability_of_improvement, permutation_test):
        with pytest.raises(UserError, match=r"no task has a score|has no score;"):
            function(one(1, 2, 3), empty, generator=rng())
    with pytest.raises(UserError):
        bootstrap.bootstrap(empty, generator=rng())


def test_tasks_must_be_the_same():
    with pytest.raises(UserError, match=r"the first method has no task 'mrcp'; compare .* did you mean 'mrpc'"):
        compare(one(1, 2, 3, task="mrpc"), one(1, 2, 3, task="mrcp"), generator=rng())
    with pytest.raises(UserError, match="the second method has no task 'cola'"):
        stats.best_marks({"a": one(1, 2, task="cola") | one(1, 2), "b": one(1, 2)}, generator=rng())


def test_other_mistakes():
    a, b = one(1, 2, 3), one(2, 3, 4)
    mistakes = {
        "did you mean 'mean'": lambda: bootstrap.bootstrap(a, "maen", generator=rng()),  # type: ignore[arg-type]
        "an interval needs 3": lambda: bootstrap.bootstrap(one(1, 2), generator=rng()),
        "between 0 and 1": lambda: compare(a, b, level=5, generator=rng()),
        "make no bootstrap": lambda: paired_interval(a, b, repetitions=0, generator=rng()),
        "draw at least 1": lambda: permutation_test(a, b, rng(), draws=0),
        "that both methods ran": lambda: permutation_test(a, {"rte": {9: 1.0}}, rng()),
    }
    for message, call in mistakes.items():
        with pytest.raises(UserError, match=message):
            call()


def test_the_statistics_need_numpy_only(root: Path, tmp_path: Path):
    code = "import sys, uora_bench.report.stats; print(sorted({'scipy', 'torch', 'pandas'} & set(sys.modules)))"
    environment = {**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60
    )
    assert (found.returncode, found.stdout.strip()) == (0, "[]"), found.stderr

"""Checks the GLUE scores against scikit-learn, scipy and closed forms, and the metric objects built on them."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import warnings
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from uora_bench import metrics
from uora_bench.config.metrics import SCORES
from uora_bench.metrics import glue

quick = settings(deadline=None, max_examples=100)  # no deadline: the first example pays for an import


def columns(element, min_size=1):
    return st.lists(st.tuples(element, element), min_size=min_size, max_size=30).map(
        lambda rows: list(zip(*rows, strict=True))
    )


binary = columns(st.integers(0, 1))
ternary = columns(st.integers(0, 2))
# Multiples of 1/8 make ties likely and sums exact, so that the closed forms can be compared tightly.
eighths = columns(st.integers(-16, 56).map(lambda k: k / 8))


def scores(task, pred, ref):
    """glue_scores, with any warning turned into a failure, and the shape of the answer checked."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = glue.glue_scores(task, pred, ref)
    assert tuple(out) == SCORES[f"glue/{task}"]
    low = -1.0 if task in ("cola", "stsb") else 0.0
    assert all(type(value) is float and low <= value <= 1.0 for value in out.values())
    return out


def confusion(pred, ref):
    pairs = list(zip(pred, ref, strict=True))
    return tuple(pairs.count(pair) for pair in ((1, 1), (0, 0), (1, 0), (0, 1)))  # tp, tn, fp, fn


def naive_pearson(x, y):
    """Pearson in exact rational arithmetic up to the last square root; 0.0 where it is 0/0."""
    x, y = [Fraction(v) for v in x], [Fraction(v) for v in y]
    x, y = [v - sum(x) / len(x) for v in x], [v - sum(y) / len(y) for v in y]
    below = sum(v * v for v in x) * sum(v * v for v in y)
    above = sum(a * b for a, b in zip(x, y, strict=True))
    return math.copysign(math.sqrt(above * above / below), above) if below else 0.0


def average_ranks(x):
    return [Fraction(1 + 2 * sum(v < u for v in x) + sum(v == u for v in x), 2) for u in x]


@quick
@given(ternary)
@pytest.mark.parametrize("task", ["mnli", "mnli_mismatched"])
def test_accuracy_of_three_classes(task, rows):
    from sklearn.metrics import accuracy_score

    pred, ref = rows
    expected = sum(p == r for p, r in zip(pred, ref, strict=True)) / len(ref)
    assert scores(task, pred, ref) == {"accuracy": pytest.approx(expected, abs=1e-15)}
    assert expected == pytest.approx(accuracy_score(ref, pred), abs=1e-15)


@quick
@given(binary)
def test_accuracy_and_f1_of_two_classes(rows):
    from sklearn.metrics import accuracy_score, f1_score

    pred, ref = rows
    tp, tn, fp, fn = confusion(pred, ref)
    accuracy = pytest.approx((tp + tn) / len(ref), abs=1e-15)
    f1 = pytest.approx(2 * tp / (2 * tp + fp + fn) if tp + fp + fn else 0.0, abs=1e-15)
    for task in ("mrpc", "qqp"):
        assert scores(task, pred, ref) == {"accuracy": accuracy, "f1": f1}
    for task in ("sst2", "qnli", "rte", "wnli"):
        assert scores(task, np.array(pred), np.array(ref)) == {"accuracy": accuracy}
    assert accuracy_score(ref, pred) == accuracy
    assert f1_score(ref, pred, zero_division=0.0) == f1


@quick
@given(binary)
def test_matthews(rows):
    from sklearn.metrics import matthews_corrcoef

    pred, ref = rows
    tp, tn, fp, fn = confusion(pred, ref)
    below = (tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)
    expected = pytest.approx((tp * tn - fp * fn) / math.sqrt(below) if below else 0.0, abs=1e-12)
    assert scores("cola", pred, ref)["matthews_correlation"] == expected
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert matthews_corrcoef(ref, pred) == expected


@quick
@given(eighths)
def test_correlations_against_closed_forms(rows):
    pred, ref = rows
    if set(ref) == {-1.0}:
        ref = [3.0] * len(ref)  # all -1 is refused; see test_hidden_labels_are_refused
    out = scores("stsb", pred, ref)
    assert out["pearson"] == pytest.approx(naive_pearson(pred, ref), abs=1e-9)
    assert out["spearmanr"] == pytest.approx(naive_pearson(average_ranks(pred), average_ranks(ref)), abs=1e-9)


@quick
@given(columns(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=3))
def test_correlations_against_scipy(rows):
    from scipy import stats

    pred, ref = rows
    assume(len(set(pred)) > 1 and len(set(ref)) > 1)
    out = scores("stsb", pred, ref)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert out["pearson"] == pytest.approx(stats.pearsonr(pred, ref).statistic, abs=1e-12)
        assert out["spearmanr"] == stats.spearmanr(pred, ref).statistic


@quick
@given(st.floats(-1e6, 1e6), st.lists(st.floats(-1e6, 1e6), min_size=3, max_size=9))
def test_correlations_with_a_constant_are_zero(constant, values):
    assume(set(values) != {-1.0})  # refused; see test_hidden_labels_are_refused
    assume(constant != -1.0)
    for pred, ref in (([constant] * len(values), values), (values, [constant] * len(values))):
        assert scores("stsb", pred, ref) == {"pearson": 0.0, "spearmanr": 0.0}


@quick
@given(columns(st.floats(allow_nan=False, allow_infinity=False)))
def test_correlations_stay_defined_for_any_finite_numbers(rows):
    pred, ref = rows
    if set(ref) != {-1.0}:
        scores("stsb", pred, ref)  # checks range and silence; NaN fails the range check


def test_extreme_magnitudes():
    ref = [1.0, 2.0, 3.0, 4.0]
    assert scores("stsb", [1e308, 2e307, -1e308, -1.7e308], ref)["pearson"] < -0.9
    assert scores("stsb", [1e-320, 2e-320, 3e-320, 4e-320], ref)["pearson"] == pytest.approx(1.0)
    # The scaling done for Pearson must not make ties of these for Spearman.
    assert scores("stsb", [1e-320, 2e-320, 3e-320, 1e300], ref)["spearmanr"] == pytest.approx(1.0)


def test_degenerate_inputs():
    assert scores("cola", [1, 1, 1], [1, 1, 1]) == {"matthews_correlation": 0.0}
    assert scores("cola", [0, 0, 0], [1, 0, 1]) == {"matthews_correlation": 0.0}
    assert scores("mrpc", [0, 0], [0, 0]) == {"accuracy": 1.0, "f1": 0.0}
    assert scores("mrpc", [0, 0], [0, 1]) == {"accuracy": 0.5, "f1": 0.0}
    assert scores("stsb", [0.1] * 7, range(7)) == {"pearson": 0.0, "spearmanr": 0.0}
    scores("stsb", [1.0, 1.0 + 2**-52, 1.0], [1.0, 2.0, 3.0])  # nearly constant: scipy would warn
    assert scores("stsb", [4.5], [4.0]) == {"pearson": 0.0, "spearmanr": 0.0}
    assert scores("stsb", [1.0, 3.0], [4.0, 2.0]) == {"pearson": pytest.approx(-1.0), "spearmanr": pytest.approx(-1.0)}
    assert scores("stsb", np.float16([1, 2, 4]), np.float32([1, 2, 4]))["pearson"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("task", "pred", "ref", "words"),
    [(task, [], [], "no examples") for task in glue.TASKS]
    + [(task, [1, 0], [1], "2 predictions but 1 references") for task in glue.TASKS]
    + [("stsb", [1.0, bad], [1.0, 2.0], "predictions: .* in row 1 is not a finite") for bad in (math.nan, -math.inf)]
    + [
        ("stsb", [1.0, 2.0], [math.inf, 2.0], "references: inf in row 0"),
        ("stsb", ["1", "2"], [1.0, 2.0], "expected numbers"),
        ("sst2", [0.9, 0.1], [1, 0], "expected integers, got dtype float64"),
        ("sst2", [[0.9, 0.1]], [1], "one dimension"),
        ("sst2", [2, 0], [1, 0], r"2 in row 0 is not a class in 0\.\.1"),
        ("mnli", [3, 0], [1, 0], r"3 in row 0 is not a class in 0\.\.2"),
        ("nosuch", [1], [1], "unknown GLUE task"),
    ],
)
def test_bad_input_is_one_line(task, pred, ref, words):
    with pytest.raises(ValueError, match=words) as caught:
        glue.glue_scores(task, pred, ref)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("task", glue.TASKS)
def test_hidden_labels_are_refused(task):
    with pytest.raises(ValueError, match="hidden"):
        glue.glue_scores(task, [1, 0], [-1, -1])


@pytest.mark.parametrize("task", glue.TASKS)
def test_the_metric_object_gives_what_the_function_gives(task):
    rng = np.random.default_rng(0)
    if task == "stsb":
        pred, ref = rng.normal(size=2500), rng.uniform(0, 5, size=2500)
    else:
        pred, ref = rng.integers(0, 2, size=(2, 2500))
    metric = metrics.load_metric(f"glue/{task}")
    for _ in range(2):  # it keeps nothing of what it scored
        assert metric.compute(predictions=pred, references=ref.tolist()) == glue.glue_scores(task, pred, ref)
    with pytest.raises(ValueError, match="no examples"):
        metric.compute(predictions=[], references=[])


def test_import_is_light(tmp_path):
    code = (
        "import sys, uora_bench.metrics as m\n"
        "for name in m.SCORES: m.load_metric(name)\n"
        "print(sorted({'evaluate', 'datasets', 'sklearn', 'scipy', 'numpy', 'torch'} & set(sys.modules)))"
    )
    path = os.pathsep.join(os.path.abspath(p) for p in sys.path if p)
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": path},
    )  # fmt: skip
    assert (done.stdout.strip(), done.stderr) == ("[]", "")

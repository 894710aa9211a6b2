"""Looks of methods can be told apart in grey and by colour-blind readers; the Pareto front is what nothing beats."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.paths import ROOT
from uora_bench.config import registry
from uora_bench.report.figures import style
from uora_bench.report.figures.costs import on_front

# Machado, Oliveira and Fernandes 2009: complete deuteranopia, on linear RGB
DEUTERANOPIA = [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]


def linear(colour):
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    return [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]


def lab(rgb):
    """CIE L*a*b* (D65) of linear RGB."""
    matrix = [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
    xyz = [sum(m * c for m, c in zip(row, rgb, strict=True)) for row in matrix]
    f = [
        t ** (1 / 3) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116
        for t in (v / w for v, w in zip(xyz, (0.95047, 1.0, 1.08883), strict=True))
    ]
    return 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])


def simulated(colour):
    rgb = linear(colour)
    return [min(1.0, max(0.0, sum(m * c for m, c in zip(row, rgb, strict=True)))) for row in DEUTERANOPIA]


PAIRS = list(itertools.combinations(sorted(style.METHODS), 2))


def test_every_method_of_the_suite_has_a_look_of_its_own():
    assert set(style.METHODS) == set(registry.choices("method"))
    assert len({style.look(method).colour for method in style.METHODS}) == len(style.METHODS)


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_two_methods_can_be_told_apart_in_grey(one, other):
    a, b = style.look(one), style.look(other)
    apart = abs(lab(linear(a.colour))[0] - lab(linear(b.colour))[0])  # L* is lightness as it is seen, 0 to 100
    assert apart > 12 or a.marker != b.marker


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_two_methods_can_be_told_apart_by_deuteranopes(one, other):
    a, b = (lab(simulated(style.look(name).colour)) for name in (one, other))
    assert sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5 > 15


def test_no_colour_is_too_light_for_a_line_on_white():
    for colour in [look[0] for look in style.METHODS.values()]:
        assert lab(linear(colour))[0] < 75


def test_a_method_outside_the_table_gets_the_same_look_in_every_process_and_no_known_one():
    code = "from uora_bench.report.figures import style; print(style.look('my_method'))"
    shown = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True,
                       env={**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONHASHSEED": seed}).stdout.strip()
        for seed in ("1", "2")
    }  # fmt: skip
    assert shown == {str(style.look("my_method"))}
    known = [(colour, marker) for colour, marker, _ in style.METHODS.values()]
    for name in ("my_method", "dora", "adapter", "ia3"):
        look = style.look(name)
        assert look.colour not in [c for c, _ in known]
        assert look.marker not in [m for _, m in known]


def test_variants_share_the_colour_and_differ_in_fill():
    variants = [style.look("uora", n) for n in range(6)]
    assert {v.colour for v in variants} == {style.look("uora").colour}
    assert len({v.fill for v in variants}) == 6
    assert len({v.dash for v in variants[:4]}) == 4


def dominates(a, b, sign):
    return a[0] <= b[0] and sign * a[1] >= sign * b[1] and (a[0] < b[0] or a[1] != b[1])


PAIR = st.tuples(st.integers(0, 6), st.integers(-3, 3)) | st.tuples(st.floats(0, 1e9), st.floats(-1e3, 1e3))


@given(st.lists(PAIR, max_size=12), st.booleans())
def test_the_front_is_what_nothing_dominates(points, higher):
    sign = 1 if higher else -1
    wanted = [i for i, p in enumerate(points) if not any(dominates(q, p, sign) for q in points)]
    assert [i for i, best in enumerate(on_front(points, higher)) if best] == wanted

"""Lines can be told apart without colour and by colour-blind readers; the Pareto front is what nothing beats."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

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


PAIRS = list(itertools.combinations(range(style.MOST), 2))


@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_two_lines_of_one_panel_can_be_told_apart_without_colour(one, other):
    a, b = style.look(one), style.look(other)
    assert a.marker != b.marker
    assert a.dash != b.dash


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize(("one", "other"), PAIRS)
def test_two_lines_of_one_panel_can_be_told_apart_by_deuteranopes(one, other, dark):
    colours = [style.COLOURS[n] for n in (one, other)]
    a, b = (lab(simulated(style.DARK[colour] if dark else colour)) for colour in colours)
    assert sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) ** 0.5 > 15


def test_no_colour_is_too_close_to_its_paper():
    for colour in style.COLOURS:
        assert lab(linear(colour))[0] < 75
        assert lab(linear(style.DARK[colour]))[0] > 55


def dominates(a, b, sign):
    return a[0] <= b[0] and sign * a[1] >= sign * b[1] and (a[0] < b[0] or a[1] != b[1])


PAIR = st.tuples(st.integers(0, 6), st.integers(-3, 3)) | st.tuples(st.floats(0, 1e9), st.floats(-1e3, 1e3))


@given(st.lists(PAIR, max_size=12), st.booleans())
def test_the_front_is_what_nothing_dominates(points, higher):
    sign = 1 if higher else -1
    wanted = [i for i, p in enumerate(points) if not any(dominates(q, p, sign) for q in points)]
    assert [i for i, best in enumerate(on_front(points, higher)) if best] == wanted

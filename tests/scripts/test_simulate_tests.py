"""What the recorded simulation promises of the tests that tables use, and that the script still makes such numbers."""

from __future__ import annotations

import itertools
import json
import math
from typing import Any

import numpy as np
import pytest

from tests.support.paths import ROOT
from tests.support.scripts import script

made = script("simulate_tests")
FOUND: dict[str, Any] = json.loads((ROOT / "results" / "bench" / "simulated_tests.json").read_text("utf-8"))
OFTEN, ONCE = FOUND["repetitions_over_both"], FOUND["repetitions"]


def most(level: float, draws: int) -> float:
    """The largest share that draws of an event of chance ``level`` show, but for one in several hundred."""
    return level + 3 * math.sqrt(level * (1 - level) / draws)


def test_no_test_errs_in_more_than_five_percent_and_intervals_cover() -> None:
    assert {(one["items"], one["seeds"]) for one in FOUND["over_both"]} == {
        (items, seeds) for items in (100, 277, 1000) for seeds in (1, 3, 5)
    }
    for one in FOUND["over_both"]:
        assert one["type_1_error"] <= most(0.05, OFTEN), one
        assert one["passes_at_margin"] <= most(0.05, OFTEN), one
        assert one["coverage"] >= 0.93, one
    for one in FOUND["hardly_different"]:
        assert one["passes_at_margin"] <= most(0.05, OFTEN), one
    for one in FOUND["corpus_metrics"]:
        assert one["type_1_error"] <= most(0.05, ONCE // 2), one
        assert one["coverage"] >= 0.93, one
    for one in FOUND["over_items"]:
        assert one["mcnemar_exact"] <= most(0.05, ONCE), one
        assert one["permutation"] <= most(0.05, ONCE), one
    for one in FOUND["over_seeds"]:
        assert one["sign_flip"] <= most(0.05, ONCE), one


def test_power_grows_with_the_difference_and_with_items() -> None:
    noise = 3 * math.sqrt(0.5 / (ONCE // 2))
    curves = {(one["items"], one["seeds"], one["seed_spread"]): one["better_at_points"] for one in FOUND["power"]}
    for (items, seeds, spread), curve in curves.items():
        shares = list(curve.values())
        assert all(later >= sooner - noise for sooner, later in itertools.pairwise(shares))
        if items == 100:
            assert curves[1000, seeds, spread]["5"] > curve["5"]


@pytest.mark.parametrize(
    "part", ["over_both", "over_items", "over_seeds", "corpus_metrics", "power", "hardly_different"]
)
def test_the_script_makes_what_is_recorded(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(made, "MORE", 1)
    rows = getattr(made, part)(2, np.random.default_rng(0))
    assert [row.keys() for row in rows] == [row.keys() for row in FOUND[part]]

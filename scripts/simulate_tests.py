"""How often the tests over items and seeds err, and what they can see, on simulated right and wrong answers.

Writes results/bench/simulated_tests.json: type-I error of every test, coverage of the intervals, how often a row that
is worse by exactly the margin passes as not inferior, and power. One thread, a few minutes:

    python scripts/simulate_tests.py [repetitions, default 1000]

Model: item i is right for method m under seed s if a_i + μ_m + g_ms + h_mi + e_msi > 0, all normal: a (1) how hard an
item is, g (``seed_spread``) luck in training, h (0.4) what a method finds hard, e (0.4) the rest. μ sets the expected
accuracy.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from uora_bench.metrics.items import item_scores
from uora_bench.report.items import Crossed, crossed, mcnemar, permutation
from uora_bench.report.pairing import pair
from uora_bench.report.stats import sign_flip_test

BASE, MARGIN, LEVEL = 0.7, 0.02, 0.05  # expected accuracy of the reference; δ; of tests
ITEMS, SEEDS = (100, 277, 1000), (1, 3, 5)
ALONE = (0.0, 0.01, 0.05)  # share of items that the better row alone has right, beside δ, where rows hardly differ
SPREADS = {"none": 0.0, "half a point": 0.017, "two points": 0.069}  # of g; in accuracy at 0.7
MORE = 10
POWER_AT = (0.0, 0.01, 0.02, 0.03, 0.05, 0.08)
OUT = Path(__file__).resolve().parents[1] / "results" / "bench" / "simulated_tests.json"


def answers(
    generator: np.random.Generator, items: int, seeds: int, spread: float, difference: float
) -> tuple[np.ndarray, np.ndarray]:
    """Whether the items (seeds, items) are right, of a row whose expected accuracy is ``difference`` above that of the
    reference, and of the reference."""
    hard = generator.normal(size=items)
    whole = np.sqrt(1 + 0.4**2 + 0.4**2 + spread**2)
    made = []
    for accuracy in (BASE + difference, BASE):
        centre = (
            stats.norm.ppf(accuracy) * whole + generator.normal(0, spread, (seeds, 1))
            if spread
            else (stats.norm.ppf(accuracy) * whole)
        )
        own = generator.normal(0, 0.4, items)
        made.append(hard + centre + own + generator.normal(0, 0.4, (seeds, items)) > 0)
    return made[0], made[1]


def share(hits: list[bool]) -> float:
    return round(float(np.mean(hits)), 4)


def rejects(found: Crossed) -> bool:
    """Whether p is at most `LEVEL`: p is where the interval begins to leave out zero, and takes longer to find."""
    interval = found.interval(1 - LEVEL)
    return not interval.low < 0 < interval.high


def settings(seeds: tuple[int, ...]) -> Iterator[dict[str, Any]]:
    for items in ITEMS:
        for count in seeds:
            for name, spread in SPREADS.items():
                if (count == 1) == (name == "none"):  # one seed says nothing of seeds
                    yield {"items": items, "seeds": count, "seed_spread": name, "spread": spread}


def over_both(repetitions: int, generator: np.random.Generator) -> list[dict[str, Any]]:
    """The crossed test and interval; ten times as often as the rest, because what they promise is 5 % to the digit."""
    found, repetitions = [], MORE * repetitions
    for one in settings(SEEDS):
        size = one["items"], one["seeds"], one.pop("spread")
        null, covered, passed = [], [], []
        for _ in range(repetitions):
            a, b = answers(generator, *size, 0.0)
            same = crossed(a.astype(float) - b)
            interval = same.interval(1 - LEVEL)
            null.append(rejects(same))
            covered.append(interval.low <= 0 <= interval.high)
            a, b = answers(generator, *size, -MARGIN)
            worse = crossed(a.astype(float) - b, 1.0)
            passed.append(worse.exceeds(-MARGIN, LEVEL))
        found.append(
            {**one, "type_1_error": share(null), "coverage": share(covered), "passes_at_margin": share(passed)}
        )
    return found


def hardly_different(repetitions: int, generator: np.random.Generator) -> list[dict[str, Any]]:
    """How often a row that is worse by the margin passes where only few items differ: those that the reference alone
    has right are δ more than those of the row. Under several seeds nothing differs but the items."""
    found = []
    for items in ITEMS:
        for seeds in SEEDS:
            for alone in ALONE:
                passed = []
                for _ in range(MORE * repetitions):
                    sort = generator.random(items)
                    differences = np.repeat([(sort < alone).astype(float) - (sort > 1 - alone - MARGIN)], seeds, axis=0)
                    passed.append(crossed(differences, 1.0).exceeds(-MARGIN, LEVEL))
                found.append({"items": items, "seeds": seeds, "row_alone": alone, "passes_at_margin": share(passed)})
    return found


def over_items(repetitions: int, generator: np.random.Generator) -> list[dict[str, Any]]:
    """McNemar's test and the permutation, of models whose training had no luck."""
    found = []
    for items in ITEMS:
        exact, mid, permuted = [], [], []
        for i in range(repetitions):
            a, b = answers(generator, items, 1, 0.0, 0.0)
            both = mcnemar(a[0], b[0])
            exact.append(both[0] <= LEVEL)
            mid.append(both[1] <= LEVEL)
            a, b = answers(generator, items, 3, 0.0, 0.0)
            permuted.append(permutation(a.astype(float) - b, seed=i, resamples=499) <= LEVEL)
        found.append(
            {"items": items, "mcnemar_exact": share(exact), "mcnemar_mid_p": share(mid), "permutation": share(permuted)}
        )
    return found


def over_seeds(repetitions: int, generator: np.random.Generator) -> list[dict[str, Any]]:
    """The sign-flip test, on the items of one test set."""
    found = []
    for seeds in (6, 10):
        hits = []
        for _ in range(repetitions):
            a, b = generator.normal(0.7, 0.02, (2, seeds))
            pairs = pair(*({"task": dict(enumerate(row.tolist()))} for row in (a, b)))
            hits.append(sign_flip_test(pairs, generator)[0] <= LEVEL)
        found.append({"seeds": seeds, "sign_flip": share(hits)})
    return found


def corpus_metrics(repetitions: int, generator: np.random.Generator) -> list[dict[str, Any]]:
    """The crossed test and interval of scores that are no mean over items, by the values of the jackknife."""
    found = []
    for metric, value in (("glue/mrpc", "f1"), ("glue/cola", "matthews_correlation"), ("text/regression", "pearson")):
        for items in ITEMS:
            for seeds in SEEDS[1:]:
                null, covered = [], []
                for _ in range(repetitions // 2):
                    rows = answers(generator, items, seeds, SPREADS["half a point"], 0.0)
                    if value == "pearson":
                        true = generator.normal(size=items)
                        said = [true + hits + generator.normal(0, 0.5, hits.shape) for hits in rows]
                    else:
                        true = generator.integers(0, 2, items)
                        said = [np.where(hits, true, 1 - true) for hits in rows]
                    a, b = (np.array([item_scores(metric, value, one, true) for one in own]) for own in said)
                    same = crossed(a - b)
                    interval = same.interval(1 - LEVEL)
                    null.append(rejects(same))
                    covered.append(interval.low <= 0 <= interval.high)
                found.append({"score": value, "items": items, "seeds": seeds, "type_1_error": share(null),
                              "coverage": share(covered)})  # fmt: skip
    return found


def power(repetitions: int, generator: np.random.Generator) -> list[dict[str, Any]]:
    """How often a true difference is found over items and seeds; and how often equal rows are equivalent within δ."""
    found = []
    for one in settings(SEEDS[1:]):
        size = one["items"], one["seeds"], one.pop("spread")
        curve, same = {}, []
        for difference in POWER_AT:
            hits = []
            for _ in range(repetitions // 2):
                a, b = answers(generator, *size, difference)
                both = crossed(a.astype(float) - b, 1.0)
                hits.append(rejects(both) and both.mean > 0)
                if not difference:
                    same.append(both.exceeds(-MARGIN, LEVEL) and both.mirrored.exceeds(-MARGIN, LEVEL))
            curve[f"{100 * difference:g}"] = share(hits)
        found.append({**one, "better_at_points": curve, "equal_is_equivalent": share(same)})
    return found


def main() -> None:
    repetitions = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    started = time.perf_counter()
    parts = (over_both, over_items, over_seeds, corpus_metrics, power, hardly_different)
    # each with draws of its own, so that none depends on how often another one draws
    made = {part.__name__: part(repetitions, np.random.default_rng(n)) for n, part in enumerate(parts)}
    facts = {
        "repetitions": repetitions,
        "repetitions_over_both": MORE * repetitions,
        "level": LEVEL,
        "base_accuracy": BASE,
        "margin": MARGIN,
    }
    OUT.write_text(json.dumps({**facts, **made}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{OUT.name}: {time.perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()

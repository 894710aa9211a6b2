"""Figure 1 of the α-LoRA theory: its simulation against refitting a ridge system for every α.

The grid is N = 5000, n = 40, p = 1000, β ∈ {0.2, 0.5, 0.9} and 1000 α from −10 to 10. Cases take turns in one process,
in a new order every round; times are seconds per repetition of the three β, a ratio is that of a case's and
`simulate`'s in one round, printed as median and quartiles:

- simulate: as `uora_bench.theory` does it, in one call of many repetitions;
- refit n: a system of the smaller of n and p unknowns per α; refit p: one of p, as one would write it down;
- simulate data, refit p data: the same with source sets drawn as data, in place of the law of the source vector.

Refitting p unknowns takes the same time for every α and minutes for the grid, so it is measured on ``--refit-alphas``
of them, less the draws, and scaled to the grid; ``--refit-alphas 1000`` measures all. `--out` keeps the result.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import benches
import numpy as np
from threadpoolctl import threadpool_limits

from uora_bench.theory import ridge
from uora_bench.theory.classification import Source
from uora_bench.theory.settings import Setting
from uora_bench.theory.simulate import Draw, Simulation, collected, draws, law, simulate, target_mean

SETTINGS = [Setting(5000, 40, 1000, 0.8, 0.8, beta, 5, 0.1) for beta in (0.2, 0.5, 0.9)]
BASE = "simulate"


def data(setting: Setting, generators: list[np.random.Generator]) -> np.ndarray:
    """w̃ of a drawn source set each, (repetitions, p): N × p normals, one ridge system of the smaller size."""
    found = np.empty((len(generators), int(setting.p)))
    for row, rng in zip(found, generators, strict=True):
        points = rng.standard_normal((int(setting.N), int(setting.p)))
        points[:, 0] += setting.mu
        row[:] = ridge.fit(points, np.ones((len(points), 1)), setting.gamma_pre)[:, 0]
    return found


def refitted(
    points: np.ndarray, targets: np.ndarray, source: np.ndarray, gamma: float, alpha: float, smaller: bool = False
) -> np.ndarray:
    """w_α for one α as its definition reads: ridge of the residual y − αXw̃, plus αw̃. What `ridge.adapter` must equal.

    The system has p unknowns, or with ``smaller`` the smaller of m and p. No batch: points (m, p), targets (m, c).
    """
    residual = targets - alpha * (points @ source)
    if smaller:
        return alpha * source + ridge.fit(points, residual, gamma)
    gram = points.T @ points / len(points) + gamma * np.eye(points.shape[1])
    return alpha * source + np.linalg.solve(gram, points.T @ residual / len(points))


def refit(
    setting: Setting, alphas: Any, repetitions: int, seed: int, source: Source | None = None, draw: Draw = law,
    smaller: bool = False,
) -> Simulation:  # fmt: skip
    """`simulate` on the same draws, with a ridge system per repetition and α: the plain way."""
    alphas = np.atleast_1d(np.asarray(alphas, float))
    target = target_mean(setting)
    parts = []
    for sources, points in draws(setting, repetitions, seed, source, draw):
        ones = np.ones((points.shape[1], 1))
        for w, x in zip(sources, points, strict=True):
            vectors = [refitted(x, ones, w[:, None], setting.gamma, a, smaller)[:, 0] for a in alphas]
            mean, norm2 = np.array([target @ v for v in vectors]), np.array([v @ v for v in vectors])
            parts.append((mean[None], norm2[None], np.array([w @ target]), np.array([w @ w])))
    return collected(alphas, parts)


def seconds(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def cases(given: argparse.Namespace) -> dict[str, Callable[[int], float]]:
    """Name -> a function of a seed that gives seconds per repetition of the whole grid (three β, all α)."""
    alphas = np.linspace(-10, 10, given.alphas)

    def ours(seed: int, repetitions: int, draw: Draw) -> float:
        return seconds(lambda: [simulate(s, alphas, repetitions, seed, draw=draw) for s in SETTINGS]) / repetitions

    def theirs(seed: int, smaller: bool, draw: Draw) -> float:
        few = alphas if smaller else alphas[:: max(1, given.alphas // given.refit_alphas)][: given.refit_alphas]
        drawing = seconds(lambda: [simulate(s, alphas[:1], 1, seed, draw=draw) for s in SETTINGS])
        whole = seconds(lambda: [refit(s, few, 1, seed, draw=draw, smaller=smaller) for s in SETTINGS])
        return drawing + (whole - drawing) * len(alphas) / len(few)

    found: dict[str, Callable[[int], float]] = {
        BASE: lambda seed: ours(seed, given.repetitions, law),
        "refit n": lambda seed: theirs(seed, True, law),
        "refit p": lambda seed: theirs(seed, False, law),
    }
    if not given.no_data:
        found["simulate data"] = lambda seed: ours(seed, 1, data)
        found["refit p data"] = lambda seed: theirs(seed, False, data)
    return found


def times(given: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Medians and quartiles of all cases, after one round that does not count."""
    taken = benches.in_turns(cases(given), given.runs, warm_up=1)
    return {
        name: {"seconds_per_repetition": round(statistics.median(own), 6), **benches.quartiles(own, taken[BASE], 2)}
        for name, own in taken.items()
    }


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=9)
    parser.add_argument("--repetitions", type=int, default=300, help="of one call of simulate")
    parser.add_argument("--alphas", type=int, default=1000)
    parser.add_argument("--refit-alphas", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--no-data", action="store_true", help="leave out the cases that draw source sets as data")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if not 1 <= given.refit_alphas <= given.alphas or given.runs < 2:
        parser.error("give 1 ≤ --refit-alphas ≤ --alphas and at least two --runs")
    with threadpool_limits(given.threads):
        found = times(given)
        whole = seconds(lambda: [simulate(s, np.linspace(-10, 10, given.alphas), 300, 0) for s in SETTINGS])
    setting = {k: getattr(given, k) for k in ("runs", "repetitions", "alphas", "refit_alphas", "threads")}
    print(f"{'case':<16}{'s / repetition':>16}{'ratio':>10}   quartiles")
    for name, values in found.items():
        print(
            f"{name:<16}{values['seconds_per_repetition']:>16.4f}{values['ratio']:>10.1f}   "
            f"{values['ratio_q25']:.1f} – {values['ratio_q75']:.1f}"
        )
    if "simulate data" in found:
        least = found["refit p data"]["seconds_per_repetition"] / found["simulate data"]["seconds_per_repetition"]
        print(f"with source sets drawn as data, refitting takes {least:.1f} times as long as simulate")
    print(f"figure 1, three β × {given.alphas} α × 300 repetitions: {whole:.2f} s")
    benches.write_result(given.out, setting=setting, figure_1_seconds=round(whole, 3), cases=found)


if __name__ == "__main__":
    main()

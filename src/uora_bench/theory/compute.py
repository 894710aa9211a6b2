"""From a theory cell to its results: which formulas and which simulation each kind of experiment needs.

The numbers come from `classification`, `simulate`, `regression`, `amazon` and `digits`; this module only puts them
together. Cells draw independently of each other: the seed of the draws is derived from all that defines the cell.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from uora_bench.theory import classification, regression, transfers
from uora_bench.theory import simulate as simulation
from uora_bench.theory.classification import VARIANTS, Source
from uora_bench.theory.estimates import estimate, number, numbers
from uora_bench.theory.parameters import (
    AccuracyAlpha,
    DecisionFunction,
    GammaSweep,
    OptimalAlpha,
    OptimalAlphaMap,
    RegressionRisk,
    Ridge,
    SourceAccuracyAlpha,
    SourceOptimalAlpha,
    values,
)
from uora_bench.theory.presets import TheoryCell
from uora_bench.theory.record import Estimate, Histogram, Results
from uora_bench.theory.settings import Setting
from uora_bench.theory.simulate import Simulation
from uora_bench.util.seeds import derive

Array = np.ndarray
# the parts of the second moment and of the mean along α, from which α* follows
_THREE = (-1.0, 0.0, 1.0)


def results_of(cell: TheoryCell, data: Mapping[str, Any]) -> Results:
    """The results of ``cell``; ``data``: what `DataLoader.data_of` gave for it."""
    if cell.kind in ("amazon", "digits"):
        return transfers.results_of(cell, data)
    known: dict[str, Callable[[Any, int, int], Results]] = {
        "accuracy_alpha": _accuracy_alpha,
        "source_accuracy_alpha": _accuracy_alpha,
        "decision_function": _decision_function,
        "gamma_sweep": _gamma_sweep,
        "optimal_alpha": _optimal_alpha,
        "source_optimal_alpha": _optimal_alpha,
        "optimal_alpha_map": _optimal_alpha_map,
        "regression_risk": _regression_risk,
    }
    return known[cell.kind](cell.parameters, cell.repetitions, seed_of(cell))


def seed_of(cell: TheoryCell) -> int:
    """The seed of a cell's draws."""
    return derive(cell.seed, "theory", json.dumps(cell.canonical(), sort_keys=True))


def _with_source(given: Any) -> tuple[Setting, dict[str, Source], Source | None]:
    """The setting, the source by variant, and the vector to simulate with (None: the ridge classifier)."""
    if isinstance(given, Ridge):
        setting = Setting(**{name: getattr(given, name) for name in Ridge.__dataclass_fields__})
        return setting, {v: classification.ridge_source(setting, v) for v in VARIANTS}, None
    return _fixed(given.n, given.p, given.gamma, given.cosine, given.source_norm, given.target_norm)


def _fixed(
    n: Any, p: Any, gamma: Any, cosine: Any, source_norm: Any, target_norm: Any
) -> tuple[Setting, dict[str, Source], Source]:
    """A fixed vector has no source set: N, μ, β and γ̃ are placeholders that no formula of the target reads."""
    setting = Setting.from_moments(
        N=1, n=n, p=p, mu=1.0, beta=0.0, target_norm2=np.square(target_norm), gamma_pre=1.0, gamma=gamma
    )
    source = Source(np.multiply(cosine, np.multiply(source_norm, target_norm)), np.square(source_norm))
    return setting, {"corrected": source}, source


def _special(setting: Setting, sources: Mapping[str, Source]) -> dict[str, float]:
    found = {"worst_alpha": classification.worst_alpha(setting, sources["corrected"])}
    for variant, source in sources.items():
        found[f"{variant}.optimal_alpha"] = classification.optimal_alpha(setting, source)
    return {name: float(value) for name, value in found.items() if np.isfinite(value)}


def _curves(setting: Setting, source: Source, alphas: Any) -> dict[str, tuple[float | None, ...]]:
    mean, second = classification.moments(setting, source, alphas)
    return {
        "accuracy": numbers(classification.accuracy(setting, source, alphas)),
        "mean": numbers(mean),
        "second_moment": numbers(second),
    }


def _by_variant(
    setting: Setting, sources: Mapping[str, Source], alphas: Any
) -> dict[str, dict[str, tuple[float | None, ...]]]:
    """`_curves` of each variant; the mean, which is the same in both, once."""
    found = {variant: _curves(setting, source, alphas) for variant, source in sources.items()}
    for variant in found.keys() - {"corrected"}:
        del found[variant]["mean"]
    return found


def _measured(found: Simulation) -> dict[str, Estimate]:
    return {name: estimate(getattr(found, name)) for name in ("accuracy", "mean", "second_moment")}


def _accuracy_alpha(given: AccuracyAlpha | SourceAccuracyAlpha, repetitions: int, seed: int) -> Results:
    setting, sources, fixed = _with_source(given)
    special = _special(setting, sources)
    alphas = sorted({*values(given.alphas), *(special.values() if given.special else ())})
    found = simulation.simulate(setting, alphas, repetitions, seed, source=fixed)
    facts: dict[str, float | None] = {}
    for variant, source in sources.items():
        facts[f"{variant}.source_accuracy"] = number(classification.source_accuracy(source))
        facts[f"{variant}.best_accuracy"] = number(classification.best_accuracy(setting, source))
        facts[f"{variant}.source_norm2"] = number(source.W)
    theory, simulated = _by_variant(setting, sources, alphas), _measured(found)
    if not given.moments:
        theory = {variant: {"accuracy": curves["accuracy"]} for variant, curves in theory.items()}
        simulated = {"accuracy": simulated["accuracy"]}
    return Results(
        "alpha",
        tuple(alphas),
        theory,
        simulated,
        special,
        facts,
        {"source_accuracy": estimate(found.source_accuracy), "source_norm2": estimate(found.source_norm2)},
    )


def _decision_function(given: DecisionFunction, repetitions: int, seed: int) -> Results:
    """``repetitions`` draws give mean and accuracy with their errors; the histograms are of one more draw."""
    setting, sources, fixed = _with_source(given)
    source, alphas = sources["corrected"], values(given.alphas)
    labels, decisions = simulation.decision_values(setting, alphas, 2 * given.points, seed, source=fixed)
    mean, second = classification.moments(setting, source, alphas)
    histograms = []
    for i, alpha in enumerate(alphas):
        edges = np.linspace(decisions[i].min(), decisions[i].max(), given.bins + 1)
        counts = [np.histogram(decisions[i][labels == sign], edges)[0] for sign in (-1, 1)]
        histograms.append(
            Histogram(
                alpha,
                tuple(float(e) for e in edges),
                tuple(int(c) for c in counts[0]),
                tuple(int(c) for c in counts[1]),
                float(mean[i]),
                float(np.sqrt(second[i] - mean[i] ** 2)),
                float(np.mean(np.sign(decisions[i]) == labels)),
            )
        )
    found = simulation.simulate(setting, alphas, repetitions, derive(seed, "moments"), source=fixed)
    return Results(
        "alpha",
        tuple(alphas),
        _by_variant(setting, sources, alphas),
        _measured(found),
        histograms=tuple(histograms),
    )


def _gamma_sweep(given: GammaSweep, repetitions: int, seed: int) -> Results:
    fixed = {k: v for k, v in asdict(given).items() if k not in ("alpha", "gammas")}
    gammas = np.array(values(given.gammas))
    whole = Setting(**fixed, gamma=gammas)
    sources: dict[str, Source] = {v: classification.ridge_source(whole, v) for v in VARIANTS}
    theory = _by_variant(whole, sources, given.alpha)
    for variant, source in sources.items():
        theory[variant]["risk"] = numbers(classification.risk(whole, source, given.alpha))
    columns: dict[str, list[Array]] = {"accuracy": [], "mean": [], "second_moment": [], "risk": []}
    for i, gamma in enumerate(gammas):
        # every γ has draws of its own, so that errors of neighbours are independent
        found = simulation.simulate(Setting(**fixed, gamma=gamma), [given.alpha], repetitions, derive(seed, i))
        for name in ("accuracy", "mean", "second_moment"):
            columns[name].append(getattr(found, name)[:, 0])
        columns["risk"].append(found.second_moment[:, 0] + 1 - 2 * found.mean[:, 0])
    simulated = {name: estimate(np.stack(column, axis=1)) for name, column in columns.items()}
    return Results("gamma", tuple(float(g) for g in gammas), theory, simulated)


def _optimal_alpha(given: OptimalAlpha | SourceOptimalAlpha, repetitions: int, seed: int) -> Results:
    x = sorted({*values(given.values), *given.checks})
    if given.along in ("N", "n", "p"):
        x = [float(round(v)) for v in x]
    setting, sources, _ = _along(given, np.array(x))
    theory = {
        variant: {
            "optimal_alpha": numbers(np.broadcast_to(classification.optimal_alpha(setting, source), len(x))),
            "accuracy": numbers(np.broadcast_to(classification.best_accuracy(setting, source), len(x))),
        }
        for variant, source in sources.items()
    }
    wanted = [float(round(v)) if given.along in ("N", "n", "p") else v for v in given.checks]
    mean: list[float | None] = [None] * len(x)
    error: list[float | None] = [None] * len(x)
    for i, value in enumerate(x):
        if value in wanted:
            one, _, fixed = _along(given, int(value) if given.along in ("N", "n", "p") else value)
            found = simulation.simulate(one, _THREE, repetitions, derive(seed, i), source=fixed)
            mean[i], error[i] = _jackknife(found)
    simulated = {"optimal_alpha": Estimate(tuple(mean), tuple(error), repetitions)} if wanted else {}
    return Results(given.along, tuple(x), theory, simulated)


def _along(given: OptimalAlpha | SourceOptimalAlpha, value: Any) -> tuple[Setting, dict[str, Source], Source | None]:
    own = {k: v for k, v in asdict(given).items() if k not in ("along", "values", "checks")}
    own[given.along] = value
    if isinstance(given, SourceOptimalAlpha):
        return _fixed(**own)
    setting = Setting(**own)
    return setting, {v: classification.ridge_source(setting, v) for v in VARIANTS}, None


def _jackknife(found: Simulation) -> tuple[float, float]:
    """α* of the simulated mean and second moment, and its standard error by leaving out one repetition at a time.

    E m is affine in α and E ν a parabola, so three α give them everywhere; α* maximises m²/ν = m²/(m²+σ²).
    """
    mean, second = found.mean, found.second_moment
    total = len(mean)

    def optimum(m: Array, v: Array) -> Array:
        c0, c1 = m[..., 1], (m[..., 2] - m[..., 0]) / 2
        t1, t2, t3 = v[..., 1], (v[..., 2] - v[..., 0]) / 2, (v[..., 2] + v[..., 0]) / 2 - v[..., 1]
        return (c0 * t2 - 2 * c1 * t1) / (c1 * t2 - 2 * c0 * t3)

    whole = float(optimum(mean.mean(axis=0), second.mean(axis=0)))
    left = optimum((mean.sum(axis=0) - mean) / (total - 1), (second.sum(axis=0) - second) / (total - 1))
    return whole, float(np.sqrt((total - 1) / total * np.sum((left - left.mean()) ** 2)))


def _optimal_alpha_map(given: OptimalAlphaMap, repetitions: int, seed: int) -> Results:
    """Rows of the map are γ̃; ``x`` is γ, and quantity ``optimal_alpha[i]`` the row of the i-th γ̃."""
    fixed = {k: v for k, v in asdict(given).items() if not k.startswith("gammas")}
    rows, gammas = values(given.gammas_pre), np.array(values(given.gammas))
    theory: dict[str, dict[str, tuple[float | None, ...]]] = {variant: {} for variant in VARIANTS}
    for i, gamma_pre in enumerate(rows):
        setting = Setting(**fixed, gamma_pre=gamma_pre, gamma=gammas)
        for variant in VARIANTS:
            found = classification.optimal_alpha(setting, classification.ridge_source(setting, variant))
            theory[variant][f"optimal_alpha[{i}]"] = numbers(found)
    return Results("gamma", tuple(float(g) for g in gammas), theory)


def _regression_risk(given: RegressionRisk, repetitions: int, seed: int) -> Results:
    source, target = regression.matrices(given.d, given.p, given.beta, seed)
    best = regression.optimal_alpha(source, target)
    alphas: Sequence[float] = sorted({*values(given.alphas), round(best, 10)})
    draws = regression.simulate_regression(
        source, target, alphas, given.n, given.gamma, given.sigma, repetitions, derive(seed, "draws")
    )
    theory = numbers(regression.risk(source, target, alphas, given.n, given.gamma, given.sigma))
    return Results(
        "alpha",
        tuple(alphas),
        {"corrected": {"risk": theory}},
        {"risk": estimate(draws)},
        {"corrected.optimal_alpha": round(best, 10)},
    )

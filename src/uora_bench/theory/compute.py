"""From a theory cell to its results: which formulas and which simulation each kind of experiment needs.

The numbers come from `classification`, `simulate`, `regression`, `amazon` and `digits`; this module only puts them
together. Cells draw independently of each other: the seed of the draws is derived from all that defines the cell. But
transfers between data sets (`amazon`, `digits`) of one seed share splits and noise.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from typing import Any, NamedTuple

import numpy as np

from uora_bench.theory import amazon, classification, digits, regression
from uora_bench.theory import simulate as simulation
from uora_bench.theory.classification import VARIANTS, Source
from uora_bench.theory.empirical import COLUMNS, Transfer
from uora_bench.theory.parameters import Ridge, values
from uora_bench.theory.presets import TheoryCell
from uora_bench.theory.record import Estimate, Histogram, Results
from uora_bench.theory.settings import Setting
from uora_bench.theory.simulate import Simulation, standard_error
from uora_bench.util.seeds import derive

Array = np.ndarray
Curves = dict[str, dict[str, tuple[float | None, ...]]]
_MEASURED = ("accuracy", "mean", "second_moment")
# the parts of the second moment and of the mean along α, from which α* follows
_THREE = (-1.0, 0.0, 1.0)


def results_of(cell: TheoryCell, data_root: str | None) -> Results:
    """The results of ``cell``; ``data_root``: where the reviews are, for a cell that reads them.

    Raises:
        UserError: for data that is not there, or parameters that make no setting.
    """
    known: dict[str, Callable[[Any, int, int], Results]] = {
        "accuracy_alpha": _accuracy_alpha,
        "source_accuracy_alpha": _accuracy_alpha,
        "decision_function": _decision_function,
        "gamma_sweep": _gamma_sweep,
        "optimal_alpha": _optimal_alpha,
        "source_optimal_alpha": _optimal_alpha,
        "optimal_alpha_map": _optimal_alpha_map,
        "regression_risk": _regression_risk,
        "amazon": lambda given, splits, _: _amazon(given, splits, cell.seed, amazon.domains(data_root)),
        "digits": lambda given, draws, _: _digits(given, draws, cell.seed),
    }
    return known[cell.kind](cell.parameters, cell.repetitions, seed_of(cell))


def seed_of(cell: TheoryCell) -> int:
    """The seed of a cell's draws, from all that defines the cell; transfers between data sets do not use it."""
    return derive(cell.seed, "theory", json.dumps(cell.canonical(), sort_keys=True))


def numbers(found: Any) -> tuple[float | None, ...]:
    """Plain floats of a number or an array (n,); what is not finite is None."""
    return tuple(float(v) if np.isfinite(v) else None for v in np.atleast_1d(np.asarray(found, float)))


def number(found: Any) -> float | None:
    """A single theory value as a float; None where it is not finite."""
    return numbers(found)[0]


def estimate(draws: Array) -> Estimate:
    """Mean and its standard error over the first axis of ``draws``, (repetitions, values) or (repetitions,)."""
    draws = np.asarray(draws, float).reshape(len(draws), -1)
    return Estimate(numbers(draws.mean(axis=0)), numbers(standard_error(draws)), len(draws))


class _Model(NamedTuple):
    """A setting, its source by variant, and the vector to simulate with (None: the ridge classifier)."""

    setting: Setting
    sources: dict[str, Source]
    fixed: Source | None

    def curves(self, alphas: Any) -> Curves:
        """Accuracy and moments of each variant; the mean, which is the same in both, once."""
        found: Curves = {}
        for variant, source in self.sources.items():
            mean, second = classification.moments(self.setting, source, alphas)
            accuracy = classification.accuracy(self.setting, source, alphas)
            found[variant] = {"accuracy": numbers(accuracy), "mean": numbers(mean), "second_moment": numbers(second)}
            if variant != "corrected":
                del found[variant]["mean"]
        return found

    def simulate(self, alphas: Any, repetitions: int, seed: int) -> Simulation:
        return simulation.simulate(self.setting, alphas, repetitions, seed, source=self.fixed)


def _model(given: Any, **changes: Any) -> _Model:
    """The model of some parameters, with ``changes`` (numbers or arrays) in place of theirs."""
    own = {**asdict(given), **changes}
    if "cosine" not in own:
        setting = Setting(**{field.name: own[field.name] for field in fields(Ridge)})
        return _Model(setting, {v: classification.ridge_source(setting, v) for v in VARIANTS}, None)
    # a fixed vector has no source set: N, μ, β and γ̃ are placeholders that no formula of the target reads
    setting = Setting.from_moments(
        N=1, n=own["n"], p=own["p"], mu=1.0, beta=0.0, target_norm2=np.square(own["target_norm"]), gamma_pre=1.0,
        gamma=own["gamma"],
    )  # fmt: skip
    along = np.multiply(own["cosine"], np.multiply(own["source_norm"], own["target_norm"]))
    source = Source(along, np.square(own["source_norm"]))
    return _Model(setting, {"corrected": source}, source)


def _measured(found: Simulation) -> dict[str, Estimate]:
    return {name: estimate(getattr(found, name)) for name in _MEASURED}


def _accuracy_alpha(given: Any, repetitions: int, seed: int) -> Results:
    model = _model(given)
    setting, sources, _ = model
    stars = {"worst_alpha": classification.worst_alpha(setting, sources["corrected"])}
    facts: dict[str, float | None] = {}
    for variant, source in sources.items():
        stars[f"{variant}.optimal_alpha"] = classification.optimal_alpha(setting, source)
        facts[f"{variant}.source_accuracy"] = number(classification.source_accuracy(source))
        facts[f"{variant}.best_accuracy"] = number(classification.best_accuracy(setting, source))
        facts[f"{variant}.source_norm2"] = number(source.W)
    special = {name: float(value) for name, value in stars.items() if np.isfinite(value)}
    alphas = sorted({*values(given.alphas), *(special.values() if given.special else ())})
    found = model.simulate(alphas, repetitions, seed)
    theory, simulated = model.curves(alphas), _measured(found)
    if not given.moments:
        theory = {variant: {"accuracy": curves["accuracy"]} for variant, curves in theory.items()}
        simulated = {"accuracy": simulated["accuracy"]}
    alone = {name: estimate(getattr(found, name)) for name in ("source_accuracy", "source_norm2")}
    return Results("alpha", tuple(alphas), theory, simulated, special, facts, alone)


def _decision_function(given: Any, repetitions: int, seed: int) -> Results:
    """``repetitions`` draws give mean and accuracy with their errors; the histograms are of one more draw."""
    model, alphas = _model(given), values(given.alphas)
    labels, decisions = simulation.decision_values(model.setting, alphas, 2 * given.points, seed, source=model.fixed)
    mean, second = classification.moments(model.setting, model.sources["corrected"], alphas)
    histograms = []
    for i, alpha in enumerate(alphas):
        edges = np.linspace(decisions[i].min(), decisions[i].max(), given.bins + 1)
        negative, positive = (np.histogram(decisions[i][labels == sign], edges)[0].tolist() for sign in (-1, 1))
        std = float(np.sqrt(second[i] - mean[i] ** 2))
        hits = float(np.mean(np.sign(decisions[i]) == labels))
        histograms.append(
            Histogram(alpha, tuple(edges.tolist()), tuple(negative), tuple(positive), float(mean[i]), std, hits)
        )
    found = model.simulate(alphas, repetitions, derive(seed, "moments"))
    return Results("alpha", tuple(alphas), model.curves(alphas), _measured(found), histograms=tuple(histograms))


def _gamma_sweep(given: Any, repetitions: int, seed: int) -> Results:
    gammas = np.array(values(given.gammas))
    whole = _model(given, gamma=gammas)
    theory = whole.curves(given.alpha)
    for variant, source in whole.sources.items():
        theory[variant]["risk"] = numbers(classification.risk(whole.setting, source, given.alpha))
    columns: dict[str, list[Array]] = {name: [] for name in (*_MEASURED, "risk")}
    for i, gamma in enumerate(gammas):
        # every γ has draws of its own, so that errors of neighbours are independent
        found = _model(given, gamma=gamma).simulate([given.alpha], repetitions, derive(seed, i))
        for name in _MEASURED:
            columns[name].append(getattr(found, name)[:, 0])
        columns["risk"].append(found.second_moment[:, 0] + 1 - 2 * found.mean[:, 0])
    simulated = {name: estimate(np.stack(column, axis=1)) for name, column in columns.items()}
    return Results("gamma", tuple(gammas.tolist()), theory, simulated)


def _optimal_alpha(given: Any, repetitions: int, seed: int) -> Results:
    counted = given.along in ("N", "n", "p")
    x, checks = sorted({*values(given.values), *given.checks}), list(given.checks)
    if counted:
        x, checks = [float(round(v)) for v in x], [float(round(v)) for v in checks]
    setting, sources, _ = _model(given, **{given.along: np.array(x)})
    theory = {
        variant: {
            "optimal_alpha": numbers(np.broadcast_to(classification.optimal_alpha(setting, source), len(x))),
            "accuracy": numbers(np.broadcast_to(classification.best_accuracy(setting, source), len(x))),
        }
        for variant, source in sources.items()
    }
    found: list[tuple[float | None, float | None]] = [(None, None)] * len(x)
    for i, value in enumerate(x):
        if value in checks:
            one = _model(given, **{given.along: int(value) if counted else value})
            found[i] = _jackknife(one.simulate(_THREE, repetitions, derive(seed, i)))
    mean, error = zip(*found, strict=True)
    simulated = {"optimal_alpha": Estimate(mean, error, repetitions)} if checks else {}
    return Results(given.along, tuple(x), theory, simulated)


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


def _optimal_alpha_map(given: Any, repetitions: int, seed: int) -> Results:
    """Rows of the map are γ̃; ``x`` is γ, and quantity ``optimal_alpha[i]`` the row of the i-th γ̃."""
    gammas = values(given.gammas)
    theory: Curves = {variant: {} for variant in VARIANTS}
    for i, gamma_pre in enumerate(values(given.gammas_pre)):
        setting, sources, _ = _model(given, gamma_pre=gamma_pre, gamma=np.array(gammas))
        for variant, source in sources.items():
            theory[variant][f"optimal_alpha[{i}]"] = numbers(classification.optimal_alpha(setting, source))
    return Results("gamma", tuple(gammas), theory)


def _regression_risk(given: Any, repetitions: int, seed: int) -> Results:
    source, target = regression.matrices(given.d, given.p, given.beta, seed)
    best = round(regression.optimal_alpha(source, target), 10)
    alphas = sorted({*values(given.alphas), best})
    where = (source, target, alphas, given.n, given.gamma, given.sigma)
    draws = regression.simulate_regression(*where, repetitions, derive(seed, "draws"))
    theory = {"corrected": {"risk": numbers(regression.risk(*where))}}
    return Results("alpha", tuple(alphas), theory, {"risk": estimate(draws)}, {"corrected.optimal_alpha": best})


def _amazon(given: Any, splits: int, seed: int, held: Any) -> Results:
    """Standard errors are over splits of the reviews."""
    found = amazon.transfer(
        held, given.source, given.target, given.N, given.n, given.gamma_pre, given.gamma, splits=splits, seeds=[seed],
        grid=values(given.alphas),
    )  # fmt: skip
    return _transfer(found, lambda accuracies: accuracies[0])


def _digits(given: Any, draws: int, seed: int) -> Results:
    """Standard errors are over draws of the noise."""
    found = digits.transfer(
        given.source, given.target, given.n, given.gamma_pre, given.gamma, draws=draws, splits=given.splits, seed=seed,
        grid=values(given.alphas),
    )  # fmt: skip
    return _transfer(found, lambda accuracies: accuracies.mean(axis=1))


def _transfer(found: Transfer, draws: Callable[[Array], Array]) -> Results:
    """The accuracies of `COLUMNS` and the curve of accuracy against α, each with the standard error over ``draws``.

    ``best``: the largest mean accuracy of the curve, chosen on the test rows themselves, so a bound and no method.
    """
    special = {
        f"{column}.optimal_alpha": float(np.mean(found.alphas[column]))
        for column in VARIANTS
        if np.all(np.isfinite(found.alphas[column]))
    }
    best_alpha, best = found.best()
    facts: dict[str, float | None] = {"beta": number(np.mean(found.beta)), "best_alpha": best_alpha, "best": best}
    facts |= {f"theory.{name}": number(np.mean(found.theory[name])) for name in COLUMNS if name in found.theory}
    measured = {column: estimate(draws(found.accuracy[column])) for column in COLUMNS}
    curve = {"accuracy": estimate(draws(found.curve))}
    return Results("alpha", tuple(found.grid.tolist()), {}, curve, special, facts, measured)

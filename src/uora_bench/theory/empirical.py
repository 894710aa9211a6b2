"""The α-fine-tuned classifier on data: domains, plug-in moments, and accuracies over random splits of the target.

A transfer trains the ridge source w̃ on one domain, then on n random rows of another the α-fine-tuned w_α for every α
at once (`uora_bench.theory.ridge`), and scores it on the target's other rows. What is compared is named in `COLUMNS`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from uora_bench.errors import UserError
from uora_bench.theory import classification, ridge
from uora_bench.theory.settings import Setting

Array = np.ndarray

# target_only: α = 0, ridge on the n target rows alone. plain: α = 1, the residual adapter. corrected, released: α = α*
# of the two variants of the theory. source_only: the untouched source classifier.
COLUMNS = ("target_only", "plain", "corrected", "released", "source_only")


@dataclass(frozen=True)
class Domain:
    """Rows of one domain: ``features`` (rows, p) and ``labels`` (rows,), −1 or +1."""

    name: str
    features: Array
    labels: Array


@dataclass(frozen=True)
class Transfer:
    """What one transfer found. ``draws`` are independent repetitions of everything random but the splits (noise, seed).

    Attributes:
        source, target: names of the domains.
        beta: (draws,), the plug-in β.
        alphas: {column: (draws,)}, the α of every column of `COLUMNS` but source_only.
        accuracy: {column: (draws, splits)}, on the target's rows outside the split.
        theory: {column: (draws,)}, predicted from the plug-in moments (corrected formulas).
        grid: (g,), a grid of α. curve: (draws, splits, g), its accuracies.
    """

    source: str
    target: str
    beta: Array
    alphas: dict[str, Array]
    accuracy: dict[str, Array]
    theory: dict[str, Array]
    grid: Array
    curve: Array

    def best(self) -> tuple[float, float]:
        """(α, accuracy) of the grid's best mean accuracy. An oracle: it is chosen on the rows it is scored on."""
        means = self.curve.mean(axis=(0, 1))
        index = int(np.argmax(means))
        return float(self.grid[index]), float(means[index])


def standardised(features: Array) -> Array:
    """Every column less its mean, over its (population) standard deviation; constant columns become 0."""
    centred = features - features.mean(axis=0)
    # a constant column may leave rounding errors behind the mean, which must not be blown up
    constant = np.ptp(features, axis=0) == 0
    return np.where(constant, 0.0, centred / np.where(constant, 1.0, features.std(axis=0)))


def class_means(domain: Domain) -> tuple[Array, Array]:
    """(m_−, m_+), the mean rows (p,) of the two classes."""
    return domain.features[domain.labels < 0].mean(axis=0), domain.features[domain.labels > 0].mean(axis=0)


def half_difference(domain: Domain) -> Array:
    """The plug-in mean vector (m_+ − m_−)/2, (p,)."""
    below, above = class_means(domain)
    return (above - below) / 2


def debiased_norm2(domain: Domain) -> float:
    """‖(m_+ − m_−)/2‖² less what estimation adds to it, (tr C_+/n_+ + tr C_−/n_−)/4, C_± the sample covariances."""
    added = 0.0
    for side in (-1, 1):
        rows = domain.features[domain.labels * side > 0]
        added += float(rows.var(axis=0, ddof=1).sum()) / len(rows) / 4
    vector = half_difference(domain)
    return float(vector @ vector) - added


def splits_of(domain: Domain, n: int, count: int, rng: np.random.Generator) -> Array:
    """(count, n) row numbers: ``count`` random choices of n training rows without repetition.

    Raises:
        UserError: when n leaves no row to train on or to test on.
    """
    rows = len(domain.labels)
    if not 1 <= n < rows:
        raise UserError(f"n={n}: {domain.name} has {rows} rows, of which at least one must be left for testing")
    return np.stack([rng.permutation(rows)[:n] for _ in range(count)])


def accuracies(domain: Domain, source: Array, splits: Array, gamma: float, alphas: Array) -> tuple[Array, Array]:
    """Accuracies of w_α trained on each split, on the rows outside it, and of the source vector on the same rows.

    Args:
        domain: the target.
        source: w̃, (p,).
        splits: (splits, n) row numbers of the training rows.
        gamma: the penalty γ.
        alphas: (alphas,).

    Returns:
        (splits, alphas) and (splits,), each 0 to 1.
    """
    labels = domain.labels
    base, pull = ridge.adapter(domain.features[splits], labels[splits][..., None], source[:, None], gamma)
    fixed, moving = domain.features @ base[..., 0].T, domain.features @ pull[..., 0].T  # (rows, splits)
    own = domain.features @ source * labels > 0
    found, alone = np.empty((len(splits), len(alphas))), np.empty(len(splits))
    for i, rows in enumerate(splits):
        test = np.ones(len(labels), bool)
        test[rows] = False
        values = fixed[test, i, None] + moving[test, i, None] * alphas
        found[i] = np.mean(values * labels[test, None] > 0, axis=0)
        alone[i] = own[test].mean()
    return found, alone


def plug_in(
    source: Domain, target: Domain, n: int, gamma_pre: float, gamma: float, debias: bool, N: int | None = None
) -> Setting:
    """The setting of a transfer, from the moments of all rows of both domains.

    The target's test rows are among them, as in the published tables. With μ_s and μ_t the half differences of class
    means, ‖μ_β‖² = ‖μ_t‖² and β = ⟨μ_s, μ_t⟩/μ². Without ``debias`` μ is √|⟨m_−, m_+⟩| of the source as the released
    code has it (‖μ_s‖ for balanced, centred domains); with it both squared norms are `debiased_norm2`. ``n`` target
    rows are trained on with penalty ``gamma``, and ``N`` source rows (None: all) with ``gamma_pre``.

    Raises:
        UserError: for a debiased norm that is not above 0.
    """
    ours, theirs = half_difference(source), half_difference(target)
    if debias:
        mu2, norm2 = debiased_norm2(source), debiased_norm2(target)
        if min(mu2, norm2) <= 0:
            raise UserError(f"{source.name} → {target.name}: a debiased norm is not above 0: no difference of classes")
    else:
        below, above = class_means(source)
        mu2, norm2 = abs(float(below @ above)), float(theirs @ theirs)
    beta = float(ours @ theirs) / mu2
    rows, p = source.features.shape
    return Setting.from_moments(N or rows, n, p, np.sqrt(mu2), beta, norm2, gamma_pre, gamma)


def optimal_alphas(
    source: Domain, target: Domain, n: int, gamma_pre: float, gamma: float, debias: bool, N: int | None = None
) -> dict[classification.Variant, float]:
    """α* of both variants for a transfer.

    corrected: the formulas on `plug_in`'s moments, with or without ``debias``.
    released: as the published code has it, with its two errors (docs/theory_errata.md): moments that are not debiased,
    ‖μ_β‖² taken as β²μ² + (1−β²)‖μ_⊥‖² although ‖μ_⊥‖ is already that of μ_β − βμ, and the released W. NaN where that
    norm is not above 0, which |β| > 1 can make it. Arguments and errors are those of `plug_in`.
    """
    right = plug_in(source, target, n, gamma_pre, gamma, debias, N)
    found: dict[classification.Variant, float] = {"released": float("nan")}
    found["corrected"] = float(classification.optimal_alpha(right, classification.ridge_source(right)))
    biased = plug_in(source, target, n, gamma_pre, gamma, False, N)
    apart = float(np.linalg.norm(half_difference(target) - biased.beta * half_difference(source)))
    if (biased.beta * biased.mu) ** 2 + (1 - biased.beta**2) * apart**2 > 0:
        slipped = replace(biased, mu_perp=apart, target_norm2_override=None)
        released = classification.ridge_source(slipped, "released")
        found["released"] = float(classification.optimal_alpha(slipped, released))
    return found


def one_draw(
    source: Domain,
    target: Domain,
    splits: Array,
    gamma_pre: float,
    gamma: float,
    grid: Array,
    debias: bool,
    source_rows: Array | None = None,
) -> Transfer:
    """A `Transfer` of one draw (arrays of length 1 in the first axis).

    Args:
        source: the domain that w̃ is trained on.
        target: the domain that w_α is trained and scored on.
        splits: (splits, n) row numbers of the target's training rows.
        gamma_pre: the source's penalty γ̃.
        gamma: the target's penalty γ.
        grid: (g,), the α of the curve.
        debias: whether the plug-in moments are debiased.
        source_rows: numbers of the source's rows to train w̃ on, instead of all; moments are of all rows all the same.
    """
    n = splits.shape[1]
    rows = np.arange(len(source.labels)) if source_rows is None else source_rows
    vector = ridge.fit(source.features[rows], source.labels[rows, None], gamma_pre)[:, 0]
    setting = plug_in(source, target, n, gamma_pre, gamma, debias, len(rows))
    limit = classification.ridge_source(setting)
    stars = optimal_alphas(source, target, n, gamma_pre, gamma, debias, len(rows))
    alphas = {"target_only": 0.0, "plain": 1.0, "corrected": stars["corrected"], "released": stars["released"]}
    every = np.array([*alphas.values(), *grid])
    found, alone = accuracies(target, vector, splits, gamma, every)
    found[:, np.isnan(every)] = np.nan  # no α, no accuracy: comparisons with NaN would count as misses
    columns = {name: found[None, :, i] for i, name in enumerate(alphas)}
    expected = {name: np.array([classification.accuracy(setting, limit, a)]) for name, a in alphas.items()}
    expected["source_only"] = np.array([classification.source_accuracy(limit)])
    return Transfer(
        source.name, target.name, np.array([setting.beta]), {name: np.array([a]) for name, a in alphas.items()},
        {**columns, "source_only": alone[None]}, expected, grid, found[None, :, len(alphas) :],
    )  # fmt: skip


def joined(parts: list[Transfer]) -> Transfer:
    """Draws of one transfer put together, in the order of ``parts``."""

    def together(values: list[Any]) -> Any:
        if isinstance(values[0], dict):
            return {key: together([value[key] for value in values]) for key in values[0]}
        return np.concatenate(values)

    names = ("beta", "alphas", "accuracy", "theory", "curve")
    return replace(parts[0], **{name: together([getattr(part, name) for part in parts]) for name in names})

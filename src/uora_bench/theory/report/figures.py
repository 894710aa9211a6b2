"""Figures of theory experiments: curves of theory, points of simulation with their errors, histograms, maps.

As every figure of the report: numbers first (a `FigureSpec` with its CSV), the picture when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from uora_bench.report.figure_spec import FigureSpec, stem, table_text
from uora_bench.report.figures import canvas
from uora_bench.report.figures.style import BLACK, CHAIN, DASHED, DOTTED, GREY, SOLID, Look
from uora_bench.theory.record import Results
from uora_bench.theory.report import histograms, maps, transfer_curves
from uora_bench.theory.report.model import at, name
from uora_bench.theory.report.studies import Group, Study

COLUMNS = ("panel", "quantity", "axis", "x", "theory", "released", "simulated", "error", "repetitions", "by_seed",
           "cell_ids")  # fmt: skip
THEORY = Look("#0072B2", "o", SOLID)
RELEASED = Look("#D55E00", "D", DASHED)
POINTS = Look(BLACK, "o", SOLID)
OTHER = Look("#009E73", "^", CHAIN)
_MARKS = 21  # simulated points drawn in a panel; the CSV has them all
AXES = {
    "alpha": "α", "gamma": "γ", "beta": "β", "n": "n", "p": "p", "N": "N", "mu": "μ", "mu_perp": "μ⊥",
    "gamma_pre": "γ of the source", "cosine": "cosine of source and target mean", "source_norm": "norm of the source",
    "target_norm": "norm of the target mean",
}  # fmt: skip
QUANTITIES = {
    "accuracy": "test accuracy", "mean": "mean of the decision value", "second_moment": "its second moment",
    "risk": "test risk", "optimal_alpha": "α*",
}  # fmt: skip


@dataclass(frozen=True)
class Point:
    """One point of a curve; None where it was not computed there."""

    x: float
    theory: float | None
    released: float | None
    simulated: float | None
    error: float | None
    by_seed: dict[int, float]


@dataclass(frozen=True)
class TheoryPanel:
    """One setting and one quantity. ``lines``: level -> words, ``marks``: x -> words."""

    title: str
    group: Group
    quantity: str
    points: tuple[Point, ...]
    lines: tuple[tuple[str, float, Look], ...] = ()
    marks: tuple[tuple[str, float], ...] = ()


def figure_specs(study: Study) -> list[FigureSpec]:
    """The figures of ``study``; settings without a finished record are left out."""
    if not study.done:
        return []
    kind = study.preset.kind
    if kind == "decision_function":
        return histograms.figure_specs(study)
    if kind == "optimal_alpha_map":
        return maps.figure_specs(study)
    if kind in ("amazon", "digits"):
        return transfer_curves.figure_specs(study)
    return [_spec(study, quantity) for quantity in study.preset.shows]


def panels(study: Study, quantity: str) -> list[TheoryPanel]:
    """A panel per setting, with everything that its records say of ``quantity``."""
    found = []
    for group in study.done:
        results = group.results
        assert results is not None
        points = tuple(_point(group, quantity, x) for x in results.x)
        found.append(
            TheoryPanel(
                group.label, group, quantity, points, _levels(group, quantity, results), _marks(results, quantity)
            )
        )
    return found


def _point(group: Group, quantity: str, x: float) -> Point:
    by_seed, error = group.measured(quantity, x)
    theory, released = (at(group, variant, quantity, x).value for variant in ("corrected", "released"))
    mean = sum(by_seed.values()) / len(by_seed) if by_seed else None
    return Point(x, theory, released, mean, error, by_seed)


def _levels(group: Group, quantity: str, results: Results) -> tuple[tuple[str, float, Look], ...]:
    """Horizontal lines: what needs no α."""
    if quantity != "accuracy" or results.axis != "alpha":
        return ()
    found = []
    alone = results.facts.get("corrected.source_accuracy")
    if alone is not None:
        found.append(("source alone (theory)", alone, OTHER))
    return tuple(found)


def _marks(results: Results, quantity: str) -> tuple[tuple[str, float], ...]:
    if results.axis != "alpha":
        return ()
    names = {"corrected.optimal_alpha": "α*", "worst_alpha": "worst α"}
    return tuple((words, results.special[key]) for key, words in names.items() if key in results.special)


def _spec(study: Study, quantity: str) -> FigureSpec:
    drawn = panels(study, quantity)
    rows = [
        {
            "panel": panel.title,
            "quantity": quantity,
            "axis": panel.group.results.axis if panel.group.results is not None else "",
            "x": p.x,
            "theory": p.theory,
            "released": p.released,
            "simulated": p.simulated,
            "error": p.error,
            "repetitions": panel.group.repetitions if p.simulated is not None else None,
            "by_seed": p.by_seed if len(p.by_seed) > 1 else None,
            "cell_ids": [one.cell_id for one in panel.group.records],
        }
        for panel in drawn
        for p in panel.points
    ]
    one = len(study.preset.shows) < 2
    words = "" if one else quantity
    return FigureSpec(
        stem(study.name, words),
        f"{study.preset.title}{'' if one else f': {QUANTITIES[quantity]}'}",
        " ".join(_caption(study, quantity, drawn)),
        table_text(COLUMNS, rows),
        lambda: _draw(drawn, quantity),
    )


def _caption(study: Study, quantity: str, drawn: Sequence[TheoryPanel]) -> Iterable[str]:
    yield f"{QUANTITIES[quantity].capitalize()}: theory (line)"
    points = [p for panel in drawn for p in panel.points]
    if any(_apart(p) for p in points):
        yield "and the released formula (dashed, where it differs)"
    if any(p.simulated is not None for p in points):
        counts = sorted({panel.group.repetitions for panel in drawn})
        over = " or ".join(map(str, counts))
        yield f"beside the simulated mean over {over} repetitions with two standard errors (points)."
    else:
        yield "alone; nothing was simulated."
    if any(panel.lines for panel in drawn):
        yield "Chain line: the source classifier without any adaptation."
    if any(panel.marks for panel in drawn):
        yield "Dotted: where the theory's accuracy is largest (α*) and where it is one half (worst α)."
    if study.common:
        yield f"{', '.join(f'{name(k)}={v:g}' for k, v in study.common.items())}."


def _apart(p: Point) -> bool:
    """Whether the released formula says something else, to the eye."""
    if p.released is None or p.theory is None:
        return False
    return abs(p.released - p.theory) > 2e-4 * max(abs(p.theory), 1e-9)


def _draw(drawn: Sequence[TheoryPanel], quantity: str) -> Any:
    from matplotlib.lines import Line2D

    released = any(_apart(p) for panel in drawn for p in panel.points)
    simulated = any(p.simulated is not None for panel in drawn for p in panel.points)
    levels = {words: look for panel in drawn for words, _, look in panel.lines}
    marks = [words for words in ("α*", "worst α") if any(words == m for panel in drawn for m, _ in panel.marks)]
    handles: list[Any] = [Line2D([], [], label="theory", **THEORY.line(), linewidth=1.4)]
    if released:
        handles.append(Line2D([], [], label="released formula", **RELEASED.line(), linewidth=1.2))
    if simulated:
        handles.append(Line2D([], [], label="simulation ± 2 s.e.", linestyle="none", **POINTS.markers(3)))
    handles += [Line2D([], [], label=words, **look.line(), linewidth=1.0) for words, look in levels.items()]
    if marks:
        handles.append(Line2D([], [], label=" and ".join(marks), color=GREY, linestyle=(0, DOTTED), linewidth=1.0))
    figure, axes = canvas.panels(len(drawn), [str(handle.get_label()) for handle in handles], 2.5)
    for ax, panel in zip(axes, drawn, strict=True):
        _panel(ax, panel, released)
    canvas.legend(figure, [], handles, lines=True)
    return figure


def _panel(ax: Any, panel: TheoryPanel, released: bool) -> None:
    results = panel.group.results
    assert results is not None
    logarithmic = _logarithmic([p.x for p in panel.points])
    for _, level, look in panel.lines:
        ax.axhline(level, linewidth=1.0, zorder=1, **look.line())
    for _, at_x in panel.marks:
        ax.axvline(at_x, color=GREY, linestyle=(0, DOTTED), linewidth=1.0, zorder=1)
    if released:
        _curve(ax, panel.points, "released", linewidth=1.2, zorder=3, **RELEASED.line())
    _curve(ax, panel.points, "theory", linewidth=1.4, zorder=2, **THEORY.line())
    measured = [p for p in panel.points if p.simulated is not None]
    if len(measured) > 2 * _MARKS:
        special = {value for _, value in panel.marks}
        stride = -(-len(measured) // _MARKS)
        measured = [p for i, p in enumerate(measured) if i % stride == 0 or p.x in special]
    if measured:
        ax.errorbar(
            [p.x for p in measured], [p.simulated for p in measured], yerr=[2 * (p.error or 0) for p in measured],
            linestyle="none", elinewidth=0.9, zorder=4, **POINTS.markers(2.4),
        )  # fmt: skip
    if logarithmic:
        ax.set_xscale("log")
        canvas.decades(ax.xaxis, [p.x for p in panel.points])
    ax.margins(x=0.02)
    ax.set_xlabel(AXES[results.axis])
    ax.set_ylabel(QUANTITIES[panel.quantity])
    _tame(ax, panel)
    ax.set_title(panel.title)


def _curve(ax: Any, points: Sequence[Point], which: str, **options: Any) -> None:
    known = [(p.x, value) for p in points if (value := getattr(p, which)) is not None]
    if known:
        ax.plot([x for x, _ in known], [value for _, value in known], **options)


def _logarithmic(x: Sequence[float]) -> bool:
    return min(x) > 0 and max(x) > 100 * min(x)


def _tame(ax: Any, panel: TheoryPanel) -> None:
    """A y axis that shows what matters: logarithmic for positive values over many decades."""
    known = [v for p in panel.points for v in (p.theory, p.simulated) if v is not None]
    positive = panel.quantity in ("second_moment", "risk", "optimal_alpha") and min(known) > 0
    if positive and max(known) > 100 * min(known):
        ax.set_yscale("log")
        canvas.plain_decades(ax.yaxis)

"""Figures of theory experiments: curves of theory and of transfers, points of simulation with their errors.

As every figure of the report: numbers first (the rows of its CSV), the picture from them when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

from uora_bench.report.csv_file import csv_text
from uora_bench.report.figure_spec import FigureSpec, stem
from uora_bench.report.figures import canvas
from uora_bench.report.figures.facts import Rows, grouped
from uora_bench.report.figures.style import BLACK, CHAIN, DASHED, DOTTED, GREY, SOLID, Look
from uora_bench.theory.report import histograms, maps
from uora_bench.theory.report.model import at, name
from uora_bench.theory.report.studies import Group, Study

THEORY = Look("#0072b2", "o", SOLID)
RELEASED = Look("#d55e00", "D", DASHED)
POINTS = Look(BLACK, "o", SOLID)
SOURCE = Look("#009e73", "^", CHAIN)
MARK = Look(GREY, "o", DOTTED)
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
_SPECIAL = {"corrected.optimal_alpha": "α*", "worst_alpha": "worst α"}
_STARS = {
    "corrected.optimal_alpha": ("α* corrected", MARK),
    "released.optimal_alpha": ("α* as released", Look("#d55e00", "o", DASHED)),
}


def figure_specs(study: Study) -> list[FigureSpec]:
    """The figures of ``study``; settings without a finished record are left out."""
    if not study.done:
        return []
    kind = study.preset.kind
    if kind == "decision_function":
        return histograms.figure_specs(study)
    if kind == "optimal_alpha_map":
        return maps.figure_specs(study)
    makes = _transfers if kind in ("amazon", "digits") else _curves
    return [makes(study, quantity) for quantity in study.preset.shows]


# --- theory and simulation --------------------------------------------------------------------------------------------


def _curves(study: Study, quantity: str) -> FigureSpec:
    panels = {group.label: _points(group, quantity) for group in study.done}
    one = len(study.preset.shows) < 2
    return FigureSpec(
        stem(study.name, "" if one else quantity),
        f"{study.preset.title}{'' if one else f': {QUANTITIES[quantity]}'}",
        " ".join(_caption(study, quantity, panels)),
        csv_text(row for rows in panels.values() for row in rows),
        partial(_draw_curves, study, quantity, panels),
    )


def _points(group: Group, quantity: str) -> Rows:
    """Everything that the records of a setting say of ``quantity``."""
    found = []
    for x in group.results.x:
        by_seed, error = group.measured(quantity, x)
        found.append(
            {
                "panel": group.label, "quantity": quantity, "axis": group.results.axis, "x": x,
                "theory": at(group, "corrected", quantity, x).value,
                "released": at(group, "released", quantity, x).value,
                "simulated": sum(by_seed.values()) / len(by_seed) if by_seed else None, "error": error,
                "repetitions": group.repetitions if by_seed else None,
                "by_seed": by_seed if len(by_seed) > 1 else None, "cell_ids": group.ids,
            }
        )  # fmt: skip
    return found


def _alone(group: Group, quantity: str) -> float | None:
    """What needs no α: the accuracy of the source."""
    of_alpha = quantity == "accuracy" and group.results.axis == "alpha"
    return group.results.facts.get("corrected.source_accuracy") if of_alpha else None


def _marks(group: Group) -> dict[str, float]:
    """Words -> values of α that mean something."""
    special = group.results.special if group.results.axis == "alpha" else {}
    return {words: special[key] for key, words in _SPECIAL.items() if key in special}


def _caption(study: Study, quantity: str, panels: Mapping[str, Rows]) -> Iterable[str]:
    points = [p for rows in panels.values() for p in rows]
    yield f"{QUANTITIES[quantity].capitalize()}: theory (line)"
    if any(_apart(p) for p in points):
        yield "and the released formula (dashed, where it differs)"
    if any(p["simulated"] is not None for p in points):
        over = " or ".join(map(str, sorted({group.repetitions for group in study.done})))
        yield f"beside the simulated mean over {over} repetitions with two standard errors (points)."
    else:
        yield "alone; nothing was simulated."
    if any(_alone(group, quantity) is not None for group in study.done):
        yield "Chain line: the source classifier without any adaptation."
    if any(map(_marks, study.done)):
        yield "Dotted: where the theory's accuracy is largest (α*) and where it is one half (worst α)."
    if study.common:
        yield f"{', '.join(f'{name(k)}={v:g}' for k, v in study.common.items())}."


def _apart(p: Mapping[str, Any]) -> bool:
    """Whether the released formula says something else, to the eye."""
    if p["released"] is None or p["theory"] is None:
        return False
    return bool(abs(p["released"] - p["theory"]) > 2e-4 * max(abs(p["theory"]), 1e-9))


def _draw_curves(study: Study, quantity: str, panels: Mapping[str, Rows]) -> Any:
    points = [p for rows in panels.values() for p in rows]
    released = any(map(_apart, points))
    marks = [words for words in _SPECIAL.values() if any(words in _marks(group) for group in study.done)]
    handles = [canvas.line("theory", THEORY, 1.4)]
    handles += [canvas.line("released formula", RELEASED, 1.2)] if released else []
    if any(p["simulated"] is not None for p in points):
        handles.append(canvas.line("simulation ± 2 s.e.", linestyle="none", **POINTS.markers(3)))
    if any(_alone(group, quantity) is not None for group in study.done):
        handles.append(canvas.line("source alone (theory)", SOURCE))
    handles += [canvas.line(" and ".join(marks), MARK)] if marks else []
    figure, axes = canvas.panels(len(panels), [handle.get_label() for handle in handles], 2.5)
    for ax, group in zip(axes, study.done, strict=True):
        _draw_panel(ax, group, quantity, panels[group.label], released)
    canvas.legend(figure, {}, handles, lines=True)
    return figure


def _draw_panel(ax: Any, group: Group, quantity: str, points: Rows, released: bool) -> None:
    alone, marks = _alone(group, quantity), _marks(group)
    if alone is not None:
        ax.axhline(alone, linewidth=1.0, zorder=1, **SOURCE.line())
    for value in marks.values():
        ax.axvline(value, linewidth=1.0, zorder=1, **MARK.line())
    if released:
        _curve(ax, points, "released", linewidth=1.2, zorder=3, **RELEASED.line())
    _curve(ax, points, "theory", linewidth=1.4, zorder=2, **THEORY.line())
    measured = [p for p in points if p["simulated"] is not None]
    if len(measured) > 2 * _MARKS:
        stride = -(-len(measured) // _MARKS)
        measured = [p for i, p in enumerate(measured) if i % stride == 0 or p["x"] in marks.values()]
    if measured:
        ax.errorbar(
            [p["x"] for p in measured], [p["simulated"] for p in measured],
            yerr=[2 * (p["error"] or 0) for p in measured], linestyle="none", elinewidth=0.9, zorder=4,
            **POINTS.markers(2.4),
        )  # fmt: skip
    x = [p["x"] for p in points]
    if min(x) > 0 and max(x) > 100 * min(x):
        ax.set_xscale("log")
        canvas.decades(ax.xaxis, x)
    ax.margins(x=0.02)
    ax.set(xlabel=AXES[group.results.axis], ylabel=QUANTITIES[quantity], title=group.label)
    # a y axis that shows what matters: logarithmic for positive values over many decades
    known = [p[key] for p in points for key in ("theory", "simulated") if p[key] is not None]
    if quantity in ("second_moment", "risk", "optimal_alpha") and 0 < 100 * min(known) < max(known):
        ax.set_yscale("log")
        canvas.ticks(ax.yaxis)


def _curve(ax: Any, points: Rows, which: str, **options: Any) -> None:
    known = [(p["x"], p[which]) for p in points if p[which] is not None]
    if known:
        ax.plot(*zip(*known, strict=True), **options)


# --- transfers between real data sets: accuracy against α, with the source alone as a line ----------------------------


def _transfers(study: Study, quantity: str) -> FigureSpec:
    rows = [
        {"panel": group.label, "alpha": x, "accuracy": float(f"{sum(by_seed.values()) / len(by_seed):.7g}"),
         "error": float(f"{error:.4g}"), "repetitions": group.repetitions, "by_seed": by_seed, "cell_ids": group.ids}
        for group in study.done
        for x in group.results.x
        for by_seed, error in [group.measured(quantity, x)]
        if by_seed and error is not None
    ]  # fmt: skip
    repetitions = " or ".join(map(str, sorted({group.repetitions for group in study.done})))
    caption = (
        f"Test accuracy: mean over {repetitions} repetitions of each seed "
        f"({', '.join(map(str, study.seeds))}) with a band of two standard errors. Chain line: "
        "the source classifier without any training on the target. Dotted and dashed: α* of the corrected and of the "
        "released formula."
    )
    draw = partial(_draw_transfers, study, grouped(rows, "panel"))
    return FigureSpec(stem(study.name), study.preset.title, caption, csv_text(rows), draw)


def _draw_transfers(study: Study, panels: Mapping[str, Rows]) -> Any:
    known = {key for group in study.done for key in group.results.special}
    handles = [canvas.line("accuracy ± 2 s.e.", THEORY, 1.4), canvas.line("source alone", SOURCE)]
    handles += [canvas.line(words, look) for key, (words, look) in _STARS.items() if key in known]
    figure, axes = canvas.panels(len(panels), [handle.get_label() for handle in handles], 2.5)
    for ax, group in zip(axes, study.done, strict=True):
        points = panels[group.label]
        x, means = [p["alpha"] for p in points], [p["accuracy"] for p in points]
        low, high = ([p["accuracy"] + sign * p["error"] for p in points] for sign in (-2, 2))
        ax.fill_between(x, low, high, color=THEORY.colour, alpha=0.2, linewidth=0)
        ax.plot(x, means, linewidth=1.4, **THEORY.line())
        alone, _ = group.measured("source_only")
        ax.axhline(sum(alone.values()) / len(alone), linewidth=1.0, **SOURCE.line())
        for key, (_, look) in _STARS.items():
            star = group.results.special.get(key)
            if star is not None and x[0] <= star <= x[-1]:
                ax.axvline(star, linewidth=1.0, **look.line())
        ax.margins(x=0.02)
        ax.set(xlabel="α", ylabel="test accuracy", title=group.label)
    canvas.legend(figure, {}, handles, lines=True)
    return figure

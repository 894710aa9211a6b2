"""Figures of transfers between real data sets: accuracy against α, with the source alone as a line."""

from __future__ import annotations

from typing import Any

from uora_bench.report.figure_spec import FigureSpec, stem, table_text
from uora_bench.report.figures import canvas
from uora_bench.report.figures.style import CHAIN, DASHED, DOTTED, GREY, SOLID, Look
from uora_bench.theory.report.studies import Group, Study

COLUMNS = ("panel", "alpha", "accuracy", "error", "repetitions", "by_seed", "cell_ids")
CURVE = Look("#0072B2", "o", SOLID)
SOURCE = Look("#009E73", "^", CHAIN)
_STARS = {
    "corrected.optimal_alpha": ("α* corrected", Look(GREY, "o", DOTTED)),
    "released.optimal_alpha": ("α* as released", Look("#D55E00", "o", DASHED)),
}


def figure_specs(study: Study) -> list[FigureSpec]:
    """One figure, a panel per transfer; none where the preset shows no curve."""
    if not study.preset.shows:
        return []
    groups = study.done
    rows = [row for group in groups for row in _rows(group)]
    counts = sorted({group.repetitions for group in groups})
    seeds = sorted({one.cell["seed"] for group in groups for one in group.records})
    caption = (
        f"Test accuracy: mean over {' or '.join(map(str, counts))} repetitions of each seed "
        f"({', '.join(map(str, seeds))}) with a band of two standard errors. Chain line: the source classifier without "
        "any training on the target. Dotted and dashed: α* of the corrected and of the released formula."
    )
    return [FigureSpec(stem(study.name), study.preset.title, caption, table_text(COLUMNS, rows), lambda: _draw(groups))]


def points(group: Group) -> list[tuple[float, float, float, dict[int, float]]]:
    """α, mean accuracy over seeds, its standard error, and the accuracy by seed."""
    found = []
    for x in group.results.x if group.results is not None else ():
        by_seed, error = group.measured("accuracy", x)
        if by_seed and error is not None:
            found.append((x, sum(by_seed.values()) / len(by_seed), error, by_seed))
    return found


def _rows(group: Group) -> list[dict[str, Any]]:
    ids = [one.cell_id for one in group.records]
    return [
        {"panel": group.label, "alpha": x, "accuracy": float(f"{mean:.7g}"), "error": float(f"{error:.4g}"),
         "repetitions": group.repetitions, "by_seed": by_seed, "cell_ids": ids}
        for x, mean, error, by_seed in points(group)
    ]  # fmt: skip


def _draw(groups: tuple[Group, ...]) -> Any:
    from matplotlib.lines import Line2D

    known = {key for group in groups if group.results is not None for key in group.results.special}
    handles: list[Any] = [
        Line2D([], [], label="accuracy ± 2 s.e.", linewidth=1.4, **CURVE.line()),
        Line2D([], [], label="source alone", linewidth=1.0, **SOURCE.line()),
    ]
    handles += [Line2D([], [], label=w, linewidth=1.0, **look.line()) for k, (w, look) in _STARS.items() if k in known]
    figure, axes = canvas.panels(len(groups), [str(handle.get_label()) for handle in handles], 2.5)
    for ax, group in zip(axes, groups, strict=True):
        drawn = points(group)
        x, means = [p[0] for p in drawn], [p[1] for p in drawn]
        ax.fill_between(x, [p[1] - 2 * p[2] for p in drawn], [p[1] + 2 * p[2] for p in drawn], color=CURVE.colour,
                        alpha=0.2, linewidth=0)  # fmt: skip
        ax.plot(x, means, linewidth=1.4, **CURVE.line())
        alone, _ = group.measured("source_only")
        ax.axhline(sum(alone.values()) / len(alone), linewidth=1.0, **SOURCE.line())
        assert group.results is not None
        for key, (_, look) in _STARS.items():
            if key in group.results.special and x[0] <= group.results.special[key] <= x[-1]:
                ax.axvline(group.results.special[key], linewidth=1.0, **look.line())
        ax.margins(x=0.02)
        ax.set_xlabel("α")
        ax.set_ylabel("test accuracy")
        ax.set_title(group.label)
    canvas.legend(figure, [], handles, lines=True)
    return figure

"""One table per kind of theory experiment: theory, the released formula and the simulation in columns of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from uora_bench.report.model import Score, Table
from uora_bench.report.published import Library
from uora_bench.theory.report import model, transfers
from uora_bench.theory.report.model import Value, at, column, deviation, number, simulated, table
from uora_bench.theory.report.studies import Group, Study, index_of

# of one setting: the label of a row and its values by column
Rows = list[tuple[str, Mapping[str, Value]]]
GAP = column("z", "z", "(simulated − theory) / standard error", decimals=1)
_RANGE = 6  # rows of a sweep


def table_of(study: Study, library: Library | None) -> Table:
    """The table of ``study``."""
    makers: dict[str, Callable[[Study], Table]] = {
        "accuracy_alpha": _accuracy_alpha,
        "source_accuracy_alpha": _accuracy_alpha,
        "decision_function": _decision_function,
        "gamma_sweep": _gamma_sweep,
        "optimal_alpha": _optimal_alpha,
        "source_optimal_alpha": _optimal_alpha,
        "optimal_alpha_map": _optimal_alpha_map,
        "regression_risk": _regression_risk,
        "amazon": lambda one: transfers.amazon(one, library),
        "digits": transfers.digits,
    }
    return makers[study.preset.kind](study)


def _table(
    study: Study,
    heading: str,
    columns: list[Score],
    rows_of: Callable[[Group], Rows],
    lines: list[str],
    paper: str = "",
) -> Table:
    """A block per setting, its rows those of ``rows_of``."""
    blocks = [(group.label, [(label, group, values) for label, values in rows_of(group)]) for group in study.groups]
    return table(study, heading, columns, blocks, lines, paper)


def thin(x: tuple[float, ...], count: int = _RANGE) -> list[float]:
    """At most ``count`` (2 or more) of the values, evenly chosen, the ends among them."""
    if len(x) <= count:
        return list(x)
    return [x[round(i * (len(x) - 1) / (count - 1))] for i in range(count)]


def _compared(group: Group, quantity: str, x: float, prefix: str = "", gap: str = GAP.label) -> dict[str, Value]:
    """Theory, released formula, simulation and their distance for one quantity at one x."""
    theory, measured = at(group, "corrected", quantity, x), simulated(group, quantity, x)
    return {
        f"{prefix}theory": theory,
        f"{prefix}released formula": at(group, "released", quantity, x),
        f"{prefix}simulated": measured,
        gap: deviation(theory.value, measured),
    }


def _columns(quantity: str, scale: float, decimals: int, released: bool, prefix: str = "") -> list[Score]:
    """The columns that `_compared` fills, but the distance."""
    found = [column(f"{prefix}theory", quantity, model.THEORY, scale, decimals)]
    if released:
        found.append(column(f"{prefix}released formula", quantity, model.RELEASED, scale, decimals))
    return [*found, column(f"{prefix}simulated", quantity, model.SIMULATED, scale, decimals)]


def _accuracy_alpha(study: Study) -> Table:
    labels = {
        "corrected.optimal_alpha": "α*",
        "released.optimal_alpha": "α* of the released formula",
        "worst_alpha": "worst α",
    }

    def rows_of(group: Group) -> Rows:
        results = group.results
        # what is no value of the setting may be one where nothing is recorded yet
        shown = [x for x in study.preset.table_alphas if not group.records or index_of(results, x) is not None]
        rows: Rows = [(_alpha(x), {"α": number(x), **_compared(group, "accuracy", x)}) for x in shown]
        for key, label in labels.items():
            if key in results.special:
                x = results.special[key]
                known = None if key.startswith("corrected") else model.printed(study, group, key.rpartition(".")[2])
                rows.append((label, {"α": number(x, known), **_compared(group, "accuracy", x)}))
        theory, measured = results.facts.get("corrected.source_accuracy"), simulated(group, "source_accuracy")
        # of a fixed vector the accuracy is known, so its simulation says nothing
        fixed = bool(group.records) and "released" not in results.theory
        alone = {
            "theory": number(theory),
            "released formula": number(results.facts.get("released.source_accuracy")),
            "simulated": Value() if fixed else measured,
            GAP.label: Value() if fixed else deviation(theory, measured),
        }
        return [*rows, ("source alone", alone)]

    columns = [
        column("α", "alpha", model.THEORY, 1.0, 3),
        *_columns("accuracy", 100.0, 2, model.has_released(study)),
        GAP,
    ]
    lines = model.about(study, "Accuracy in percent. α* is where theory is largest, the worst α where it is one half.")
    source = study.preset.printed.source if study.preset.printed is not None and not study.own else ""
    return _table(study, "classifier", columns, rows_of, lines, source)


def _alpha(x: float) -> str:
    return {0.0: "α = 0 (target data alone)", 1.0: "α = 1 (LoRA)"}.get(x, f"α = {x:g}")


def _decision_function(study: Study) -> Table:
    def rows_of(group: Group) -> Rows:
        drawn = {h.alpha: h.accuracy for h in group.results.histograms}
        rows: Rows = []
        for x in group.results.x:
            mean, second = at(group, "corrected", "mean", x), at(group, "corrected", "second_moment", x)
            theory, found = at(group, "corrected", "accuracy", x), simulated(group, "accuracy", x)
            std = None if mean.value is None or second.value is None else (second.value - mean.value**2) ** 0.5
            values = (mean, simulated(group, "mean", x), number(std), theory, found, number(drawn.get(x)),
                      deviation(theory.value, found))  # fmt: skip
            rows.append((f"α = {x:g}", {c.label: value for c, value in zip(columns, values, strict=True)}))
        return rows

    columns = [
        column("mean, theory", "mean", model.THEORY, 1.0, 4),
        column("mean, simulated", "mean", model.SIMULATED, 1.0, 4),
        column("std, theory", "std", model.THEORY, 1.0, 4),
        column("accuracy, theory", "accuracy", model.THEORY, 100.0),
        column("accuracy, simulated", "accuracy", model.SIMULATED, 100.0),
        column("accuracy of the draw", "accuracy", "one draw of the data, its test points", 100.0),
        GAP,
    ]
    more = (
        "Mean and std: of the decision value of class +1. The draw: the one whose histogram is drawn. z: of accuracy."
    )
    return _table(study, "α", columns, rows_of, model.about(study, more))


def _gamma_sweep(study: Study) -> Table:
    shows = study.preset.shows or ("accuracy",)
    words = {quantity: quantity.replace("_", " ") for quantity in shows}
    gaps = {quantity: GAP.label if len(shows) == 1 else f"{words[quantity]}, z" for quantity in shows}

    def rows_of(group: Group) -> Rows:
        return [
            (f"{x:.3g}", {k: v for q in shows for k, v in _compared(group, q, x, f"{words[q]}, ", gaps[q]).items()})
            for x in thin(group.results.x)
        ]

    columns: list[Score] = []
    # at α = 0 nothing depends on the source, and the mean never on E‖w‖²
    differs = study.common.get("alpha") != 0
    for quantity in shows:
        scale, decimals = (100.0, 2) if quantity == "accuracy" else (1.0, 4)
        columns += _columns(quantity, scale, decimals, differs and quantity != "mean", f"{words[quantity]}, ")
        columns.append(column(gaps[quantity], "z", GAP.split, decimals=1))
    lines = model.about(study, "Accuracy in percent." if "accuracy" in shows else "", released=differs)
    return _table(study, "γ", columns, rows_of, lines)


def _optimal_alpha(study: Study) -> Table:
    def rows_of(group: Group) -> Rows:
        return [
            (
                f"{x:g}",
                {**_compared(group, "optimal_alpha", x), "accuracy at α*": at(group, "corrected", "accuracy", x)},
            )
            for x in (group.parameters["checks"] or thin(group.results.x))
        ]

    simulates = any(group.parameters["checks"] for group in study.groups)
    columns = [*_columns("optimal_alpha", 1.0, 4, model.has_released(study)), GAP]
    columns = [c for c in columns if simulates or c.label not in ("simulated", GAP.label)]
    columns.append(column("accuracy at α*", "accuracy", model.THEORY, 100.0))
    more = "α*, the α of the largest accuracy."
    if simulates:
        more += " Simulated: α* of the simulated mean and second moment, its error by the jackknife."
    return _table(study, model.name(study.groups[-1].parameters["along"]), columns, rows_of, model.about(study, more))


def _optimal_alpha_map(study: Study) -> Table:
    shown = thin(study.grid("gammas"), 4)
    rows_of = list(enumerate(study.grid("gammas_pre")))
    chosen = [rows_of[round(i * (len(rows_of) - 1) / 3)] for i in range(4)]
    blocks = [
        (
            f"{group.label}, {words}",
            [(f"{gamma_pre:.3g}", group, {f"γ={g:.3g}": at(group, variant, f"optimal_alpha[{i}]", g) for g in shown})
             for i, gamma_pre in chosen],
        )
        for group in study.groups
        for variant, words in (("corrected", "theory"), ("released", "released formula"))
    ]  # fmt: skip
    said = "theory or released formula, as the block says"
    columns = [column(f"γ={g:.3g}", "optimal_alpha", said, 1.0, 3) for g in shown]
    return table(study, "γ_pre", columns, blocks, model.about(study, "α* over the two penalties."))


def _regression_risk(study: Study) -> Table:
    def rows_of(group: Group) -> Rows:
        best = group.results.special.get("corrected.optimal_alpha")
        rows: Rows = [(f"α = {x:.3g}", _compared(group, "risk", x)) for x in thin(group.results.x, 5)]
        return rows if best is None else [*rows, (f"α* = {best:.3g}", _compared(group, "risk", best))]

    columns = [*_columns("risk", 1.0, 2, False), GAP]
    return _table(study, "α", columns, rows_of, model.about(study, "Test risk, summed over the outputs. α* = β."))

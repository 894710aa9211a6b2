"""One table per kind of theory experiment: theory, the released formula and the simulation in columns of their own."""

from __future__ import annotations

from collections.abc import Mapping

from uora_bench.report.model import Table
from uora_bench.report.published import Library
from uora_bench.theory.report import transfers
from uora_bench.theory.report.model import (
    RELEASED,
    SIMULATED,
    THEORY,
    Column,
    Value,
    about,
    at,
    deviation,
    has_released,
    name,
    printed,
    simulated,
    table,
)
from uora_bench.theory.report.studies import Group, Study, index_of

Rows = list[tuple[str, Group | None, Mapping[str, Value]]]

GAP = Column("z", "z", "(simulated − theory) / standard error", decimals=1)
_RANGE = 6  # rows of a sweep


def table_of(study: Study, library: Library | None) -> Table:
    """The table of ``study``."""
    makers = {
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


def thin(x: tuple[float, ...], count: int = _RANGE) -> list[float]:
    """At most ``count`` of the values, evenly chosen, the ends among them."""
    if len(x) <= count:
        return list(x)
    return [x[round(i * (len(x) - 1) / (count - 1))] for i in range(count)]


def compared(group: Group, quantity: str, x: float, prefix: str = "") -> dict[str, Value]:
    """Theory, released formula, simulation and their distance for one quantity at one x."""
    theory, measured = at(group, "corrected", quantity, x), simulated(group, quantity, x)
    return {
        f"{prefix}theory": theory,
        f"{prefix}released formula": at(group, "released", quantity, x),
        f"{prefix}simulated": measured,
        GAP.label: deviation(theory.value, measured),
    }


def columns(quantity: str, scale: float, decimals: int, released: bool, prefix: str = "") -> list[Column]:
    """The columns that `compared` fills."""
    found = [Column(f"{prefix}theory", quantity, THEORY, scale, decimals)]
    if released:
        found.append(Column(f"{prefix}released formula", quantity, RELEASED, scale, decimals))
    return [*found, Column(f"{prefix}simulated", quantity, SIMULATED, scale, decimals)]


def _accuracy_alpha(study: Study) -> Table:
    blocks = []
    for group in study.groups:
        rows: Rows = [(_alpha(x), group, {"α": Value(x), **compared(group, "accuracy", x)})
                      for x in study.preset.table_alphas if _is_there(group, x)]  # fmt: skip
        special = group.results.special if group.results is not None else {}
        for key, label in (
            ("corrected.optimal_alpha", "α*"),
            ("released.optimal_alpha", "α* of the released formula"),
            ("worst_alpha", "worst α"),
        ):
            if key in special:
                x = special[key]
                shown = printed(study, group, "worst_alpha" if key == "worst_alpha" else "optimal_alpha")
                value = Value(x, printed=None if key.startswith("corrected") else shown)
                rows.append((label, group, {"α": value, **compared(group, "accuracy", x)}))
        rows.append(("source alone", group, _source_alone(group)))
        blocks.append((group.label, rows))
    found = [Column("α", "alpha", THEORY, 1.0, 3), *columns("accuracy", 100.0, 2, has_released(study)), GAP]
    lines = about(study, "Accuracy in percent. α* is where theory is largest, the worst α where it is one half.")
    source = study.preset.printed.source if study.preset.printed is not None and not study.own else ""
    return table(study, "classifier", found, blocks, lines, source)


def _is_there(group: Group, x: float) -> bool:
    """Whether ``x`` is a value of the setting, or may be where nothing is recorded yet."""
    return group.results is None or index_of(group.results, x) is not None


def _source_alone(group: Group) -> dict[str, Value]:
    facts = group.results.facts if group.results is not None else {}
    theory, measured = facts.get("corrected.source_accuracy"), simulated(group, "source_accuracy")
    # of a fixed vector the accuracy is known, so its simulation says nothing
    fixed = group.results is not None and "released" not in group.results.theory
    return {
        "theory": Value(theory),
        "released formula": Value(facts.get("released.source_accuracy")),
        "simulated": Value() if fixed else measured,
        GAP.label: Value() if fixed else deviation(theory, measured),
    }


def _alpha(x: float) -> str:
    return {0.0: "α = 0 (target data alone)", 1.0: "α = 1 (LoRA)"}.get(x, f"α = {x:g}")


def _decision_function(study: Study) -> Table:
    blocks = []
    for group in study.groups:
        rows: Rows = []
        for x in group.results.x if group.results is not None else ():
            mean, second = at(group, "corrected", "mean", x), at(group, "corrected", "second_moment", x)
            found = simulated(group, "accuracy", x)
            theory = at(group, "corrected", "accuracy", x)
            measured = simulated(group, "mean", x)
            std = None if mean.value is None or second.value is None else (second.value - mean.value**2) ** 0.5
            rows.append(
                (f"α = {x:g}", group,
                 {"mean, theory": mean, "mean, simulated": measured, "std, theory": Value(std),
                  "accuracy, theory": theory, "accuracy, simulated": found,
                  "accuracy of the draw": _drawn(group, x), GAP.label: deviation(theory.value, found)})
            )  # fmt: skip
        blocks.append((group.label, rows))
    found_columns = [
        Column("mean, theory", "mean", THEORY, 1.0, 4),
        Column("mean, simulated", "mean", SIMULATED, 1.0, 4),
        Column("std, theory", "std", THEORY, 1.0, 4),
        Column("accuracy, theory", "accuracy", THEORY, 100.0),
        Column("accuracy, simulated", "accuracy", SIMULATED, 100.0),
        Column("accuracy of the draw", "accuracy", "one draw of the data, its test points", 100.0),
        GAP,
    ]
    more = (
        "Mean and std: of the decision value of class +1. The draw: the one whose histogram is drawn. z: of accuracy."
    )
    return table(study, "α", found_columns, blocks, about(study, more))


def _drawn(group: Group, x: float) -> Value:
    found = group.results.histograms if group.results is not None else ()
    return Value(next((h.accuracy for h in found if h.alpha == x), None))


def _gamma_sweep(study: Study) -> Table:
    shows = study.preset.shows or ("accuracy",)
    blocks = []
    for group in study.groups:
        rows: Rows = []
        for x in thin(group.results.x) if group.results is not None else []:
            values: dict[str, Value] = {}
            for quantity in shows:
                values |= _named(compared(group, quantity, x, f"{_words(quantity)}, "), quantity, shows)
            rows.append((f"{x:.3g}", group, values))
        blocks.append((group.label, rows))
    found: list[Column] = []
    # at α = 0 nothing depends on the source, and the mean never on E‖w‖²
    differs = study.common.get("alpha") != 0
    for quantity in shows:
        scale, decimals = (100.0, 2) if quantity == "accuracy" else (1.0, 4)
        found += columns(quantity, scale, decimals, differs and quantity != "mean", f"{_words(quantity)}, ")
        found.append(Column(_gap(quantity, shows), "z", GAP.what, decimals=1))
    lines = about(study, "Accuracy in percent." if "accuracy" in shows else "", released=differs)
    return table(study, "γ", found, blocks, lines)


def _gap(quantity: str, shows: tuple[str, ...]) -> str:
    return GAP.label if len(shows) == 1 else f"{_words(quantity)}, z"


def _named(values: dict[str, Value], quantity: str, shows: tuple[str, ...]) -> dict[str, Value]:
    return {_gap(quantity, shows) if key == GAP.label else key: value for key, value in values.items()}


def _words(quantity: str) -> str:
    return quantity.replace("_", " ")


def _optimal_alpha(study: Study) -> Table:
    blocks = []
    axis = ""
    for group in study.groups:
        axis = group.parameters["along"]
        checks = group.parameters["checks"]
        known = group.results.x if group.results is not None else ()
        rows: Rows = [
            (f"{x:g}", group,
             {**compared(group, "optimal_alpha", x), "accuracy at α*": at(group, "corrected", "accuracy", x)})
            for x in (checks or thin(known))
        ]  # fmt: skip
        blocks.append((group.label, rows))
    simulates = any(group.parameters["checks"] for group in study.groups)
    found = columns("optimal_alpha", 1.0, 4, has_released(study))
    found = [c for c in found if simulates or c.label != "simulated"] + ([GAP] if simulates else [])
    found.append(Column("accuracy at α*", "accuracy", THEORY, 100.0))
    more = ["α*, the α of the largest accuracy."]
    if simulates:
        more.append("Simulated: α* of the simulated mean and second moment, its error by the jackknife.")
    return table(study, name(axis), found, blocks, about(study, " ".join(more)))


def _optimal_alpha_map(study: Study) -> Table:
    blocks = []
    shown = thin(study.grid("gammas"), 4)
    rows_of = list(enumerate(study.grid("gammas_pre")))
    chosen = [rows_of[round(i * (len(rows_of) - 1) / 3)] for i in range(4)]
    for group in study.groups:
        for variant, words in (("corrected", "theory"), ("released", "released formula")):
            rows: Rows = [
                (f"{gamma_pre:.3g}", group,
                 {f"γ={g:.3g}": at(group, variant, f"optimal_alpha[{i}]", g) for g in shown})
                for i, gamma_pre in chosen
            ]  # fmt: skip
            blocks.append((f"{group.label}, {words}", rows))
    found = [
        Column(f"γ={g:.3g}", "optimal_alpha", "theory or released formula, as the block says", 1.0, 3) for g in shown
    ]
    return table(study, "γ_pre", found, blocks, about(study, "α* over the two penalties."))


def _regression_risk(study: Study) -> Table:
    blocks = []
    for group in study.groups:
        known = group.results.x if group.results is not None else ()
        best = group.results.special.get("corrected.optimal_alpha") if group.results is not None else None
        rows: Rows = [(f"α = {x:.3g}", group, compared(group, "risk", x)) for x in thin(known, 5)]
        if best is not None:
            rows.append((f"α* = {best:.3g}", group, compared(group, "risk", best)))
        blocks.append((group.label, rows))
    found = [*columns("risk", 1.0, 2, False), GAP]
    return table(study, "α", found, blocks, about(study, "Test risk, summed over the outputs. α* = β."))

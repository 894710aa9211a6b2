"""Tables of transfers between real data sets: Table 1 of the paper and its variants, Figure 3's, and the digits."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from uora_bench.report.aggregate import std
from uora_bench.report.model import Score, Table
from uora_bench.report.published import Library, Published
from uora_bench.theory.report import model
from uora_bench.theory.report.model import Value, column, number, simulated, table
from uora_bench.theory.report.studies import Group, Study

Rows = list[tuple[str, Group | None, Mapping[str, Value]]]

# column of the record -> what the table calls it, and how the papers' CSV files begin to call it
NAMES = {
    "target_only": ("α=0", "target ridge only"),
    "plain": ("α=1", "standard adapter"),
    "released": ("α* as released", "optimal alpha"),
    "corrected": ("α* corrected", ""),
    "best": ("best α on test", ""),
    "source_only": ("source alone", ""),
}
SHORT = {"books": "book", "electronics": "elec"}  # as the papers' CSV files have them
BASELINE = (
    "Source alone is the classifier of the source domain without any training on the target: the baseline that the "
    "paper's table lacks. Best α is chosen on the test rows, so it is a bound and no method."
)


def amazon(study: Study, library: Library | None) -> Table:
    """A row per transfer, in the paper's layout, and their mean.

    Of several settings a row per setting, each a mean over its transfers.
    """
    settings = list(dict.fromkeys(_setting(group) for group in study.groups))
    found = [
        column("β", "beta", "plug-in"),
        column("α* released", "optimal_alpha", "released formula, plug-in"),
        column("α* corr.", "optimal_alpha", "theory, plug-in"),
        *(column(words, f"accuracy, {name}", "test rows; std over seeds", 100.0) for name, (words, _) in NAMES.items()),
    ]
    several = len(settings) > 1
    rows: Rows = []
    for setting in settings:
        groups = [group for group in study.groups if _setting(group) == setting]
        by_column = [(group, _entries(group, _printed(study, group, library))) for group in groups]
        if not several:
            rows += [(group.label, group, own) for group, own in by_column]
        label = _words(setting) if several else "mean of the transfers"
        rows.append((label, groups[0] if several else None, _mean(found, by_column)))
    more = [
        "Accuracy in percent. α=0: ridge on the target rows alone; α=1: the plain residual adapter (LoRA in the "
        "paper); α* as released: the formula as it stands in the released code; corrected: without its two errors "
        "(docs/theory_errata.md).",
        BASELINE,
    ]
    if len(study.seeds) > 1:
        more.append("± is the sample standard deviation over seeds; behind the published ± stands the population's.")
    heading = "setting" if several else "transfer"
    return table(study, heading, found, [("", rows)], model.about(study, *more, error="", z=False), _paper(study))


def digits(study: Study) -> Table:
    """A row per transfer, theory and simulation side by side, a block per penalty of the source."""
    blocks = []
    for gamma_pre in dict.fromkeys(group.parameters["gamma_pre"] for group in study.groups):
        rows: Rows = []
        for group in study.groups:
            if group.parameters["gamma_pre"] != gamma_pre:
                continue
            by_column = _facts(group)
            for name in ("target_only", "plain", "corrected", "source_only"):
                by_column[f"{NAMES[name][0]}, theory"] = number(group.results.facts.get(f"theory.{name}"))
                by_column[NAMES[name][0]] = simulated(group, name)
            by_column["best α on test"] = _best(group)
            rows.append((group.label.rpartition(", γ")[0], group, by_column))
        blocks.append((f"γ_pre={gamma_pre:g}", rows))
    found = [column("β", "beta", "plug-in"), column("α* corr.", "optimal_alpha", "theory, plug-in")]
    for name in ("target_only", "plain", "corrected", "source_only"):
        words = NAMES[name][0]
        found += [column(f"{words}, theory", "accuracy", "theory, plug-in", 100.0, 1),
                  column(words, "accuracy", model.SIMULATED, 100.0, 1)]  # fmt: skip
    found.append(column("best α on test", "accuracy", "chosen on the test rows", 100.0, 1))
    lines = model.about(study, "Accuracy in percent, theory with plug-in moments.", BASELINE, z=False)
    return table(study, "transfer", found, blocks, lines)


def _setting(group: Group) -> tuple[tuple[str, Any], ...]:
    return tuple((k, group.parameters[k]) for k in ("N", "n", "gamma_pre", "gamma"))


def _words(setting: Iterable[tuple[str, Any]]) -> str:
    return ", ".join(f"{model.name(k)}={v:g}" for k, v in setting)


def _facts(group: Group) -> dict[str, Value]:
    special = group.results.special
    return {
        "β": number(group.results.facts.get("beta")),
        "α* released": number(special.get("released.optimal_alpha")),
        "α* corr.": number(special.get("corrected.optimal_alpha")),
    }


def _entries(group: Group, printed: Mapping[str, Published]) -> dict[str, Value]:
    by_column = _facts(group)
    for name, (words, _) in NAMES.items():
        by_seed, _ = group.measured(name)
        by_column[words] = _best(group) if name == "best" else Value(by_seed=by_seed, error=std(by_seed.values()))
    return {label: replace(value, printed=printed.get(label)) for label, value in by_column.items()}


def _best(group: Group) -> Value:
    """The largest mean of the curve over all seeds and splits."""
    found = (simulated(group, "accuracy", x).value for x in group.results.x)
    means = [value for value in found if value is not None]
    return number(max(means, default=None))


def _mean(columns: Sequence[Score], by_column: Sequence[tuple[Group, Mapping[str, Value]]]) -> dict[str, Value]:
    """The mean over transfers, where all of them are there; ± over seeds, as of one transfer."""
    found = {}
    for one in columns:
        own = [value[one.label] for _, value in by_column]
        seeds = sorted(set.intersection(*(set(value.by_seed) for value in own)))
        by_seed = {seed: statistics.fmean(value.by_seed[seed] for value in own) for seed in seeds}
        printed = _mean_printed([value.printed for value in own])
        if by_seed:
            found[one.label] = Value(by_seed, std(by_seed.values()), printed)
    return found


def _mean_printed(printed: Sequence[Published | None]) -> Published | None:
    known = [one for one in printed if one is not None]
    if not known or len(known) < len(printed):
        return None
    mean = statistics.fmean(one.value for one in known)
    source = f"mean of the {len(known)} published values; {known[0].source}"
    return replace(
        known[0], task="mean", value=mean, std=None, trainable_params="", source=source, printed=f"{mean:.2f}"
    )


def _printed(study: Study, group: Group, library: Library | None) -> dict[str, Published]:
    """The published numbers of one transfer by our column, accuracies in percent as printed."""
    preset = study.preset
    if preset.printed is None:
        return {}
    if preset.printed.table is None or library is None:
        found = {words: model.printed(study, group, name) for name, (words, _) in NAMES.items()}
        return {words: one for words, one in found.items() if one is not None}
    filled = {k: f"{v:g}" if isinstance(v, float) else v for k, v in group.parameters.items()}
    wanted = preset.printed.table.format(**filled)
    source, target = (SHORT.get(group.parameters[k], group.parameters[k]) for k in ("source", "target"))
    known: dict[str, Published] = {}
    for one in library.numbers:
        if one.paper != preset.printed.paper or one.task != f"Amazon reviews {source} to {target}":
            continue
        if one.table.partition(" (")[0] != wanted:
            continue
        for words, begins in NAMES.values():
            if begins and one.method.startswith(begins):
                known[words] = one
        if "alpha*=" in one.method:
            text = one.method.partition("alpha*=")[2].rstrip(")")
            if text:
                known["α* released"] = replace(
                    one, metric="alpha*", value=float(text), std=None, trainable_params="", printed=text
                )
    return known


def _paper(study: Study) -> str:
    printed = study.preset.printed
    return "" if printed is None else f"alpha-LoRA, {printed.source}"

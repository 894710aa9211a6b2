"""The tables' model filled with theory: numbers without training behind them, and what the paper prints."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from uora_bench.grid.table_spec import TableSpec
from uora_bench.report.aggregate import Number
from uora_bench.report.model import Block, Entry, Row, Score, Table
from uora_bench.report.published import Published
from uora_bench.theory.report.studies import Group, Study, index_of

THEORY, RELEASED, SIMULATED = "theory", "released formula", "simulated; std: standard error"


@dataclass(frozen=True)
class Value:
    """What an entry shows, in its own unit: a simulated number by seed with its ``error``, or (`number`) one of theory.

    Empty without any.
    """

    by_seed: Mapping[int, float] = field(default_factory=dict)
    error: float | None = None
    printed: Published | None = None

    @property
    def value(self) -> float | None:
        """The mean over seeds."""
        return statistics.fmean(self.by_seed.values()) if self.by_seed else None


def number(value: float | None, printed: Published | None = None) -> Value:
    """A number that no seed has a part in."""
    return Value({} if value is None else {0: value}, printed=printed)


def column(label: str, quantity: str, what: str, scale: float = 1.0, decimals: int = 2) -> Score:
    """``what``: for the CSV, where the number comes from (theory, released formula, simulation)."""
    return Score(label, "", quantity, what, scale, decimals=decimals)


def at(group: Group, variant: str, quantity: str, x: float) -> Value:
    """The value of ``quantity`` in theory (``variant``: corrected | released) at ``x``; empty where there is none."""
    found, i = group.results.theory.get(variant, {}).get(quantity), index_of(group.results, x)
    return number(None if found is None or i is None else found[i])


def simulated(group: Group, quantity: str, x: float | None = None) -> Value:
    """The entry of a simulated quantity of ``group`` at ``x``."""
    return Value(*group.measured(quantity, x))


def deviation(theory: float | None, found: Value) -> Value:
    """(simulation − theory)/standard error; empty where one of them is missing or nothing varies."""
    if theory is None or found.value is None or not found.error:
        return Value()
    return number(round((found.value - theory) / found.error, 3) + 0.0)  # no −0


def table(
    study: Study,
    heading: str,
    columns: Sequence[Score],
    blocks: Iterable[tuple[str, Sequence[tuple[str, Group | None, Mapping[str, Value]]]]],
    about: Sequence[str],
    paper: str = "",
) -> Table:
    """The table of ``blocks``: (label, rows), a row being (label, its setting, entries by column label).

    ``heading``: what the rows are.
    """
    made = []
    for label, rows in blocks:
        own = [Row(name, tuple(_entry(values.get(c.label), c, group) for c in columns)) for name, group, values in rows]
        made += [Block(label, tuple(own))] if own else []
    scores = tuple(replace(column, task=study.preset.kind) for column in columns)
    return Table(
        study.name, study.preset.title, TableSpec(), "", scores, tuple(made), about=tuple(about),
        orphans=study.orphans, paper=paper, heading=heading, plain=True,
    )  # fmt: skip


def _entry(value: Value | None, column: Score, group: Group | None) -> Entry:
    value = value or Value()
    scaled = {seed: one * column.scale for seed, one in value.by_seed.items()}
    # what is empty by design is not missing
    planned = len(scaled) or int(group is not None and not group.records)
    mean = statistics.fmean(scaled.values()) if scaled else None
    error = None if value.error is None else value.error * column.scale
    return Entry(Number(scaled, planned, () if group is None else group.runs, mean, std=error), value.printed)


def printed(study: Study, group: Group, quantity: str) -> Published | None:
    """What the paper prints for ``quantity`` of this setting, where the preset says so; of own settings nothing."""
    preset = study.preset
    if preset.printed is None or study.own:
        return None
    for row in preset.printed.values:
        when = {k: v for k, v in row.items() if k in group.parameters}
        if quantity in row and all(group.parameters[k] == v for k, v in when.items()):
            text = str(row[quantity])
            source = preset.printed.source
            return Published(
                "alpha-LoRA", "theory", source, "ridge classifier", group.label, quantity, float(text), None, "",
                source, "high", text.replace("-", "−"),
            )  # fmt: skip
    return None


def about(
    study: Study, *more: str, error: str = " ± standard error", z: bool = True, released: bool = True
) -> list[str]:
    """The lines above every table: the values common to all settings, repetitions and seeds, and how to make it.

    ``error``: what stands behind simulated means; ``z``, ``released``: whether there are such columns.
    """
    preset = study.preset
    shared = ", ".join(f"{name(k)}={v:g}" for k, v in study.common.items())
    source = f"own ones of the experiment {preset.name}" if study.own else preset.source
    own = [f"{shared}. Values: {source}." if shared else f"Values: {source}."]
    counts = sorted({group.repetitions for group in study.done})
    seeds = study.seeds
    if counts != [0]:
        own.append(
            f"Simulated: mean{error} of {' or '.join(map(str, counts))} repetitions per seed, "
            f"seed{'s' if len(seeds) > 1 else ''} {', '.join(map(str, seeds))}"
            + ("; z: simulated − theory, in standard errors." if z else ".")
        )
    if released and has_released(study):
        own.append(
            "Released formula: that of the authors' code, in which the squared norm of the source vector is too small "
            "(docs/theory_errata.md)."
        )
    note = "" if study.own else " ".join(preset.note.split())
    return [line for line in (note, *own, *more, f"Made by `uora-bench theory {study.words}`.") if line]


def has_released(study: Study) -> bool:
    """Whether any setting of ``study`` has values of the released formula."""
    return any("released" in group.results.theory for group in study.groups)


def name(key: str) -> str:
    """A parameter as the paper writes it, in letters that every format has."""
    letter, _, rest = key.partition("_")
    greek = {"mu": "μ", "beta": "β", "gamma": "γ", "sigma": "σ", "alpha": "α"}
    return "_".join(filter(None, (greek.get(letter, letter), rest)))

"""The tables' model filled with theory: numbers without training behind them, and what the paper prints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from uora_bench.grid.table_spec import TableSpec
from uora_bench.report.aggregate import Costs, Number
from uora_bench.report.model import Block, Entry, Row, Score, Table
from uora_bench.report.published import Published
from uora_bench.theory.report.studies import Group, Study, index_of

THEORY, RELEASED, SIMULATED = "theory", "released formula", "simulated; std: standard error"


@dataclass(frozen=True)
class Measured(Number):
    """A number of theory (no ``error``) or of a simulation: ± is then the standard error of its mean. The brackets of
    other tables, the number of seeds, stay empty: the table says how many repetitions there are."""

    error: float | None = None

    @property
    def count(self) -> str:
        return ""

    @property
    def median(self) -> None:
        return None  # a mean of repetitions has none

    @property
    def std(self) -> float | None:
        return self.error


@dataclass(frozen=True)
class Column:
    """``what``: for the CSV, where the number comes from (theory, released formula, simulation)."""

    label: str
    quantity: str
    what: str
    scale: float = 1.0
    decimals: int = 2
    higher_is_better: bool = True


@dataclass(frozen=True)
class Value:
    """What an entry shows: a number in its own unit, or with ``by_seed`` a simulated one with its ``error``."""

    value: float | None = None
    by_seed: Mapping[int, float] | None = None
    error: float | None = None
    printed: Published | None = None


def at(group: Group, variant: str, quantity: str, x: float) -> Value:
    """A theoretical value of ``group`` at ``x``."""
    results = group.results
    found = None if results is None else results.theory.get(variant, {}).get(quantity)
    i = None if results is None else index_of(results, x)
    return Value(None if found is None or i is None else found[i])


def simulated(group: Group, quantity: str, x: float | None = None) -> Value:
    """The entry of a simulated quantity of ``group`` at ``x``."""
    by_seed, error = group.measured(quantity, x)
    return Value(by_seed=by_seed, error=error)


def deviation(theory: float | None, found: Value) -> Value:
    """Simulation minus theory, in standard errors; empty where one of them is missing or nothing varies."""
    if theory is None or not found.by_seed or not found.error:
        return Value()
    mean = sum(found.by_seed.values()) / len(found.by_seed)
    return Value(round((mean - theory) / found.error, 3) + 0.0)  # no −0


def table(
    study: Study,
    heading: str,
    columns: Sequence[Column],
    blocks: Sequence[tuple[str, Sequence[tuple[str, Group | None, Mapping[str, Value]]]]],
    about: Sequence[str],
    paper: str = "",
    notes: Sequence[str] = (),
) -> Table:
    """The table of ``parts``: (label, rows), a row being (label, its setting, entries by column label). ``heading``:
    what the rows are."""
    scores = tuple(Score(c.label, study.preset.kind, c.quantity, c.what, c.scale, c.higher_is_better, c.decimals, {})
                   for c in columns)  # fmt: skip
    made = []
    for label, rows in blocks:
        own = [
            Row(name, tuple(_entry(values.get(c.label, Value()), c, group) for c in columns), Costs())
            for name, group, values in rows
        ]
        if own:
            made.append(Block(label, tuple(own)))
    return Table(
        study.name, study.preset.title, TableSpec(), "", scores, tuple(made), tuple(notes), tuple(about),
        study.orphans, (), paper, heading, plain=True,
    )  # fmt: skip


def _entry(value: Value, column: Column, group: Group | None) -> Entry:
    runs = () if group is None else group.runs
    seeds = dict(value.by_seed) if value.by_seed is not None else {} if value.value is None else {0: value.value}
    scaled = {seed: value * column.scale for seed, value in seeds.items()}
    error = None if value.error is None else value.error * column.scale
    # what is empty by design is not missing
    planned = len(scaled) or int(group is not None and not group.records)
    return Entry(Measured("mean", scaled, planned, runs, "", (), error), value.printed)


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
    ``error``: what stands behind simulated means; ``z``, ``released``: whether there are such columns."""
    preset = study.preset
    shared = ", ".join(f"{name(k)}={v:g}" for k, v in study.common.items())
    source = f"own ones of the experiment {preset.name}" if study.own else preset.source
    own = [f"{shared}. Values: {source}." if shared else f"Values: {source}."]
    counts = sorted({group.repetitions for group in study.done})
    seeds = sorted({one.cell["seed"] for group in study.done for one in group.records})
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
    note = [" ".join(preset.note.split())] if preset.note and not study.own else []
    return [
        *note,
        *own,
        *(line for line in more if line),
        f"Made by `uora-bench theory {study.words}`.",
    ]


def has_released(study: Study) -> bool:
    return any(group.results is not None and "released" in group.results.theory for group in study.groups)


def name(key: str) -> str:
    """A parameter as the paper writes it, in letters that every format has."""
    return {
        "mu": "μ",
        "mu_perp": "μ_perp",
        "beta": "β",
        "gamma_pre": "γ_pre",
        "gamma": "γ",
        "sigma": "σ",
        "alpha": "α",
    }.get(key, key)

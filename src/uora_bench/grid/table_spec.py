"""`TableSpec`: what a table shows, as `table:` of an experiment's YAML says it; nothing here looks at a record.

A table is an experiment's grid seen from one side: its tasks (and their metrics) are columns, everything else but the
seed makes rows, and seeds are put together in every entry. Without `table:` the grid itself says what there is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from uora_bench.errors import UserError
from uora_bench.records.provenance import DeclaredMargin

Rule = Literal["last", "best_dev", "heldout_dev"]
Aggregate = Literal["mean", "median"]
Decimals = Annotated[int, Ge(0), Le(10)]
CostName = Literal[
    "adapter parameters",
    "adapter size",
    "seconds",
    "peak memory",
    "training FLOPs",
    "inference FLOPs",
    "tokens",
    "energy",
    "forgetting",
    "search seconds",
    "search FLOPs",
]
USUAL_COSTS: tuple[CostName, ...] = ("adapter parameters", "adapter size", "seconds", "peak memory")


@dataclass(frozen=True)
class Column:
    """One score of one task.

    ``metric``, ``split``, ``scale`` and the direction are the task's own where left out (split: test if the task has
    one, else dev); ``published``: the task and metric that the papers' CSV files call it, where ``*`` in the metric
    stands for anything; ``averaged`` false: not in the table's average.
    """

    task: str
    label: str
    metric: str | None = None
    split: str | None = None
    scale: Annotated[float, Gt(0)] | None = None
    higher_is_better: bool | None = None
    decimals: Decimals | None = None
    published: dict[str, str] = field(default_factory=dict)  # task, metric; the label where there is none
    averaged: bool = True


@dataclass(frozen=True)
class RowSpec:
    """The rows of the grid that match ``when`` (as in a preset's rules) under a ``label``.

    ``published``: the method's name in the papers' CSV files, null for a row that was not published; ``also``: cells of
    another row that belong to this row too, where two published rows are one cell.
    """

    label: str
    when: dict[str, Any]
    published: str | None = None
    also: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class BlockSpec:
    """Rows under a heading of their own, usually a backbone; ``published``: what the CSV files call that."""

    label: str
    when: dict[str, Any]
    published: str | None = None


@dataclass(frozen=True)
class Note:
    """A difference of protocol. It is put at our or at the published numbers of every entry that matches ``when``."""

    text: str
    when: dict[str, Any] = field(default_factory=dict)
    at: Literal["ours", "published"] = "published"


@dataclass(frozen=True)
class Paper:
    """How the paper came to its numbers: null where that is not known."""

    rule: Rule | None = None
    aggregate: Aggregate | None = None
    seeds: int | None = None


@dataclass(frozen=True)
class Margin:
    """δ, declared before the results: the largest difference from the row ``reference`` that does not matter.

    In the unit of the table (points).
    """

    points: Annotated[float, Ge(0.001)]
    reference: str


@dataclass(frozen=True)
class TableSpec:
    """``table:`` of an experiment.

    ``average``: a last column with the mean over the columns, for rows that have all of them; ``about``: what holds for
    the whole table, lines above it; ``comparability``: by id of a rule of what may not be compared
    (`uora_bench.report.comparability`) what follows, ``note`` where it is not named; ``costs``: the columns of costs,
    in their order.
    """

    rule: Rule = "last"
    aggregate: Aggregate = "mean"
    columns: tuple[Column, ...] = ()
    rows: tuple[RowSpec, ...] = ()
    blocks: tuple[BlockSpec, ...] = ()
    notes: tuple[Note, ...] = ()
    about: tuple[str, ...] = ()
    paper: Paper = field(default_factory=Paper)
    average: bool = False
    reference: str | None = None  # label of the row that all others are compared with, below the table
    decimals: Decimals = 2
    margin: Margin | None = None
    comparability: dict[str, Literal["note", "split", "refuse"]] = field(default_factory=dict)
    costs: tuple[CostName, ...] = USUAL_COSTS

    def __post_init__(self) -> None:
        if self.margin is None or self.reference == self.margin.reference:
            return
        if self.reference is not None:
            of = f"table.margin.reference='{self.margin.reference}' and table.reference='{self.reference}'"
            raise UserError(f"{of} must be one row")
        object.__setattr__(self, "reference", self.margin.reference)

    @property
    def declared(self) -> DeclaredMargin | None:
        """The margin with what decides of it: the settings of its reference row, and the rule."""
        if self.margin is None:
            return None
        row = next((dict(row.when) for row in self.rows if row.label == self.margin.reference), {})
        return DeclaredMargin(self.margin.points, self.margin.reference, row, self.rule)

"""Theory records by setting: what one table and its figures are made of. Nothing is computed here, only read."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uora_bench.config import registry
from uora_bench.config.cell import MetricSpec
from uora_bench.errors import UserError, nearest
from uora_bench.records.record import record_paths
from uora_bench.report.collect import Run
from uora_bench.theory import presets
from uora_bench.theory import record as records
from uora_bench.theory.parameters import Values, values
from uora_bench.theory.presets import PREFIX, Preset
from uora_bench.theory.record import Results, TheoryRecord
from uora_bench.util.schema import convert

SCRATCH = f"{PREFIX}scratch"  # everybody's own, in no list


@dataclass(frozen=True)
class Group:
    """One setting with its finished records by seed; none yet where ``records`` is empty."""

    label: str
    parameters: dict[str, Any]
    repetitions: int
    records: tuple[TheoryRecord, ...]
    planned: int

    @property
    def results(self) -> Results:
        """Of the first seed: what does not depend on the seed (theory, special values, x). Empty without a record."""
        found = self.records[0].results if self.records else None
        return found or Results("", ())

    @property
    def ids(self) -> list[str]:
        """The cell ids of the records, in the order of their seeds."""
        return [one.cell_id for one in self.records]

    @property
    def runs(self) -> tuple[Run, ...]:
        """The records as the tables' model knows cells."""
        metric = MetricSpec("theory", "accuracy")
        return tuple(
            Run(r.preset, r.cell["seed"], {"setting": self.label}, metric, {}, r.status,
                overrides=tuple(r.provenance["command"]), cell_id=r.cell_id)
            for r in self.records
        )  # fmt: skip

    def measured(self, quantity: str, x: float | None = None) -> tuple[dict[int, float], float | None]:
        """``({seed: mean}, standard error of their mean)`` of a simulated quantity.

        At ``x``, or the single number where that is None. Empty and None where nothing was simulated.
        """
        by_seed: dict[int, float] = {}
        variance = 0.0
        for one in self.records:
            assert one.results is not None
            found = (one.results.measured if x is None else one.results.simulated).get(quantity)
            i = 0 if x is None else index_of(one.results, x)
            mean, error = (None, None) if found is None or i is None else (found.mean[i], found.error[i])
            if mean is not None and error is not None:
                by_seed[one.cell["seed"]] = mean
                variance += error**2
        return by_seed, math.sqrt(variance) / len(by_seed) if by_seed else None


@dataclass(frozen=True)
class Study:
    """The settings of one experiment: of a preset (in its order), or whatever lies in a folder of one's own (``own``).

    Of ``own`` settings nothing that the preset says of its values holds. ``orphans``: finished records in the folder
    that are none of the preset's settings.
    """

    name: str
    preset: Preset
    groups: tuple[Group, ...]
    orphans: tuple[str, ...]
    own: bool = False

    @property
    def common(self) -> dict[str, Any]:
        """The parameters, plain values all of them, that every setting has alike."""
        first, *rest = [group.parameters for group in self.groups]
        alike = {k: v for k, v in first.items() if all(other[k] == v for other in rest)}
        return {k: v for k, v in alike.items() if isinstance(v, int | float) and not isinstance(v, bool)}

    def grid(self, key: str) -> tuple[float, ...]:
        """The values of a parameter that is a grid and that all settings have alike.

        Raises:
            UserError: where they have several.
        """
        first, *rest = [group.parameters[key] for group in self.groups]
        if any(other != first for other in rest):
            raise UserError(
                f"the settings of '{self.name}' have different {key}; give each an experiment_name of its own"
            )
        return values(convert(Values, first, key))

    @property
    def words(self) -> str:
        """The command that made it."""
        if not self.own:
            return f"experiment={self.preset.name}"
        made = dict.fromkeys(" ".join(one.provenance["command"]) for group in self.done for one in group.records)
        return "`, `uora-bench theory ".join(made)

    @property
    def seeds(self) -> list[int]:
        """Those of its records."""
        return sorted({one.cell["seed"] for group in self.groups for one in group.records})

    @property
    def done(self) -> tuple[Group, ...]:
        """The settings that have at least one finished record."""
        return tuple(group for group in self.groups if group.records)


def owns(name: str | None) -> bool:
    """Whether a folder of records (or a table) of that name is of theory cells."""
    return name is not None and name.startswith(PREFIX)


def is_bundled(name: str) -> bool:
    """Whether the folder ``name`` is that of an experiment of the package."""
    return registry.is_bundled("theory", name.removeprefix(PREFIX))


def names(results: Path) -> list[str]:
    """The folders of theory records that hold any."""
    root = results / "records"
    found = {p.name for p in root.iterdir() if owns(p.name) and record_paths(p)} if root.is_dir() else set()
    return sorted(found - {SCRATCH})


def studies(name: str, results: Path) -> list[Study]:
    """What the folder ``name`` holds: one study of its preset; of a folder of one's own one per preset that was run.

    Raises:
        UserError: for a folder without records, or a record that cannot be read.
    """
    folder = results / "records" / name
    if not owns(name) or folder.parent != results / "records" or not record_paths(folder):
        raise UserError(f"no theory records called '{name}'{nearest(name, names(results))}")
    found = [one for one in map(records.read_record, record_paths(folder)) if one.status == "done"]
    own = name.removeprefix(PREFIX)
    if own in presets.names():
        return [_of_preset(name, presets.load_preset(own), found)]
    kinds = dict.fromkeys(one.preset for one in sorted(found, key=lambda r: (r.preset, r.label)))
    whole = [(preset, [one for one in found if one.preset == preset]) for preset in kinds]
    return [
        Study(
            name if len(whole) == 1 else f"{name}_{preset}", presets.load_preset(preset), _grouped(mine), (), own=True
        )
        for preset, mine in whole
    ]


def index_of(results: Results, x: float) -> int | None:
    """The index of ``x`` among the record's values."""
    near = [i for i, value in enumerate(results.x) if math.isclose(value, x, rel_tol=1e-6, abs_tol=1e-9)]
    return near[0] if near else None


def _by_key(found: Iterable[TheoryRecord]) -> dict[str, list[TheoryRecord]]:
    """Records that differ in the seed alone, in its order."""
    by_key: dict[str, list[TheoryRecord]] = {}
    for one in sorted(found, key=lambda r: (r.label.rpartition(" · ")[0], r.cell["seed"])):
        by_key.setdefault(presets.key_of(one.cell), []).append(one)
    return by_key


def _of_preset(name: str, preset: Preset, found: list[TheoryRecord]) -> Study:
    by_key = _by_key(found)
    groups: dict[str, Group] = {}
    for cell in presets.expand(preset):
        key = presets.key_of(cell.canonical())
        own = by_key.get(key, [])
        seeds = {*preset.seeds, *(one.cell["seed"] for one in own)}
        parameters = cell.canonical()["parameters"]
        groups.setdefault(key, Group(cell.label, parameters, cell.repetitions, tuple(own), len(seeds)))
    orphans = tuple(one.cell_id for one in found if presets.key_of(one.cell) not in groups)
    return Study(name, preset, tuple(groups.values()), orphans)


def _grouped(found: Iterable[TheoryRecord]) -> tuple[Group, ...]:
    groups = [
        Group(own[0].label.rpartition(" · ")[0], own[0].cell["parameters"], own[0].cell["repetitions"], tuple(own),
              len(own))
        for own in _by_key(found).values()
    ]  # fmt: skip
    first = groups[0].parameters
    varied = [k for k in first if any(other.parameters.get(k) != first[k] for other in groups)]
    labels = [group.label for group in groups]
    return tuple(group if labels.count(group.label) == 1 else _told_apart(group, varied) for group in groups)


def _told_apart(group: Group, varied: Iterable[str]) -> Group:
    """``group`` with what tells it from others of its label: the parameters that vary, and the repetitions."""
    varied_here = [f"{k}={group.parameters[k]}" for k in varied if f"{k}=" not in group.label]
    return replace(group, label=", ".join([group.label, *varied_here, f"{group.repetitions} repetitions"]))

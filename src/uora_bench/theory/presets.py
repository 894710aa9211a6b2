"""Theory experiments: the YAML files of configs/theory/, and the cells that each of them makes.

A preset says which computation (`uora_bench.theory.parameters`), with which values and where they come from. Its cells
are every combination of ``axes`` with every entry of ``cells``, over ``settings``, times the seeds.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from uora_bench.config import registry
from uora_bench.errors import UserError, nearest
from uora_bench.theory.parameters import KINDS, VERSIONS
from uora_bench.util.inside import is_folder_name
from uora_bench.util.schema import build, plain
from uora_bench.util.yaml_text import parse_yaml, yaml_problem

GROUP = "theory"
PREFIX = "theory_"  # of the folders of records, so that a report tells them from those of other cells
PAPER = ("figure", "table")  # figure=1 is the preset whose `paper` is "figure 1"


@dataclass(frozen=True)
class Printed:
    """Numbers that the paper or its code prints for this experiment, and where.

    They are rows of parameters and values that `uora_bench.theory.report` shows next to ours, or a table of
    results/paper/*.csv that holds them.
    """

    source: str
    values: tuple[dict[str, Any], ...] = ()  # {when: {beta: 0.2}, optimal_alpha: "1.64"}; text keeps the digits
    paper: str | None = None
    table: str | None = None


@dataclass(frozen=True)
class Preset:
    """One file of configs/theory/.

    ``paper``: what the α-LoRA paper calls it, where it does; ``source``: where the values of ``settings``, ``axes`` and
    ``cells`` come from; ``label``: how a cell is called in figures and tables, its parameters in braces; ``shows``: the
    quantities that figures draw (a figure each; histograms and maps are drawn without), none: a table alone.
    """

    name: str
    title: str
    kind: str
    source: str
    note: str
    label: str
    settings: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    cells: tuple[dict[str, Any], ...] = ()
    repetitions: int = 0
    seeds: tuple[int, ...] = (0,)
    paper: str | None = None
    shows: tuple[str, ...] = ()
    table_alphas: tuple[float, ...] = (0.0, 1.0)  # which α the table shows, besides the special ones
    printed: Printed | None = None


@dataclass(frozen=True)
class TheoryCell:
    """A setting × seed. ``parameters`` is one of `KINDS`; ``repetitions``: independent draws behind each mean."""

    kind: str
    parameters: Any
    repetitions: int
    seed: int
    label: str = field(compare=False, default="")

    def canonical(self) -> dict[str, Any]:
        """What decides the result but the data, as plain JSON."""
        return {
            "theory": self.kind,
            "version": VERSIONS[self.kind],
            "parameters": plain(self.parameters),
            "repetitions": self.repetitions,
            "seed": self.seed,
        }

    def cell_id(self, fingerprint: str) -> str:
        """16 hex digits: the hash of `canonical` and of the data's fingerprint ("" for generated data)."""
        return cell_id(self.canonical(), fingerprint)


def cell_id(canonical: Mapping[str, Any], fingerprint: str) -> str:
    """As `TheoryCell.cell_id`, from the plain form."""
    text = json.dumps([dict(canonical), fingerprint], sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def key_of(canonical: Mapping[str, Any]) -> str:
    """What cells that differ in the seed alone have in common."""
    return json.dumps({k: v for k, v in canonical.items() if k != "seed"}, sort_keys=True)


def names() -> list[str]:
    """The names of the files in ``configs/theory/``."""
    return registry.choices(GROUP)


@functools.cache
def load_preset(name: str) -> Preset:
    """The preset ``name``; raises `UserError` for an unknown one or a file that does not fit `Preset`."""
    import yaml

    if name not in names():
        raise UserError(f"unknown theory experiment '{name}'{nearest(name, names(), limit=20)}")
    path = registry.configs_dir() / GROUP / f"{name}.yaml"
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise UserError(f"configs/theory/{name}.yaml is not YAML: {yaml_problem(error)}") from None
    preset = build(Preset, data, f"theory {name}")
    if preset.name != name:
        raise UserError(f"configs/theory/{name}.yaml says name: {preset.name}; the two must be the same")
    if preset.kind not in KINDS:
        raise UserError(f"theory {name}: unknown kind '{preset.kind}'{nearest(preset.kind, KINDS)}")
    return preset


def of_paper(what: str, number: str) -> str:
    """The name of the preset that the paper calls ``what`` ``number`` (figure 1, table 1); else raises `UserError`."""
    known = {preset.paper: preset.name for preset in map(load_preset, names()) if preset.paper}
    if f"{what} {number}" not in known:
        named = ", ".join(sorted(f"{'='.join(paper.split(' ', 1))} ({name})" for paper, name in known.items()))
        raise UserError(f"no {what}={number} of the paper is here; there are {named}; and experiment=… (see list)")
    return known[f"{what} {number}"]


def keys(preset: Preset) -> list[str]:
    """The parameters that a command line may set in ``preset``."""
    return sorted(f.name for f in dataclasses.fields(KINDS[preset.kind]))


def expand(
    preset: Preset,
    given: Mapping[str, list[Any]] | None = None,
    repetitions: int | None = None,
    seeds: tuple[int, ...] | None = None,
) -> list[TheoryCell]:
    """The cells of ``preset``: one setting after the other, all seeds of each.

    ``given``: parameter -> values that replace those of the preset. Of parameters that ``cells`` sets, a given value
    that occurs there chooses those entries; any other is set in all of them.

    Raises:
        UserError: for an unknown parameter, a value that does not fit, or values that leave no cell.
    """
    asked = dict(given or {})
    given = dict(asked)
    cls = KINDS[preset.kind]
    for key in given:
        if key not in keys(preset):
            raise UserError(f"unknown key '{key}'{nearest(key, keys(preset))}")
    repetitions = preset.repetitions if repetitions is None else repetitions
    seeds = preset.seeds if seeds is None else seeds
    _check(preset, repetitions, seeds)
    entries = list(preset.cells) or [{}]
    for key in [k for k in given if any(k in entry for entry in entries)]:
        if all(value in [entry.get(key) for entry in entries] for value in given[key]):
            wanted = given.pop(key)
            entries = [entry for entry in entries if entry.get(key) in wanted]
    axes: dict[str, list[Any]] = {**{k: list(v) for k, v in preset.axes.items()}, **given}
    found: dict[str, TheoryCell] = {}
    for entry in entries:
        for combination in itertools.product(*axes.values()):
            chosen = {**preset.settings, **entry, **dict(zip(axes, combination, strict=True))}
            if chosen.get("source") == chosen.get("target") and {"source", "target"} <= set(axes):
                continue  # of a product of domains: no transfer
            parameters: Any = build(cls, {k: v for k, v in chosen.items() if k != "id"}, "")
            label = _label(preset, {"id": "", **plain(parameters), **{k: v for k, v in chosen.items() if k == "id"}})
            for seed in seeds:
                cell = TheoryCell(preset.kind, parameters, repetitions, seed, label)
                found.setdefault(json.dumps(cell.canonical(), sort_keys=True), cell)
    if not found:
        raise UserError(f"no cell of {preset.name} has {' and '.join(f'{k}={v}' for k, v in asked.items())}")
    return list(found.values())


def _label(preset: Preset, known: Mapping[str, Any]) -> str:
    shown = {k: _shown(v) for k, v in known.items()}
    try:
        return " ".join(preset.label.format(**shown).split())
    except (KeyError, IndexError, ValueError) as error:
        raise UserError(f"theory {preset.name}: the label '{preset.label}' cannot be filled ({error})") from None


def _shown(value: Any) -> Any:
    if isinstance(value, float):
        return f"{value:g}"
    return f"({', '.join(map(str, value))})" if isinstance(value, list) else value


def _check(preset: Preset, repetitions: int, seeds: tuple[int, ...]) -> None:
    simulated = preset.repetitions > 0
    if simulated and repetitions < 2:
        raise UserError(f"repetitions={repetitions} gives no standard error; take 2 or more (theory {preset.name})")
    if not simulated and repetitions:
        raise UserError(f"theory {preset.name} simulates nothing, so repetitions={repetitions} has no meaning; drop it")
    if not seeds or min(seeds) < 0:
        raise UserError(f"seed={','.join(map(str, seeds))} must be one or more numbers, none of them negative")


def with_folder(preset: Preset, folder: str | None) -> str:
    """The folder of records: ``theory_<name>``, or the one asked for (which gets the prefix if it lacks it).

    Raises:
        UserError: for one that is no plain folder name.
    """
    if folder is None:
        return f"{PREFIX}{preset.name}"
    if not is_folder_name(folder):
        raise UserError(f"experiment_name={folder!r} must be a plain folder name, e.g. experiment_name=theory_mine")
    return folder if folder.startswith(PREFIX) else f"{PREFIX}{folder}"

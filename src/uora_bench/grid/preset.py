"""Experiments: the YAML files of configs/experiment/, one per published table and our own.

A preset is axes (every combination is a row), settings for all rows, rules that set more where they apply, rows to add
and rows to leave out. `uora_bench.grid.expand` makes cells of it.
"""

from __future__ import annotations

import fnmatch
import functools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uora_bench.config import compose, registry, synonyms
from uora_bench.errors import UserError, nearest, nearest_path
from uora_bench.grid.search_spec import SearchSpec
from uora_bench.grid.table_spec import TableSpec
from uora_bench.util.inside import is_folder_name
from uora_bench.util.schema import build
from uora_bench.util.yaml_text import parse_yaml, yaml_problem


@dataclass(frozen=True)
class Published:
    """The published table that an experiment reruns."""

    paper: str
    table: str


@dataclass(frozen=True)
class Rule:
    """``set``: what else is set in rows that match ``when`` (axis: value, list of values, or patterns with ``*``)."""

    when: dict[str, Any]
    set: dict[str, Any]


@dataclass(frozen=True)
class Start:
    """Rows that match ``when`` start from the adapter of the row that has the values of ``like`` instead."""

    when: dict[str, Any]
    like: dict[str, Any]


@dataclass(frozen=True)
class Experiment:
    """One file of configs/experiment/.

    ``include``: more rows, each a grid of its own over the axes it names with the values of ``axes`` for those it does
    not (null: that axis is left to its default).
    """

    name: str
    axes: dict[str, Any]
    title: str = ""  # "": the table is called after the records
    note: str = ""
    published: Published | None = None
    set: dict[str, Any] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    include: tuple[dict[str, Any], ...] = ()
    exclude: tuple[dict[str, Any], ...] = ()
    starts: tuple[Start, ...] = ()
    processes: int = 1  # per cell
    table: TableSpec | None = None  # how `uora_bench.report` shows it; None: as the axes suggest
    search: SearchSpec | None = None  # its cells are the trials of a search (docs/searches.md)


_OF_CELLS = {"axes", "set", "rules", "include", "exclude", "starts"}  # where a preset names keys of its cells


def is_file(name: str) -> bool:
    """Whether ``experiment=name`` is a file of the user's own (``./grid.yaml``) rather than a preset's name."""
    return name.endswith((".yaml", ".yml")) or name.startswith((".", "/", "~"))


def load_experiment(name: str) -> Experiment:
    """The experiment ``name``: a preset, or a YAML file of the user's own.

    Raises:
        UserError: for an unknown one, or a file that does not fit `Experiment`.
    """
    if not is_file(name):
        path = registry.path_of("experiment", name)
        experiment = _load(path, path.stat().st_mtime_ns)
        if experiment.name != name:
            raise UserError(f"'{path}' says name: {experiment.name}, and is found as {name}; the two must be the same")
        return experiment
    path = Path(name).expanduser()
    if not path.is_file():
        raise UserError(f"experiment={name}: there is no such file{nearest_path(name)}")
    experiment = _load(path, path.stat().st_mtime_ns)
    if not is_folder_name(experiment.name):
        raise UserError(f"'{path}' says name: {experiment.name!r}; it must be a plain folder name, as my_grid")
    if experiment.name in registry.choices("experiment") and not _is_copy(path, experiment.name):
        raise UserError(f"'{path}' says name: {experiment.name}, which is a preset's; give it a name of its own")
    return experiment


def _is_copy(path: Path, name: str) -> bool:
    """Whether the preset ``name`` is the same file, or says the same: somebody put it into a folder of plug-ins."""
    return path.read_bytes() == registry.path_of("experiment", name).read_bytes()


@functools.lru_cache(maxsize=64)
def _load(path: Path, changed: int) -> Experiment:
    """The experiment in the file ``path``, which was last ``changed`` then."""
    import yaml

    try:
        data = parse_yaml(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"'{path}' is not YAML: {yaml_problem(error)}") from None
    for part in _OF_CELLS & data.keys() if isinstance(data, dict) else ():
        data[part] = _canonical(data[part])
    return build(Experiment, data, f"experiment {path.stem}")


def _canonical(node: Any) -> Any:
    """A part of a preset with the keys of cells by the names that they have here."""
    if isinstance(node, dict):
        return {synonyms.key_of(key) if isinstance(key, str) else key: _canonical(v) for key, v in node.items()}
    return [_canonical(v) for v in node] if isinstance(node, list) else node


def values(key: str, given: Any) -> list[Any]:
    """The values of an axis: a list or one value; of a group (method, task, …) patterns with ``*`` are looked up.

    Raises:
        UserError: for an axis without values and a pattern that matches nothing.
    """
    found: list[Any] = []
    for value in given if isinstance(given, list) else [given]:
        if key in registry.GROUPS and isinstance(value, str) and any(c in value for c in "*?"):
            names = registry.choices(key)
            matching = fnmatch.filter(names, value)
            if not matching:
                raise UserError(f"{key}={value} matches nothing{nearest(value.strip('*'), names)}")
            found += matching
        else:
            found.append(value)
    if not found:
        raise UserError(f"the axis '{key}' has no values")
    return [value for i, value in enumerate(found) if value not in found[:i]]  # a value may be a list


def matches(row: dict[str, Any], when: dict[str, Any]) -> bool:
    """Whether ``row`` has every value that ``when`` asks for (one of a list; ``*`` stands for anything in text)."""
    for key, wanted in when.items():
        options = wanted if isinstance(wanted, list) else [wanted]
        if not any(same(key, row.get(key), option) for option in options):
            return False
    return True


def same(key: str, value: Any, pattern: Any) -> bool:
    """Whether ``value`` of ``key`` is ``pattern``; either may be text of a command line (``"1e-1"`` is 0.1)."""
    value, pattern = read_value(key, value), read_value(key, pattern)
    if isinstance(value, str) and isinstance(pattern, str):
        return fnmatch.fnmatchcase(value, pattern)
    return bool(value == pattern) and isinstance(value, bool) == isinstance(pattern, bool)


def read_value(key: str, value: Any) -> Any:
    """``value`` of ``key`` as what it means: text of a command line (``"1e-1"``) becomes the value it stands for."""
    if not isinstance(value, str) or key in registry.GROUPS or "*" in value:
        return value
    return _value(str(value))


@functools.lru_cache(maxsize=4096)
def _value(text: str) -> Any:
    try:
        override = compose.read_override(f"seed={text}")
    except UserError:
        return text
    return text if override.is_sweep_override() else override.value()

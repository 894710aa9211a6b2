"""Where a recorded cell had its data and weights: no record says it, but the run folder and a grid's own file may."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from uora_bench.config import registry
from uora_bench.config.ids import key_of
from uora_bench.errors import UserError
from uora_bench.records.record import CellRecord

_KEYS = ("data.root", "backbone.path", "task.path", "task.metric.name", "init_from")


def known_places(record: CellRecord, given: Sequence[str], runs: Path) -> tuple[list[str], list[str]]:
    """``key=value`` for the files and folders that the cell of ``record`` was made from: those that exist, and others.

    What ``given`` or the record's own command names is left out. Whether the files are the same is checked by the
    ``cell_id``.
    """
    said = {word.partition("=")[0] for word in (*given, *record.provenance.command)}
    found, gone = dict[str, str](), dict[str, str]()
    for key, value in (*_of_run(record, runs), *_of_grid(record)):
        if key not in said and key not in found:
            (found if Path(value).expanduser().exists() else gone)[key] = value
    return ([f"{key}={value}" for key, value in found.items()],
            [f"{key}={value}" for key, value in gone.items() if key not in found])  # fmt: skip


def _of_run(record: CellRecord, runs: Path) -> Iterator[tuple[str, str]]:
    """What the configuration in the run folder says."""
    from uora_bench.execution.configuration import read_configuration

    experiment = runs / record.experiment
    if record.provenance.init_from is not None:
        yield "init_from", str(experiment / record.provenance.init_from)
    try:
        values = read_configuration(experiment / record.cell_id).values
    except UserError:  # gone, or damaged
        return
    task, backbone, data = (values.get(name) or {} for name in ("task", "backbone", "data"))
    places: dict[str, Any] = {
        "data.root": data.get("root"),
        "backbone.path": backbone.get("path"),
        "task.path": ((task.get("source") or {}).get("files") or {}).get("path"),
        "task.metric.name": (task.get("metric") or {}).get("name"),
    }
    yield from ((key, str(value)) for key, value in places.items() if value is not None and _is_place(key, str(value)))


def _is_place(key: str, value: str) -> bool:
    """Whether ``value`` is a file or folder; a metric may be one of the suite's."""
    return key in _KEYS and (key != "task.metric.name" or value.endswith(".py"))


def _of_grid(record: CellRecord) -> Iterator[tuple[str, str]]:
    """What the file of the grid says of the cell."""
    from uora_bench.grid.expand import expand_request
    from uora_bench.grid.request import GridRequest

    if record.experiment not in registry.choices("experiment"):
        return
    try:
        items = expand_request(GridRequest(record.experiment, "print")).items
    except UserError:  # a file that was changed since is no help
        return
    key = key_of(record.cell)
    for planned in items:
        if planned.cell is not None and key_of(planned.canonical) == key:
            for word in planned.overrides:
                name, _, value = word.partition("=")
                if _is_place(name, value):
                    yield name, value

"""`TheoryRecord`: one JSON per theory cell; the schema, its only writer and its only reader.

A `CellRecord` says how training went; a theory cell trains nothing and has curves instead, so it has a record of its
own (docs/decisions/0013-theory-cells.md). The rules are the same: the file is named by the hash of what decides it, is
there whole or not at all, and a failure never replaces a result.
"""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from uora_bench.errors import UserError
from uora_bench.records import provenance
from uora_bench.records.record import read_record_data, record_path, write_record_text
from uora_bench.theory.presets import cell_id
from uora_bench.util.schema import build, plain

SCHEMA = 1
DIGITS, ERROR_DIGITS = 7, 4  # of values, and of standard errors
_OPEN = ("cell", "provenance", "results")  # a line per key; what is below them stands on one line
_COMPUTES = ("python", "uora_bench", "numpy", "scipy", "scikit-learn")


@dataclass(frozen=True)
class Estimate:
    """Simulated values: ``mean`` over ``repetitions`` and its standard ``error``.

    Each is a list along the record's ``x``, or of one number. None: not simulated there.
    """

    mean: tuple[float | None, ...]
    error: tuple[float | None, ...]
    repetitions: int


@dataclass(frozen=True)
class Histogram:
    """Counts of decision values at one α, per class, between ``edges``.

    ``mean`` and ``std``: of the Gaussian that the theory predicts for class +1 (for −1 the mean has the other sign).
    """

    alpha: float
    edges: tuple[float, ...]
    negative: tuple[int, ...]
    positive: tuple[int, ...]
    mean: float
    std: float
    accuracy: float  # of the sign, on the points counted


@dataclass(frozen=True)
class Results:
    """``x``: the values along ``axis`` (alpha, gamma, beta, …; "" where there is only one).

    ``theory``: variant -> quantity -> values along ``x``; ``simulated``: the same measured. ``facts``: single numbers,
    with theory's by variant (``corrected.optimal_alpha``); ``special``: name -> a value of x that means something (α*,
    the worst α).
    """

    axis: str
    x: tuple[float, ...]
    theory: dict[str, dict[str, tuple[float | None, ...]]] = field(default_factory=dict)
    simulated: dict[str, Estimate] = field(default_factory=dict)
    special: dict[str, float] = field(default_factory=dict)
    facts: dict[str, float | None] = field(default_factory=dict)
    measured: dict[str, Estimate] = field(default_factory=dict)  # single numbers: a list of one each
    histograms: tuple[Histogram, ...] = ()


@dataclass(frozen=True)
class TheoryRecord:
    """A finished (``done``) or failed theory cell."""

    schema: int
    status: Literal["done", "failed"]
    cell_id: str
    experiment: str  # the folder
    preset: str
    label: str
    cell: dict[str, Any]  # theory (the kind), version, parameters, repetitions, seed: what the id hashes
    provenance: dict[str, Any]  # git, versions, hardware, data fingerprint, command, time
    seconds: float
    results: Results | None = None
    reason: str | None = None  # of a failure, one line

    def write(self, folder: Path) -> Path:
        """Write to ``folder/<cell_id>.json`` atomically; a failure never replaces a finished record.

        Raises:
            UserError: for a record that `read_record` would refuse.
            OSError: when the file system refuses; what was there is untouched.
        """
        path = record_path(folder, self.cell_id)
        _check(self)
        write_record_text(path, self.status, _text(plain(self)), read_record)
        return path


def read_record(path: Path) -> TheoryRecord:
    """Read and validate a record.

    Raises:
        UserError: not JSON, another schema, an unknown or missing key, a wrong type, or an id of other content.
    """
    data = read_record_data(path)
    if data.get("schema") != SCHEMA or "preset" not in data:
        raise UserError(f"'{path}' is no theory record of schema {SCHEMA}; remove it and run again")
    try:
        record = build(TheoryRecord, data)
        _check(record)
    except UserError as error:
        raise UserError(f"the record '{path}' is not valid: {error}; remove it and run again") from None
    return record


def record_problems(path: Path) -> list[str]:
    """What is wrong with the record at ``path``, a line each; empty: nothing."""
    try:
        read_record(path)
    except UserError as error:
        return [f"{path.name}: {error}"]
    return []


def find_record(folder: Path, wanted: str) -> TheoryRecord | None:
    """The record of that id in ``folder``, None where there is none; raises as `read_record`."""
    path = record_path(folder, wanted)
    return read_record(path) if path.is_file() else None


def facts(data: Mapping[str, str], command: Iterable[str]) -> dict[str, Any]:
    """What a record says of where it came from: no machine names or paths, and no GPU (nothing here uses one)."""
    versions = provenance.versions()
    return {
        "git": provenance.git_state(),
        "versions": {name: versions[name] for name in _COMPUTES if name in versions},
        "hardware": {"machine": platform.machine(), "processor": provenance.processor()},
        "data": dict(data),
        "command": [word for word in command if not word.startswith(provenance.PATHS)],
        "finished": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def fingerprint(data: Mapping[str, str]) -> str:
    """The part of the id that is the data's: "" for generated data."""
    return "/".join(f"{name}:{digest}" for name, digest in sorted(data.items()))


def _check(record: TheoryRecord) -> None:
    if record.status == "done" and record.results is None:
        raise UserError("a done record needs results")
    if record.status == "failed" and not record.reason:
        raise UserError("a failed record needs a reason")
    if record.cell_id != cell_id(record.cell, fingerprint(record.provenance.get("data", {}))):
        raise UserError("its cell_id is not that of its content")


def _text(record: dict[str, Any]) -> str:
    """The file: JSON that a person can read and a diff can show, without a line for every number."""
    shown = {**record, "results": _short(record["results"])}
    return (
        "{\n" + ",\n".join(f" {_json(k)}: {_opened(v) if k in _OPEN else _json(v)}" for k, v in shown.items()) + "\n}\n"
    )


def _opened(value: dict[str, Any] | None) -> str:
    lines = ",\n".join(f"  {_json(k)}: {_json(v)}" for k, v in (value or {}).items())
    return f"{{\n{lines}\n }}" if value is not None else _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False, ensure_ascii=False)


def _short(value: Any, digits: int = DIGITS) -> Any:
    """Floats with that many significant digits; what is not finite (a negative variance has no root) is null."""
    if isinstance(value, float):
        return float(f"{value:.{digits}g}") if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _short(v, ERROR_DIGITS if k == "error" else digits) for k, v in value.items()}
    return [_short(v, digits) for v in value] if isinstance(value, list) else value

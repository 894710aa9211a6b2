"""`CellRecord`: one JSON file per finished cell; the schema, its only writer and its only reader.

The dataclasses below are the documentation of the file: every key of ``results/records/<experiment>/<cell_id>.json`` is
a field here, and reading a file checks it against them. ``SCHEMA`` rises when a meaning changes. No torch in here.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from uora_bench.config.cell import MetricSpec
from uora_bench.config.schema import build, plain
from uora_bench.errors import UserError
from uora_bench.util import atomic

SCHEMA = 1
RULES = ("last", "best_dev", "heldout_dev")


@dataclass(frozen=True)
class EpochScores:
    """One evaluation. ``scores``: per split (dev, test, extras) every metric, in its own unit (not scaled)."""

    epoch: int
    step: int
    train_loss: float
    scores: dict[str, dict[str, Any]]
    seconds: float  # of training and evaluation since the start
    method: dict[str, Any] = field(default_factory=dict)  # the method's own snapshot (refreshes so far, α's spread, …)


@dataclass(frozen=True)
class RuleScore:
    """The result under one selection rule.

    ``last``: the last epoch. ``best_dev``: the epoch with the best dev score; the score is then optimistic, the dev set
    chose it. ``heldout_dev``: the epoch is chosen on one fixed half of the dev set and scored on the other, both ways,
    and the two are averaged (primary metric only): no example is both judge and judged.
    """

    scores: dict[str, dict[str, Any]]  # split -> metric -> value
    epoch: int | None  # null for heldout_dev, which may choose two
    note: str


@dataclass(frozen=True)
class Counts:
    """Numbers of parameters. ``adapter`` equals the method's closed form; ``total`` is the frozen rest included."""

    adapter: int
    head: int
    total: int


@dataclass(frozen=True)
class Sizes:
    """Bytes. ``adapter_size``: of the adapter tensors that the seed cannot give back, without the head; the rest are
    sizes of files."""

    adapter_size: int
    adapter_file: int
    head_file: int


@dataclass(frozen=True)
class Timing:
    """Wall-clock seconds: loading and set-up (of the last start), training steps and evaluations (summed over
    restarts, without what a killed start did after its checkpoint), and these three together. ``parts``: where the
    whole time of the last start went (train, eval and save: of all starts), by name."""

    setup: float
    train: float
    eval: float
    total: float
    parts: dict[str, float] = field(default_factory=dict)  # empty in records older than the field


@dataclass(frozen=True)
class CellRecord:
    """A finished (``done``) or failed cell."""

    schema: int
    status: Literal["done", "failed"]
    cell_id: str
    experiment: str
    label: str
    cell: dict[str, Any]  # method, task, backbone, trainer, seed, init_from: what the id hashes
    recipe: dict[str, Any]  # name, status, note
    sources: dict[str, str]  # key -> where its value came from (a recipe's source label, or "command line")
    metric: MetricSpec
    provenance: dict[str, Any]  # git, versions, hardware, data fingerprints, backbone origin, command, times
    reason: str | None = None  # of a failure, one line
    splits: dict[str, Any] = field(default_factory=dict)  # role -> {name, rows}
    scores: dict[str, RuleScore] = field(default_factory=dict)  # rule -> result
    epochs: tuple[EpochScores, ...] = ()
    counts: Counts | None = None
    bytes: Sizes | None = None
    seconds: Timing | None = None
    examples_per_second: float | None = None  # training
    tokens_per_second: float | None = None  # training, without padding
    peak_memory_bytes: int | None = None
    peak_memory_kind: str | None = None  # cuda_allocated | resident
    peak_memory_by_phase: dict[str, int] = field(default_factory=dict)  # setup, train, eval; empty in older records
    precision: str | None = None  # resolved
    processes: int | None = None
    micro_batch_size: int | None = None
    restarts: int = 0
    merge_error: float | None = None  # largest difference of logits, merged against adapter, relative to the largest
    method: dict[str, Any] = field(default_factory=dict)  # the method's own report (refresh events, …)

    def write(self, folder: Path) -> Path:
        """Write to ``folder/<cell_id>.json`` atomically; a failure never replaces a finished record.

        Raises:
            UserError: for a record that `read` would refuse.
            OSError: when the file system refuses; what was there is untouched.
        """
        path = record_path(folder, self.cell_id)
        _check(self)
        # NaN is not JSON: a record that holds one must not come into being
        put(path, self.status, json.dumps(plain(self), indent=1, allow_nan=False, ensure_ascii=False), read)
        return path


def put(path: Path, status: str, text: str, reader: Callable[[Path], Any]) -> None:
    """Write a record's ``text`` atomically, unless it is a failure's and ``reader`` finds a finished record there."""
    if status == "failed" and path.is_file():
        try:
            if reader(path).status == "done":
                return
        except UserError:
            pass  # what cannot be read may be replaced
    atomic.write_text(path, text + "\n")


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def record_path(folder: Path, cell_id: str) -> Path:
    return folder / f"{cell_id}.json"


def read(path: Path) -> CellRecord:
    """Read and validate a record.

    Raises:
        UserError: not JSON, another schema, an unknown or missing key, a wrong type, or a done record without results.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse)
    except (OSError, ValueError) as error:
        raise UserError(
            f"cannot read the record '{path}': {str(error).splitlines()[0]}; remove it and run again"
        ) from None
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else None
        raise UserError(f"the record '{path}' has schema {found}, this version reads {SCHEMA}; remove it and run again")
    try:
        record = build(CellRecord, data)
        _check(record)
    except UserError as error:
        raise UserError(f"the record '{path}' is not valid: {error}; remove it and run again") from None
    return record


def _check(record: CellRecord) -> None:
    if record.status == "done":
        missing = [r for r in RULES[:2] if r not in record.scores]
        if missing or record.counts is None or record.seconds is None or not record.epochs:
            raise UserError("a done record needs scores, epochs, counts and seconds")
    elif not record.reason:
        raise UserError("a failed record needs a reason")


def paths(folder: Path) -> list[Path]:
    """The files in ``folder`` that are named like records; grades of answers are JSON too, and lie beside them."""
    named = (p for p in folder.glob("*.json") if len(p.stem) == 16 and set(p.stem) <= set("0123456789abcdef"))
    return sorted(named) if folder.is_dir() else []


def find(folder: Path, cell_id: str) -> CellRecord | None:
    """The record of ``cell_id`` in ``folder``, if there is one."""
    path = record_path(folder, cell_id)
    return read(path) if path.is_file() else None


def select(epochs: list[dict[str, Any]], metric: MetricSpec) -> dict[str, RuleScore]:
    """The scores of a run under every selection rule (`RuleScore` says what each means)."""
    epochs = [e for e in epochs if "dev" in e["scores"]]  # with trainer.evaluate=last the others have none
    if not epochs:
        return {}

    def best(values: list[float]) -> int:
        # the first of equals: later epochs have to be better, not as good
        return values.index(max(values) if metric.higher_is_better else min(values))

    def scores(entry: dict[str, Any]) -> dict[str, dict[str, Any]]:
        return {split: {k: v for k, v in s.items() if k != "halves"} for split, s in entry["scores"].items()}

    last = epochs[-1]
    top = epochs[best([e["scores"]["dev"][metric.primary] for e in epochs])]
    rules = {
        "last": RuleScore(scores(last), last["epoch"], "the last epoch; dev was not used to choose it"),
        "best_dev": RuleScore(scores(top), top["epoch"], "dev chose the epoch, so its own score is optimistic"),
    }
    if "halves" in last["scores"]["dev"]:
        halves = [e["scores"]["dev"]["halves"] for e in epochs]
        judged = [halves[best([h[side] for h in halves])][1 - side] for side in (0, 1)]
        rules["heldout_dev"] = RuleScore(
            {"dev": {metric.primary: sum(judged) / 2}},
            None,
            "epoch chosen on one fixed half of dev, scored on the other, both ways",
        )
    return rules

"""`CellRecord`: one JSON file per finished cell; the schema, its only writer and its only reader.

The dataclasses below and in `records.provenance` are the documentation of the file: every key of
``results/records/<experiment>/<cell_id>.json`` is a field there, and reading a file checks it against them. ``SCHEMA``
rises when a name or a meaning changes, and `records.migrate` rewrites older files. No torch in here.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

from uora_bench.config.cell import MetricSpec
from uora_bench.config.ids import fingerprint_of, id_of
from uora_bench.errors import UserError
from uora_bench.records import checks
from uora_bench.records.provenance import Provenance
from uora_bench.util import atomic
from uora_bench.util.schema import build, convert, plain
from uora_bench.util.secrets import scrub
from uora_bench.util.words import clause

SCHEMA = 2
RULES = ("last", "best_dev", "heldout_dev")
TRIALS = ("quickstart", "scratch")  # experiments that are everybody's own: looked at when asked for, and in no list
REPLACED = "replaced"  # folder in an experiment's, of records that force=true made anew


_MOST = 10**30  # of anything that is counted or measured: a table could not print more
Count = Annotated[int, Ge(0), Le(_MOST)]
Amount = Annotated[float, Ge(0), Le(_MOST)]


class OldRecord(UserError):
    """A record of schema 1, which `records migrate` brings up to date."""


@dataclass(frozen=True)
class EpochScores:
    """The scores of one epoch.

    ``scores``: per split (dev, test, extras) every metric, in its own unit (not scaled); empty where nothing was
    evaluated (``trainer.evaluate=last``). ``halves``: dev's primary metric on the two fixed halves of dev, for
    ``heldout_dev``; None where dev has fewer than two rows or was not scored.
    """

    epoch: int
    step: int
    train_loss: float
    scores: dict[str, dict[str, Any]]
    seconds: float  # of training and evaluation since the start
    method: dict[str, Any] = field(default_factory=dict)  # the method's own snapshot (refreshes so far, α's spread, …)
    halves: tuple[float, float] | None = None


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
class Split:
    """What the data set calls a split, and how many rows of it were used."""

    name: str
    rows: Count


@dataclass(frozen=True)
class Counts:
    """Numbers of parameters. ``adapter`` equals the method's closed form; ``total`` is the frozen rest included."""

    adapter: Count
    head: Count
    total: Count


@dataclass(frozen=True)
class Sizes:
    """Sizes in bytes.

    ``adapter_size``: of the adapter tensors that the seed cannot give back, without the head; the rest are sizes of
    files.
    """

    adapter_size: Count
    adapter_file: Count
    head_file: Count


@dataclass(frozen=True)
class Timing:
    """Wall-clock seconds.

    Loading and set-up (of the last start), training steps and evaluations (summed over restarts, without what a killed
    start did after its checkpoint), and the sum of these three. ``parts``: the time of the last start by name (train,
    eval and save: of all starts).
    """

    setup: Amount
    train: Amount
    eval: Amount
    total: Amount
    parts: dict[str, float] = field(default_factory=dict)  # empty in records older than the field


@dataclass(frozen=True)
class Work:
    """What training computed, in tokens and in FLOPs (closed form, `training.flops`).

    ``tokens`` and ``tokens_padded``: without and with padding (pictures: how many). FLOPs are those of products of
    matrices, two per multiplication and addition, of all processes, without recomputation (gradient checkpointing).
    ``auxiliary``: forward and backward of the method's auxiliary steps. ``inference``: a forward pass of one input of
    ``inference_tokens`` tokens (the mean length in training) with the adapter unmerged; ``inference_merged``: merged,
    None where it cannot be. ``problem``: why there are no FLOPs.
    """

    tokens: Count
    tokens_padded: Count
    forward: Count | None = None
    backward: Count | None = None
    auxiliary: Count | None = None
    inference: Count | None = None
    inference_merged: Count | None = None
    inference_tokens: Count | None = None
    problem: str | None = None

    @property
    def training(self) -> int | None:
        """FLOPs of the whole training."""
        if self.forward is None or self.backward is None:
            return None
        return self.forward + self.backward + (self.auxiliary or 0)


@dataclass(frozen=True)
class Energy:
    """Energy of training and evaluation, in joules, as counters of the hardware measured it.

    It includes everything else that ran on that hardware; None: not measured. ``source``: which counters (``nvml``,
    ``rapl``), or why there is no number.
    """

    joules: Amount | None
    source: str


@dataclass(frozen=True)
class Retention:
    """What is left of what the backbone could do, on fixed inputs that no task trains on (`training.retention`).

    ``measure``: ``loss`` (nats per token) of a language model, ``drift`` (1 − cosine of mean features, mean over
    inputs) of other backbones. ``pristine``: of the backbone as it was loaded (drift: 0); ``adapted``: after training;
    ``off``: after training with the adapter turned off, which has to be ``pristine``, and ``off_difference`` the
    largest difference of its outputs from the pristine ones; both None where it cannot be turned off. ``inputs``:
    sha256 of the text, or the name of the pictures; ``count``: tokens with a loss, or inputs. ``problem``: why there is
    no number, or none for ``off``.
    """

    measure: Literal["loss", "drift"] | None = None
    inputs: str = ""
    count: int = 0
    pristine: float | None = None
    adapted: float | None = None
    off: float | None = None
    off_difference: float | None = None
    problem: str | None = None

    @property
    def forgotten(self) -> float | None:
        """What training added to loss or drift; negative where it took some away."""
        return None if self.adapted is None or self.pristine is None else self.adapted - self.pristine


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
    provenance: Provenance
    reason: str | None = None  # of a failure, one line
    splits: dict[str, Split] = field(default_factory=dict)  # by role: train, dev, test, held_out, extras
    scores: dict[str, RuleScore] = field(default_factory=dict)  # rule -> result
    epochs: tuple[EpochScores, ...] = ()
    counts: Counts | None = None
    bytes: Sizes | None = None
    seconds: Timing | None = None
    examples_per_second: Amount | None = None  # training
    tokens_per_second: Amount | None = None  # training, without padding
    peak_memory_bytes: Count | None = None
    peak_memory_kind: str | None = None  # cuda_allocated | resident
    peak_memory_by_phase: dict[str, int] = field(default_factory=dict)  # setup, train, eval; empty in older records
    precision: str | None = None  # resolved
    processes: int | None = None
    micro_batch_size: int | None = None
    restarts: int = 0
    merge_error: float | None = None  # largest difference of logits, merged against adapter, relative to the largest
    method: dict[str, Any] = field(default_factory=dict)  # the method's own report (refresh events, …)
    work: Work | None = None  # None in records older than this and the next field
    energy: Energy | None = None
    retention: Retention | None = None  # None: not asked for

    def write(self, folder: Path) -> Path:
        """Write to ``folder/<cell_id>.json`` atomically; a failure never replaces a finished record.

        Raises:
            UserError: for a record that `read_record` would refuse.
            OSError: when the file system refuses; what was there is untouched.
        """
        path = record_path(folder, self.cell_id)
        _check(self)
        write_record_text(path, self.status, record_text(record_data(self)), read_record)
        return path


def record_data(record: CellRecord) -> dict[str, Any]:
    """``record`` as plain data. Of its provenance only what is known: what a field holds by default is left out."""
    return {**plain(record), "provenance": _known(record.provenance)}


def _known(part: Any) -> Any:
    if not is_dataclass(part):
        return plain(part)
    defaults = {f.name: f.default_factory() if f.default_factory is not MISSING else f.default for f in fields(part)}
    held = {name: getattr(part, name) for name in defaults}
    return {name: _known(value) for name, value in held.items() if value != defaults[name]}


def record_text(data: dict[str, Any]) -> str:
    """The content of a record's file.

    Raises:
        ValueError: for NaN and infinity, which are not JSON: a record that holds one must not come into being.
    """
    return json.dumps(scrub(data), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def write_record_text(path: Path, status: str, text: str, reader: Callable[[Path], Any]) -> None:
    """Write a record's ``text`` atomically, unless it is a failure's and ``reader`` finds a finished record there."""
    if status == "failed" and path.is_file():
        try:
            if reader(path).status == "done":
                return
        except UserError:
            pass  # what cannot be read may be replaced
    atomic.write_text(path, text)


def record_path(folder: Path, cell_id: str) -> Path:
    """The file of ``cell_id`` in ``folder`` (``results/records/<experiment>``)."""
    return folder / f"{cell_id}.json"


def record_paths(folder: Path) -> list[Path]:
    """The files in ``folder`` that are named like records; grades of answers are JSON too, and lie beside them."""
    named = (p for p in folder.glob("*.json") if len(p.stem) == 16 and set(p.stem) <= set("0123456789abcdef"))
    return sorted(named) if folder.is_dir() else []


def read_record(path: Path) -> CellRecord:
    """Read and validate a record.

    Raises:
        OldRecord: one of schema 1.
        UserError: not JSON, another schema, an unknown or missing key, a wrong type, a done record without results, or
            one named after another cell.
    """
    record = parse_record(read_record_data(path), path)
    if record.cell_id != path.stem:
        raise UserError(
            f"the record '{path}' contains cell {record.cell_id}: it was renamed or changed by hand; move it "
            "out of the folder"
        )
    return record


def parse_record(data: dict[str, Any], path: Path) -> CellRecord:
    """The record that is ``data``, of the file ``path``; errors as those of `read_record`."""
    schema = data.get("schema")
    if "preset" in data:
        raise UserError(f"the record '{path}' is of a theory cell; keep it in a folder theory_…")
    if schema == 1:
        root = path.parents[2] if len(path.parents) > 2 else Path("results")
        raise OldRecord(f"the record '{path}' is of schema 1; run `uora-bench records migrate results.dir={root}`")
    if schema != SCHEMA:
        raise UserError(f"the record '{path}' has schema {schema}, not {SCHEMA}; remove it and run again")
    try:
        record = build(CellRecord, data)
        _check(record)
    except UserError as error:
        raise UserError(f"the record '{path}' is not valid: {error}; remove it and run again") from None
    return record


def read_record_data(path: Path) -> dict[str, Any]:
    """The JSON object in a record's file, unchecked.

    Raises:
        UserError: when there is none.
    """
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text, parse_constant=_refuse)
        if not isinstance(data, dict):
            raise ValueError("it holds no JSON object")
        checks.check_json(text, data)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"cannot read the record '{path}': {clause(str(error).splitlines()[0])}; remove it and run again"
        ) from None
    return data


def content_id(cell: Mapping[str, Any], data: Mapping[str, str]) -> str:
    """`config.cell.Cell.cell_id`, computed from the ``cell`` and the ``data`` (of its provenance) that a record holds.

    It is the record's name, if nobody changed the record.
    """
    return id_of(plain(cell), fingerprint_of(data))


def set_aside(folder: Path, cell_id: str) -> Path | None:
    """Move the record of ``cell_id`` and the files named after it to a folder of their own, which no table reads.

    Returns it, or None where there is no finished record.

    Raises:
        OSError: when the file system refuses.
    """
    try:
        found = find_record(folder, cell_id)
    except UserError:
        return None  # what cannot be read is replaced
    if found is None or found.status != "done":
        return None
    stamp = re.sub(r"\D", "", found.provenance.finished or "")[:14] or "unknown"
    target = folder / REPLACED / f"{cell_id}.{stamp}"
    while target.exists():
        target = target.with_name(f"{target.name}+")
    target.mkdir(parents=True)
    for path in sorted(folder.glob(f"{cell_id}.*"), key=lambda p: p == record_path(folder, cell_id)):
        os.replace(path, target / path.name)  # the record last: until then it is still the cell's
    return target


def find_record(folder: Path, cell_id: str) -> CellRecord | None:
    """The record of ``cell_id`` in ``folder``, if there is one."""
    path = record_path(folder, cell_id)
    return read_record(path) if path.is_file() else None


def read_records(folder: Path) -> list[CellRecord]:
    """Every record in ``folder``, by name of the file.

    Raises:
        UserError: for the first that cannot be read: the cell behind it would refuse to run.
    """
    return [read_record(path) for path in record_paths(folder)]


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not JSON")


def _check(record: CellRecord) -> None:
    checks.check_cell(record.cell)
    for key in ("name", "status"):
        convert(str, record.recipe.get(key), f"recipe.{key}")
    metric = record.metric
    checks.check_scores(metric, (s for e in record.epochs for s in e.scores.values()), False)
    checks.check_scores(metric, (s for rule in record.scores.values() for s in rule.scores.values()), False)
    checks.check_scores(metric, (rule.scores.get("dev", {}) for rule in record.scores.values()), True)
    if any(e.halves is not None and len(e.halves) != 2 for e in record.epochs):
        raise UserError("the halves of an epoch are two numbers")
    if record.status == "done":
        scored = all(rule in record.scores for rule in RULES[:2]) and "dev" in record.splits and record.epochs
        if not scored or record.counts is None or record.seconds is None:
            raise UserError("a done record needs scores, epochs, counts, seconds and the split dev")
    elif not record.reason:
        raise UserError("a failed record needs a reason")

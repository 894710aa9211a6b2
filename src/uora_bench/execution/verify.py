"""A recorded cell, run again in a folder of its own, and what came out otherwise."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uora_bench.config.compose import compose
from uora_bench.data import offline
from uora_bench.errors import CellError, UserError
from uora_bench.execution import envelope
from uora_bench.execution.answers import ROUNDING, Difference, answers_of, difference
from uora_bench.execution.run import run_cell
from uora_bench.execution.self_check import all_problems, near
from uora_bench.records.predictions import EpochPredictions, read_predictions, why_no_predictions
from uora_bench.records.record import CellRecord, record_path
from uora_bench.util.signals import StopRequest

_HERE = ("results.dir", "runs.dir", "experiment_name", "tracker", "force", "predictions.keep", "expect_cell_id")
_OTHER = "other items"


@dataclass(frozen=True)
class Verified:
    """The result of running a recorded cell again.

    ``same``: no difference, or none larger than other arithmetic explains (`execution.envelope`); ``lines``: the
    differences, or that there are none, for people; ``again``: the record of the new run.
    """

    same: bool
    lines: tuple[str, ...]
    again: CellRecord


def verify_cell(record: CellRecord, folder: Path, words: Sequence[str], stop: StopRequest) -> Verified:
    """Run the cell of ``record``, which is stored in ``folder``, again with its own command, and compare.

    ``words``: folders of data and weights, which no record names. The record, its folder and its run are not written
    to.

    Raises:
        UserError: when the record cannot be run again, or its inputs are others: no step is then trained.
        CellError: when the cell fails this time.
    """
    if record.status != "done":
        raise UserError(f"cell {record.cell_id} failed ({record.reason}): there is no result to verify")
    # what was changed is refused before anything runs
    before = read_predictions(record, folder)
    if problems := all_problems(record_path(folder, record.cell_id)):
        raise UserError(f"the record does not agree with itself: {problems[0]}")
    with tempfile.TemporaryDirectory(prefix="uora-verify-") as name:
        own = [word for word in record.provenance.command if word.split("=", 1)[0] not in _HERE]
        here = (f"results.dir={name}/results", f"runs.dir={name}/runs", "experiment_name=verify", "tracker=none")
        command = [*own, *words, *here, f"expect_cell_id={record.cell_id}"]
        composed = compose(command)
        if _was_factored(record) and composed.values["method"].get("forward") == "auto":
            composed = compose(command := [*command, "method.forward=factored"])
        offline.use(composed.settings.data_root)
        ended = run_cell(composed, command, stop)
        again = ended.record()
        if ended.code or again is None:
            raise CellError(
                f"the cell fails when it is run again: {again.reason if again is not None else 'no record'}"
            )
        after = read_predictions(again, ended.records)
    return _compared(record, again, before, after)


def _was_factored(record: CellRecord) -> bool:
    """Whether all passes of a record in bfloat16 were factored, for which auto now takes fused (decision 19)."""
    return record.precision == "bfloat16" and set(record.provenance.forward) == {"factored"}


def _compared(
    old: CellRecord, new: CellRecord, before: list[EpochPredictions], after: list[EpochPredictions]
) -> Verified:
    values = [[(e.train_loss, e.scores, e.halves) for e in record.epochs] for record in (old, new)]
    known = (old.provenance.predictions, new.provenance.predictions)
    lines = _other_facts(old, new)
    if lines:  # no other arithmetic explains that
        return Verified(False, (*lines, *_otherwise(old, new)), new)
    elsewhere = _otherwise(old, new)
    numbers = _far(envelope.numbers(old), envelope.numbers(new))
    identical = bool(before) and known[0] == known[1]
    if identical and values[0] == values[1]:
        return Verified(True, ("identical bytes: predictions, and every epoch's loss and scores",), new)
    if identical and numbers and not elsewhere:  # the same arithmetic
        return Verified(False, tuple(numbers), new)
    apart: dict[envelope.Part, Difference] = {}
    unexplained: list[str] = []  # by any arithmetic, or of which no repetition tells
    if not before:
        lines.append(f"no predictions to compare: {why_no_predictions(old)}")
        same = values[0] == values[1]
        lines.append("identical: every epoch's loss and scores" if same else "every epoch's loss and scores differ")
    else:
        apart, lines, unexplained = _answers(old, before, after)
        if not lines and not unexplained:
            unexplained = _far(_beside(old, new), _beside(new, old))
            if len(old.epochs) != len(new.epochs):
                unexplained.append(f"{len(new.epochs)} epochs, the record has {len(old.epochs)}")
            lines = numbers
        lines = [*lines, *unexplained]
        same = not lines
        lines = lines or ["identical predictions; losses and scores differ at most in their last digits"]
    if not same:
        lines += _scores(old, new)
    if not same and not unexplained:
        same, said = envelope.judge(old, new, apart, envelope.read_envelope(old.cell["task"]["name"]))
        lines.append(said)
    return Verified(same, (*lines, *elsewhere), new)


def _other_facts(old: CellRecord, new: CellRecord) -> list[str]:
    """What no arithmetic changes and is otherwise now: parameters, rows of the splits, tokens, the metric."""
    facts: list[tuple[str, Any, Any]] = [
        (f"metric.{key}", getattr(old.metric, key), getattr(new.metric, key))
        for key in ("name", "primary", "higher_is_better", "scale")
    ]
    facts += [(f"rows of {role}", own.rows, new.splits[role].rows if role in new.splits else None)
              for role, own in old.splits.items()]  # fmt: skip
    if old.counts is not None and new.counts is not None:
        facts += [(f"{key} parameters", getattr(old.counts, key), getattr(new.counts, key)) for key in vars(old.counts)]
    if old.work is not None and new.work is not None:
        keys = ["tokens", "tokens_padded"]
        if old.provenance.forward == new.provenance.forward:  # FLOPs are those of the passes in use
            keys += ["forward", "backward", "auxiliary", "inference", "inference_merged"]
        facts += [(f"work.{key}", getattr(old.work, key), getattr(new.work, key)) for key in keys]
    return [f"{what}: {now}, the record has {then}" for what, then, now in facts if then != now]


def _beside(record: CellRecord, other: CellRecord) -> dict[str, float | None]:
    """Numbers of ``record`` that no epoch has, and ``other`` has too: the adapter's size, retention."""
    found: dict[str, float | None] = {}
    if record.bytes is not None and other.bytes is not None:  # UORA stores refreshes, which depend on last digits too
        found["adapter_size"] = record.bytes.adapter_size
    if record.retention is not None and other.retention is not None:
        found |= {f"retention.{key}": getattr(record.retention, key) for key in ("pristine", "adapted", "off")}
    return found


def _far(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> list[str]:
    """Numbers that differ by more than their last digits."""
    return [
        f"{what}: {now:.6g}, the record has {then:.6g}"
        for what, then in before.items()
        if then is not None and (now := after.get(what)) is not None and not near(then, now, ROUNDING)
    ]


def _otherwise(old: CellRecord, new: CellRecord) -> list[str]:
    """On what else the new run was made: the processor, threads and versions that decide the arithmetic."""
    hardware = [record.provenance.hardware for record in (old, new)]
    facts = [
        ("processor", *(str(one.gpus or one.processor) for one in hardware)),
        ("number of threads", *(str(one.threads) for one in hardware)),
        ("version of torch", *(str(record.provenance.versions.get("torch")) for record in (old, new))),
    ]
    return [f"another {what}: {now}, the record's is {then}" for what, then, now in facts if now != then != str(None)]


def _answers(
    old: CellRecord, before: list[EpochPredictions], after: list[EpochPredictions]
) -> tuple[dict[envelope.Part, Difference], list[str], list[str]]:
    """By split and epoch how far the answers are apart; in words what differs; and what no arithmetic explains."""
    again, metric = {(part.split, part.epoch): part for part in after}, old.metric.name
    apart, lines, unexplained = {}, [], []
    for part in before:
        other = again.get((part.split, part.epoch))
        where = f"of {part.split}, epoch {part.epoch}"
        if other is None:
            lines.append(f"{where}: no selection rule chooses this epoch now")
        elif part.item.tolist() != other.item.tolist():
            unexplained.append(f"{where}: other items")
        else:
            found = difference(answers_of(metric, part), answers_of(metric, other))
            apart[part.split, part.epoch] = found
            lines += [_said(part.split, part.epoch, found)] if found.items else []
    return apart, lines, unexplained


def _said(split: str, epoch: int, found: Difference) -> str:
    far = f", by {found.distance:.3g} in root mean square" if found.distance is not None else ""
    return f"{found.items} of {found.total} items of {split}, epoch {epoch} differ{far}"


def _scores(old: CellRecord, new: CellRecord) -> list[str]:
    metric, lines = old.metric, []
    for rule, result in old.scores.items():
        a, b = (r.scores.get("dev", {}).get(metric.primary) for r in (result, new.scores[rule]))
        if a != b and isinstance(a, (int, float)) and isinstance(b, (int, float)):
            shown = f"{b * metric.scale:.4g}, the record has {a * metric.scale:.4g}"
            lines.append(f"dev {metric.primary} under rule {rule}: {shown}")
    return lines

"""Two runs of one cell, compared: first what no arithmetic changes, then answers, losses and scores.

What was made with the same code, libraries, processor, instructions and threads has to be the same to the last digit.
Elsewhere kept repetitions (`execution.envelope`) say how far two runs may lie apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from uora_bench.execution import envelope
from uora_bench.execution.answers import ROUNDING, Difference, answers_of, as_list, difference
from uora_bench.execution.self_check import near
from uora_bench.metrics import lacking
from uora_bench.records.predictions import EpochPredictions, why_no_predictions
from uora_bench.records.record import CellRecord
from uora_bench.util.schema import plain

_FLOPS = ("forward", "backward", "auxiliary", "inference", "inference_merged")
# of a record: when, where and how fast it was made, and what is compared more closely
_MADE = frozenset({"experiment", "sources", "seconds", "examples_per_second", "tokens_per_second", "peak_memory_bytes",
                   "peak_memory_kind", "peak_memory_by_phase", "energy", "restarts", "provenance"})  # fmt: skip
_KNOWN = ("data", "settled", "too_long", "stopped_early", "backbone", "plugins")  # of its provenance
_SHOWN = 5
_SAME = "all that the record names of processor, versions and commit is the same here: nothing explains that"


def compare(
    old: CellRecord, new: CellRecord, before: Sequence[EpochPredictions], after: Sequence[EpochPredictions]
) -> tuple[bool, list[str]]:
    """Whether ``new`` is what the recorded run ``old`` of the same cell was, and what is to be said of it.

    ``before``, ``after``: their kept predictions, none where a record has none.
    """
    elsewhere, known = _elsewhere(old, new)
    absent = _absent(old, new)
    left_out = [f"not compared: {name} ({reason})" for name, reason in absent.items()]
    notes = [*left_out, *elsewhere]
    if wrong := [*_facts(old, new, absent), *_rows(old, before, new, after)]:
        return False, [*wrong, *notes]
    epochs = _other_epochs(old, new, absent)
    beside = _far(_beside(old), _beside(new))
    alike = not before or _alike(before, after)
    apart, lines = _answers(old, before, after)
    if known and not elsewhere:
        other = _unlike(_told(old, absent), _told(new, absent))
        if not other and alike:
            return True, [_identical(old, new, before), *left_out]
        return False, [*lines, *other, *([] if other else ["the predictions are not the same"]), *notes, _SAME]
    if not epochs and not beside and alike:
        return True, [_identical(old, new, before), *left_out]
    if not before:
        lines = [f"no predictions to compare: {why_no_predictions(old)}"]
    lines += _stopped(old, new)
    if before and not lines:
        lines = _far(envelope.numbers(old), envelope.numbers(new))
        if not lines and not beside:
            return True, ["identical predictions; losses and scores differ at most in their last digits", *notes]
    if not epochs and not any(found.items for found in apart.values()):
        return False, [*lines, *beside, *notes]
    lines += [f"loss or scores of epoch {', '.join(map(str, epochs))} differ"] if not before else []
    lines += _scores(old, new)
    same, said = envelope.judge(old, new, apart, envelope.read_envelope(old.cell["task"]["name"]))
    return same, [*lines, *(f"{line} (repetitions do not tell of it)" for line in beside), said, *notes]


def _facts(old: CellRecord, new: CellRecord, absent: Mapping[str, str]) -> list[str]:
    """What no arithmetic changes and is otherwise now: name, parameters, rows, tokens, metric, which scores exist."""
    both = (old, new)
    facts: dict[str, tuple[Any, ...]] = {"label": (old.label, new.label), "precision": (old.precision, new.precision)}
    facts |= {f"metric.{key}": tuple(getattr(one.metric, key) for one in both)
              for key in ("name", "primary", "higher_is_better", "scale")}  # fmt: skip
    for role in dict.fromkeys([*old.splits, *new.splits]):
        splits = [one.splits.get(role) for one in both]
        facts[f"rows of {role}"] = tuple(one and one.rows for one in splits)
        facts[f"split of {role}"] = tuple(one and one.name for one in splits)
    if old.counts is not None and new.counts is not None:
        facts |= {f"{key} parameters": (value, getattr(new.counts, key)) for key, value in vars(old.counts).items()}
    if not _stopped(old, new):
        facts["epochs"] = len(old.epochs), len(new.epochs)
        facts |= {f"work.{key}": tuple(getattr(one.work, key) for one in both) for key in _work(old, new)}
    if old.bytes is not None and new.bytes is not None and "refreshes" not in old.method:
        facts["adapter_size"] = old.bytes.adapter_size, new.bytes.adapter_size
    facts["retention.measure"] = tuple(None if one.retention is None else one.retention.measure for one in both)
    for then, now in zip(old.epochs, new.epochs, strict=False):
        facts[f"scores of epoch {then.epoch}"] = _names(then.scores, absent), _names(now.scores, absent)
        facts[f"halves of dev in epoch {then.epoch}"] = then.halves is not None, now.halves is not None
    return [f"{what}: {now}, the record has {then}" for what, (then, now) in facts.items() if then != now]


def _work(old: CellRecord, new: CellRecord) -> list[str]:
    """Which counts of `Work` have to be the same: padding is that of the batches, FLOPs are those of the passes."""
    if old.work is None or new.work is None:
        return []
    if (old.processes, old.micro_batch_size) != (new.processes, new.micro_batch_size):
        return ["tokens"]
    return ["tokens", "tokens_padded", *(_FLOPS if old.provenance.forward == new.provenance.forward else ())]


def _stopped(old: CellRecord, new: CellRecord) -> list[str]:
    """Where ``trainer.patience`` ended the runs, if not at the same step: scores decide that."""
    steps = [record.provenance.stopped_early for record in (old, new)]
    if old.cell["trainer"].get("patience") is None or steps[0] == steps[1]:
        return []
    then, now = ("the end" if step is None else f"step {step}" for step in steps)
    return [f"trainer.patience ended this run at {now}, the record's at {then}"]


def _absent(old: CellRecord, new: CellRecord) -> dict[str, str]:
    """Which metrics one of the two machines could not compute, and why (METEOR needs Java)."""
    found = lacking(old.metric.name)
    for record in (old, new):
        for epoch in record.epochs:
            for own in epoch.scores.values():
                found |= own.get("absent") or {}
    return found


def _compared(scores: Mapping[str, Mapping[str, Any]], absent: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """``scores`` without metrics that are ``absent`` from one of the two runs."""
    return {split: {key: value for key, value in own.items() if key != "absent" and key not in absent}
            for split, own in scores.items()}  # fmt: skip


def _names(scores: Mapping[str, Mapping[str, Any]], absent: Mapping[str, str]) -> str:
    """Which numbers ``scores`` hold."""
    return ", ".join(f"{split} {key}" for split, own in _compared(scores, absent).items()
                     for key, value in own.items() if isinstance(value, (int, float)))  # fmt: skip


def _other_epochs(old: CellRecord, new: CellRecord, absent: Mapping[str, str]) -> list[int]:
    """The epochs whose loss or scores are not the same to the last digit, or that only one of the two has."""

    def told(record: CellRecord) -> dict[int, tuple[Any, ...]]:
        return {one.epoch: (one.train_loss, _compared(one.scores, absent), one.halves) for one in record.epochs}

    then, now = told(old), told(new)
    return [epoch for epoch in sorted(then.keys() | now.keys()) if then.get(epoch) != now.get(epoch)]


def _told(record: CellRecord, absent: Mapping[str, str]) -> dict[str, Any]:
    """All that ``record`` says of the cell and its results, by name."""
    data = {key: value for key, value in plain(record).items() if key not in _MADE}
    data["provenance"] = {key: plain(getattr(record.provenance, key)) for key in _KNOWN}
    for one in data["epochs"]:
        del one["seconds"]
        one["scores"] = _compared(one["scores"], absent)
    data["epochs"] = {str(one["epoch"]): one for one in data["epochs"]}
    for result in data["scores"].values():
        result["scores"] = _compared(result["scores"], absent)
    return dict(_flat("", data))


def _flat(start: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping) and value:
        for key, own in value.items():
            yield from _flat(f"{start}.{key}" if start else str(key), own)
    else:
        yield start, value


def _unlike(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What is not the same, at most `_SHOWN` lines."""
    names = [name for name in dict.fromkeys([*then, *now]) if then.get(name) != now.get(name)]
    more = [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    return [*(f"{name}: {now.get(name)}, the record has {then.get(name)}" for name in names[:_SHOWN]), *more]


def _rows(
    old: CellRecord, before: Sequence[EpochPredictions], new: CellRecord, after: Sequence[EpochPredictions]
) -> Iterator[str]:
    """Which items or right answers are not those of the record."""
    if before and not after:
        yield f"no predictions of the new run to compare: {why_no_predictions(new)}"
        return
    again = {(part.split, part.epoch): part for part in after}
    for part in before:
        other = again.get((part.split, part.epoch))
        if other is None:
            continue
        if part.item.tolist() != other.item.tolist():
            yield f"of {part.split}, epoch {part.epoch}: other items"
        elif count := sum(a != b for a, b in zip(as_list(part.reference), as_list(other.reference), strict=True)):
            yield f"of {part.split}, epoch {part.epoch}: {count} of {len(part.item)} right answers are others"


def _alike(before: Sequence[EpochPredictions], after: Sequence[EpochPredictions]) -> bool:
    """Whether two files of predictions say the same to the last digit."""

    def told(parts: Sequence[EpochPredictions]) -> list[tuple[Any, ...]]:
        return [(part.split, part.epoch, as_list(part.prediction)) for part in parts]

    def logits(part: EpochPredictions) -> np.ndarray:
        return np.empty(0) if part.logits is None else part.logits

    pairs = zip(before, after, strict=False)
    return told(before) == told(after) and all(np.array_equal(logits(a), logits(b), equal_nan=True) for a, b in pairs)


def _identical(old: CellRecord, new: CellRecord, before: Sequence[EpochPredictions]) -> str:
    if not before:
        return f"identical: every epoch's loss and scores (no predictions to compare: {why_no_predictions(old)})"
    same = old.provenance.predictions == new.provenance.predictions
    return f"identical{' bytes' if same else ''}: predictions, and every epoch's loss and scores"


def _beside(record: CellRecord) -> dict[str, float | None]:
    """Numbers that no epoch has: what refreshes make of the adapter's size, and retention."""
    found: dict[str, float | None] = {}
    if record.bytes is not None and "refreshes" in record.method:  # they depend on last digits
        found["adapter_size"] = record.bytes.adapter_size
    if record.retention is not None:
        found |= {f"retention.{key}": getattr(record.retention, key) for key in ("pristine", "adapted", "off")}
    return found


def _far(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> list[str]:
    """Numbers that differ by more than their last digits."""
    return [
        f"{what}: {now:.6g}, the record has {then:.6g}"
        for what, then in before.items()
        if then is not None and (now := after.get(what)) is not None and not near(then, now, ROUNDING)
    ]


def _answers(
    old: CellRecord, before: Sequence[EpochPredictions], after: Sequence[EpochPredictions]
) -> tuple[dict[envelope.Part, Difference], list[str]]:
    """By split and epoch how far the answers are apart; and in words what differs."""
    again, metric = {(part.split, part.epoch): part for part in after}, old.metric.name
    apart, lines = {}, []
    for part in before:
        other = again.get((part.split, part.epoch))
        if other is None:
            lines.append(f"of {part.split}, epoch {part.epoch}: no selection rule chooses this epoch now")
            continue
        found = difference(answers_of(metric, part), answers_of(metric, other))
        apart[part.split, part.epoch] = found
        if found.items:
            far = f", by {found.distance:.3g} in root mean square" if found.distance is not None else ""
            lines.append(f"{found.items} of {found.total} items of {part.split}, epoch {part.epoch} differ{far}")
    return apart, lines


def _scores(old: CellRecord, new: CellRecord) -> list[str]:
    metric, lines = old.metric, []
    for rule, result in old.scores.items():
        a, b = (r.scores.get("dev", {}).get(metric.primary) for r in (result, new.scores[rule]))
        if a != b and isinstance(a, (int, float)) and isinstance(b, (int, float)):
            shown = f"{b * metric.scale:.4g}, the record has {a * metric.scale:.4g}"
            lines.append(f"dev {metric.primary} under rule {rule}: {shown}")
    return lines


def _elsewhere(old: CellRecord, new: CellRecord) -> tuple[list[str], bool]:
    """What decides the arithmetic and is not the same; and whether all of it is known of the record."""
    then, now = old.provenance, new.provenance
    both, parts = (old, new), (then, now)
    facts = [
        ("processor", *(str(one.hardware.gpus or one.hardware.processor) for one in parts)),
        ("set of instructions", *(str(one.hardware.instructions) for one in parts)),
        ("number of threads", *(str(one.hardware.threads) for one in parts)),
        ("number of processes", *(str(one.processes) for one in both)),
        ("micro-batch", *(str(one.micro_batch_size) for one in both)),
        ("choice of forward passes", *(_counted(one.forward) for one in parts)),
        ("choice of operations", *(_counted(one.cpu_ops) for one in parts)),
        *((f"version of {name}", a, now.versions[name]) for name, a in then.versions.items() if name in now.versions),
        ("commit of the suite", *(str(one.git.commit)[:12] for one in parts)),
    ]
    lines = [f"another {what}: {b}, the record's is {a}" for what, a, b in facts if b != a != str(None)]
    if then.git.dirty or now.git.dirty:
        lines.append("the suite had changes that are in no commit")
    if old.restarts:
        lines.append("the record's run was resumed, and names the last machine alone")
    hardware = then.hardware
    known = (hardware.processor, hardware.instructions, hardware.threads, then.git.commit, now.git.commit)
    return lines, not hardware.gpus and None not in known


def _counted(parts: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {own}" for name, own in sorted(parts.items())) or str(None)

"""Two runs of one cell, compared: first what no arithmetic changes, then answers, losses and scores.

What was made with the same code, libraries, processor, instructions and threads has to be the same to the last digit.
Elsewhere kept repetitions (`execution.envelope`) say how far two runs may lie apart.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from uora_bench.execution import envelope
from uora_bench.execution.answers import ROUNDING, Difference, answers_of, difference
from uora_bench.execution.self_check import near
from uora_bench.metrics import lacking
from uora_bench.records.predictions import EpochPredictions, why_no_predictions
from uora_bench.records.record import CellRecord

_COUNTS = ("tokens", "tokens_padded")
_FLOPS = ("forward", "backward", "auxiliary", "inference", "inference_merged")
_SAME = "the processor, its instructions, threads, versions and commit are those of the record: nothing explains that"


def compare(
    old: CellRecord, new: CellRecord, before: Sequence[EpochPredictions], after: Sequence[EpochPredictions]
) -> tuple[bool, list[str]]:
    """Whether ``new`` is what the recorded run ``old`` of the same cell was, and what is to be said of it.

    ``before``, ``after``: their kept predictions, none where a record has none.
    """
    elsewhere, known = _elsewhere(old, new)
    if wrong := [*_facts(old, new), *_rows(old, before, new, after)]:
        return False, [*wrong, *elsewhere]
    epochs = [now.epoch for then, now in zip(old.epochs, new.epochs, strict=False)
              if (then.train_loss, then.scores, then.halves) != (now.train_loss, now.scores, now.halves)]  # fmt: skip
    beside = _far(_beside(old), _beside(new))
    if not epochs and not beside and (not before or _alike(before, after)):
        return True, [_identical(old, new, before)]
    apart: dict[envelope.Part, Difference] = {}
    if not before:
        lines = [f"no predictions to compare: {why_no_predictions(old)}"]
        lines += [f"loss or scores of epoch {', '.join(map(str, epochs))} differ"] if epochs else []
        explained = False
    else:
        apart, lines = _answers(old, before, after)
        lines = lines or _far(envelope.numbers(old), envelope.numbers(new))
        explained = not lines and not beside
        if not lines:
            lines.append("identical predictions; losses and scores differ at most in their last digits")
    if known and not elsewhere:
        return False, [*lines, *beside, _SAME]
    if explained:
        return True, [*lines, *elsewhere]
    if not epochs and not any(found.items for found in apart.values()):
        return False, [*lines, *beside, *elsewhere]
    lines += _scores(old, new)
    same, said = envelope.judge(old, new, apart, envelope.read_envelope(old.cell["task"]["name"]))
    return same, [*lines, *(f"{line} (repetitions do not tell of it)" for line in beside), said, *elsewhere]


def _facts(old: CellRecord, new: CellRecord) -> list[str]:
    """What no arithmetic changes and is otherwise now: name, parameters, rows, tokens, metric, which scores exist."""
    both = (old, new)
    facts: dict[str, tuple[Any, ...]] = {"label": (old.label, new.label), "precision": (old.precision, new.precision)}
    facts |= {f"metric.{key}": tuple(getattr(one.metric, key) for one in both)
              for key in ("name", "primary", "higher_is_better", "scale")}  # fmt: skip
    facts |= {f"rows of {role}": tuple(one.splits[role].rows if role in one.splits else None for one in both)
              for role in dict.fromkeys([*old.splits, *new.splits])}  # fmt: skip
    if old.counts is not None and new.counts is not None:
        facts |= {f"{key} parameters": (value, getattr(new.counts, key)) for key, value in vars(old.counts).items()}
    if old.work is not None and new.work is not None:
        # FLOPs are those of the passes in use
        keys = (*_COUNTS, *(_FLOPS if old.provenance.forward == new.provenance.forward else ()))
        facts |= {f"work.{key}": (getattr(old.work, key), getattr(new.work, key)) for key in keys}
    if old.bytes is not None and new.bytes is not None and "refreshes" not in old.method:
        facts["adapter_size"] = old.bytes.adapter_size, new.bytes.adapter_size
    facts["retention.measure"] = tuple(None if one.retention is None else one.retention.measure for one in both)
    if old.cell["trainer"].get("patience") is None:
        facts["epochs"] = len(old.epochs), len(new.epochs)
    cannot = lacking(old.metric.name)
    for then, now in zip(old.epochs, new.epochs, strict=False):
        facts[f"scores of epoch {then.epoch}"] = _names(then.scores, cannot), _names(now.scores, cannot)
        facts[f"halves of dev in epoch {then.epoch}"] = then.halves is not None, now.halves is not None
    return [f"{what}: {now}, the record has {then}" for what, (then, now) in facts.items() if then != now]


def _names(scores: Mapping[str, Mapping[str, Any]], cannot: Mapping[str, str]) -> str:
    """Which numbers ``scores`` hold, but for those that this machine ``cannot`` compute."""
    return ", ".join(f"{split} {key}" for split, own in scores.items() for key, value in own.items()
                     if isinstance(value, (int, float)) and key not in cannot)  # fmt: skip


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
        elif count := sum(a != b for a, b in zip(_plain(part.reference), _plain(other.reference), strict=True)):
            yield f"of {part.split}, epoch {part.epoch}: {count} of {len(part.item)} right answers are others"


def _plain(values: Any) -> list[Any]:
    return list(values.tolist() if hasattr(values, "tolist") else values)


def _alike(before: Sequence[EpochPredictions], after: Sequence[EpochPredictions]) -> bool:
    """Whether two files of predictions say the same to the last digit."""

    def told(parts: Sequence[EpochPredictions]) -> list[tuple[Any, ...]]:
        return [(part.split, part.epoch, _plain(part.prediction)) for part in parts]

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
    facts = [
        ("processor", *(str(one.hardware.gpus or one.hardware.processor) for one in (then, now))),
        ("set of instructions", *(str(one.hardware.instructions) for one in (then, now))),
        ("number of threads", *(str(one.hardware.threads) for one in (then, now))),
        ("number of processes", str(old.processes), str(new.processes)),
        *((f"version of {name}", a, now.versions[name]) for name, a in then.versions.items() if name in now.versions),
        ("commit of the suite", *(str(one.git.commit)[:12] for one in (then, now))),
    ]
    lines = [f"another {what}: {b}, the record's is {a}" for what, a, b in facts if b != a != str(None)]
    if then.git.dirty or now.git.dirty:
        lines.append("the suite had changes that are in no commit")
    hardware = then.hardware
    return lines, not hardware.gpus and None not in (hardware.processor, hardware.instructions, hardware.threads)

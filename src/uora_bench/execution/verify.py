"""A recorded cell, run again in a folder of its own, and what came out otherwise."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from uora_bench.config.compose import compose
from uora_bench.data import offline
from uora_bench.errors import CellError, UserError
from uora_bench.execution import envelope
from uora_bench.execution.run import run_cell
from uora_bench.records.manifest import record_problems
from uora_bench.records.predictions import EpochPredictions, read_predictions, why_no_predictions
from uora_bench.records.record import CellRecord, record_path
from uora_bench.util.signals import StopRequest

_HERE = ("results.dir", "runs.dir", "experiment_name", "tracker", "force", "predictions.keep", "expect_cell_id")
_OTHER = "other items"


@dataclass(frozen=True)
class Verified:
    """``same``: nothing came out otherwise, or no more than other arithmetic explains (`execution.envelope`);
    ``lines``: what did, or that nothing did, for people; ``again``: the record of the new run."""

    same: bool
    lines: tuple[str, ...]
    again: CellRecord


def verify_cell(record: CellRecord, folder: Path, words: Sequence[str], stop: StopRequest) -> Verified:
    """Run the cell of ``record``, which lies in ``folder``, again with its own command and ``words`` (folders of data
    and weights, which no record names), and compare. Nothing of the record, its folder or its run is written to.

    Raises:
        UserError: when the record cannot be run again, or its inputs are others: no step is then trained.
        CellError: when the cell fails this time.
    """
    if record.status != "done":
        raise UserError(f"cell {record.cell_id} failed ({record.reason}): there is no result to verify")
    # what was changed is refused before anything runs
    before = read_predictions(record, folder)
    if problems := record_problems(record_path(folder, record.cell_id)):
        raise UserError(f"the record does not agree with itself: {problems[0]}")
    with tempfile.TemporaryDirectory(prefix="uora-verify-") as name:
        own = [word for word in record.provenance.command if word.split("=", 1)[0] not in _HERE]
        here = (f"results.dir={name}/results", f"runs.dir={name}/runs", "experiment_name=verify", "tracker=none")
        command = [*own, *words, *here, f"expect_cell_id={record.cell_id}"]
        composed = compose(command)
        offline.use(composed.settings.data_root)
        ended = run_cell(composed, command, stop)
        again = ended.record()
        if ended.code or again is None:
            raise CellError(
                f"the cell fails when it is run again: {again.reason if again is not None else 'no record'}"
            )
        after = read_predictions(again, ended.records)
    return _compared(record, again, before, after)


def _compared(
    old: CellRecord, new: CellRecord, before: list[EpochPredictions], after: list[EpochPredictions]
) -> Verified:
    values = [[(e.train_loss, e.scores, e.halves) for e in record.epochs] for record in (old, new)]
    known = (old.provenance.predictions, new.provenance.predictions)
    lines = []
    if values[0] == values[1] and before and known[0] == known[1]:
        return Verified(True, ("identical bytes: predictions, and every epoch's loss and scores",), new)
    if not before:
        lines.append(f"no predictions to compare: {why_no_predictions(old)}")
        same = values[0] == values[1]
        lines.append("identical: every epoch's loss and scores" if same else "every epoch's loss and scores differ")
        counts: dict[envelope.Part, tuple[int, int]] = {}
    else:
        counts, others = _items(before, after)
        different = {part: size for part, size in counts.items() if size[0]}
        lines += [f"{n} of {total} items of {split}, epoch {epoch} differ" for (split, epoch), (n, total) in
                  different.items()]  # fmt: skip
        lines += others
        same = not lines
        lines = lines or ["identical predictions; logits, losses or scores differ in their last digits"]
    if not same:
        lines += _scores(old, new)
        if not any(line.endswith(_OTHER) for line in lines):
            same, said = envelope.judge(old, new, counts, envelope.read_envelope(old.cell["task"]["name"]))
            lines.append(said)
    return Verified(same, (*lines, *_otherwise(old, new)), new)


def _otherwise(old: CellRecord, new: CellRecord) -> list[str]:
    """On what else the new run was made: the processor, threads and versions that decide the arithmetic."""
    hardware = [record.provenance.hardware for record in (old, new)]
    facts = [
        ("processor", *(str(one.gpus or one.processor) for one in hardware)),
        ("number of threads", *(str(one.threads) for one in hardware)),
        ("version of torch", *(str(record.provenance.versions.get("torch")) for record in (old, new))),
    ]
    return [f"another {what}: {now}, the record's is {then}" for what, then, now in facts if now != then != str(None)]


def _items(
    before: list[EpochPredictions], after: list[EpochPredictions]
) -> tuple[dict[envelope.Part, tuple[int, int]], list[str]]:
    """By split and epoch how many predictions are not the same, of how many; and what cannot be compared."""
    again = {(part.split, part.epoch): part for part in after}
    counts, lines = {}, []
    for part in before:
        other = again.get((part.split, part.epoch))
        where = f"of {part.split}, epoch {part.epoch}"
        if other is None:
            lines.append(f"{where}: no selection rule chooses this epoch now")
        elif part.item.tolist() != other.item.tolist():
            lines.append(f"{where}: {_OTHER}")
        else:
            count = sum(a != b for a, b in zip(list(part.prediction), list(other.prediction), strict=True))
            counts[part.split, part.epoch] = count, len(part.item)
    return counts, lines


def _scores(old: CellRecord, new: CellRecord) -> list[str]:
    metric, lines = old.metric, []
    for rule, result in old.scores.items():
        a, b = (r.scores.get("dev", {}).get(metric.primary) for r in (result, new.scores[rule]))
        if a != b and isinstance(a, (int, float)) and isinstance(b, (int, float)):
            shown = f"{b * metric.scale:.4g}, the record has {a * metric.scale:.4g}"
            lines.append(f"dev {metric.primary} under rule {rule}: {shown}")
    return lines

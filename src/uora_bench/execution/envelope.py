"""How far runs of one cell lie apart where nothing but the arithmetic differs: kept repetitions, and is a run inside?

``results/envelope/<task>.json`` keeps, of one cell or several, repetitions with the same settings, data and seed but
with other instruction sets and numbers of threads (``scripts/envelope.py`` makes them): what another processor does to
a cell. A recorded cell and a run of it are inside the envelope where they differ by no more than the two repetitions
that are farthest apart. The idea is that of MLPerf's reference convergence points: kept runs of the reference say what
a run may be. There a submission has other seeds; here the seed is part of the cell, and only rounding is left to vary.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uora_bench.config.registry import envelope_dir
from uora_bench.records.predictions import EpochPredictions
from uora_bench.records.record import CellRecord
from uora_bench.util.json_file import read_json, write_json

SCHEMA = 2
_FURTHER = 2.0  # of so many numbers one is now and then farther away than the farthest of twenty repetitions
Part = tuple[str, int]  # split and epoch


@dataclass(frozen=True)
class Repetition:
    """One repetition of a cell.

    ``varied``: what differed, as environment variables; ``scores``: of dev by rule, scaled; ``numbers``: those of
    `numbers`; ``differ``: by split, the items of the last epoch that are predicted unlike the first repetition, with
    their predictions.
    """

    varied: dict[str, str]
    scores: dict[str, float]
    numbers: dict[str, float]
    differ: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class KeptCell:
    """The repetitions of one cell.

    ``items``: how many there are, by split; ``processor``, ``torch``: where and with which version they were made.
    """

    cell_id: str
    label: str
    method: str
    backbone: str
    command: tuple[str, ...]
    processor: str
    torch: str
    items: dict[str, int]
    repetitions: tuple[Repetition, ...]

    def widest_items(self, split: str) -> int:
        """The largest number of items of ``split`` in which two repetitions differ."""
        answers = [one.differ.get(split, {}) for one in self.repetitions]
        pairs = itertools.combinations(answers, 2)
        return max((sum(a.get(i) != b.get(i) for i in a.keys() | b.keys()) for a, b in pairs), default=0)

    def widest_score(self, rule: str) -> float:
        """The largest difference of the score under ``rule`` between two repetitions."""
        scores = [one.scores[rule] for one in self.repetitions if rule in one.scores]
        return max(scores) - min(scores) if scores else 0.0

    def widest_number(self, kind: str) -> float | None:
        """The largest difference of a number of that ``kind`` (`_kind`) between two repetitions, in any epoch.

        None where they have none.
        """
        names = {name for one in self.repetitions for name in one.numbers if _kind(name) == kind}
        values = [[one.numbers[name] for one in self.repetitions if name in one.numbers] for name in names]
        return max((max(own) - min(own) for own in values), default=None)


@dataclass(frozen=True)
class Envelope:
    """The file of one task."""

    schema: int
    task: str
    cells: tuple[KeptCell, ...]

    def write(self, folder: Path) -> Path:
        """Write ``folder/<task>.json``, whole or not at all."""
        return write_json(envelope_path(folder, self.task), self)


def envelope_path(folder: Path, task: str) -> Path:
    """The file of ``task``'s repetitions in ``folder``."""
    return folder / f"{task.replace('/', '_')}.json"


def read_envelope(task: str, folder: Path | None = None) -> Envelope | None:
    """The envelope of ``task``; None where no repetitions are kept.

    Raises:
        UserError: for a file that does not fit `Envelope`.
    """
    path = envelope_path(folder or envelope_dir(), task)
    if not path.is_file():
        return None
    return read_json(path, Envelope, SCHEMA, "envelope", "scripts/envelope.py makes it")


def repetition_of(
    varied: Mapping[str, str],
    record: CellRecord,
    parts: Sequence[EpochPredictions],
    first: Mapping[str, Mapping[int, Any]],
) -> Repetition:
    """A run of the cell as a repetition; ``first``: the `answers` of the first one."""
    differ = {
        split: {f"{item:016x}": answer for item, answer in own.items() if answer != first[split][item]}
        for split, own in answers(record, parts).items()
    }
    return Repetition(dict(varied), dev_scores(record), numbers(record), differ)


def answers(record: CellRecord, parts: Sequence[EpochPredictions]) -> dict[str, dict[int, Any]]:
    """By split the prediction of every item in the last epoch."""
    last = record.scores["last"].epoch
    return {
        part.split: dict(zip(part.item.tolist(), [_plain(p) for p in part.prediction], strict=True))
        for part in parts
        if part.epoch == last
    }


def dev_scores(record: CellRecord) -> dict[str, float]:
    """Dev's primary score by rule, scaled as tables show it."""
    found = {}
    for rule, result in record.scores.items():
        value = result.scores.get("dev", {}).get(record.metric.primary)
        if isinstance(value, (int, float)):
            found[rule] = value * record.metric.scale
    return found


def numbers(record: CellRecord) -> dict[str, float]:
    """Every epoch's training loss and scores, those of the halves of dev too, by name, unscaled."""
    found = dict[str, float]()
    for epoch in record.epochs:
        of = f"of epoch {epoch.epoch}"
        found[f"training loss {of}"] = epoch.train_loss
        found |= {f"{split} {key} {of}": value for split, own in epoch.scores.items() for key, value in own.items()
                  if isinstance(value, (int, float))}  # fmt: skip
        found |= {f"{record.metric.primary} on half {half} of dev {of}": value
                  for half, value in enumerate(epoch.halves or ())}  # fmt: skip
    return found


def _kind(name: str) -> str:
    return name.split(" of epoch ")[0]


def judge(
    old: CellRecord, new: CellRecord, counts: Mapping[Part, tuple[int, int]], envelope: Envelope | None
) -> tuple[bool, str]:
    """Whether ``new`` is inside the envelope of its task, and the line that says so.

    ``counts``: by split and epoch how many items differ, of how many.
    """
    task, backbone = old.cell["task"]["name"], old.cell["backbone"]["name"]
    kept = [one for one in envelope.cells if one.backbone == backbone] if envelope is not None else []
    if not kept:
        return False, f"no envelope: no repetitions of {task} on {backbone} are kept (scripts/envelope.py makes them)"
    exact = [one for one in kept if one.cell_id == old.cell_id]
    same = [one for one in kept if one.method == old.cell["method"]["name"]]
    chosen = exact or same or kept  # of another cell or method the widest of all that are kept
    wide = {split: max(one.widest_items(split) / one.items[split] for one in chosen if split in one.items)
            for split in {split for one in chosen for split in one.items}}  # fmt: skip
    before, after = dev_scores(old), dev_scores(new)
    outside = [
        f"{count} of {total} items of {split}, where repetitions differ in up to {wide.get(split, 0) * total:.3g}"
        for (split, _), (count, total) in counts.items()
        if count > wide.get(split, 0) * total + 1e-9
    ]
    for rule in before.keys() & after.keys():
        most, apart = max(one.widest_score(rule) for one in chosen), abs(before[rule] - after[rule])
        if apart > most + 1e-9:
            outside.append(f"the score under rule {rule} by {apart:.3g}, repetitions by up to {most:.3g}")
    then, now = numbers(old), numbers(new)
    for name in then.keys() & now.keys():
        apart = abs(then[name] - now[name])
        told = [width for one in chosen if (width := one.widest_number(_kind(name))) is not None]
        if apart > _FURTHER * max(told, default=0.0) + 1e-9:
            known = f"repetitions by up to {max(told):.3g}" if told else "of which no repetition tells"
            outside.append(f"{name} by {apart:.3g}, {known}")
    of = f"{len(chosen[0].repetitions)} repetitions of {', '.join(one.label for one in chosen)}"
    if outside:
        if not exact:
            outside.append(
                "no repetitions of this very cell are kept (scripts/envelope.py makes them): it may vary more"
            )
        return False, f"outside the envelope ({of}): {'; '.join(dict.fromkeys(outside))}"
    most_items = ", ".join(f"{max(one.widest_items(split) for one in chosen)} of {chosen[0].items[split]} of {split}"
                           for split in chosen[0].items)  # fmt: skip
    return True, f"inside the envelope: {of} differ among themselves in up to {most_items}"


def _plain(value: Any) -> Any:
    return value.item() if hasattr(value, "item") else value

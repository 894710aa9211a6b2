"""How far runs of one cell lie apart where nothing but the arithmetic differs: kept repetitions, and is a run inside?

``results/envelope/<task>.json`` keeps, of one cell or several, repetitions with the same settings, data and seed but
with other instruction sets and numbers of threads (``scripts/envelope.py`` makes them): what another processor does to
a cell. A recorded cell and a run of it are inside the envelope where they differ by no more than the two repetitions
that are farthest apart. The idea is that of MLPerf's reference convergence points: kept runs of the reference say what
a run may be. There a submission has other seeds; here the seed is part of the cell, and only rounding is left to vary.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uora_bench.config.cell import HELD_OUT
from uora_bench.config.ids import key_of
from uora_bench.config.registry import envelope_dir
from uora_bench.errors import UserError
from uora_bench.execution.answers import Difference, answers_of, root_mean_square
from uora_bench.records.predictions import EpochPredictions
from uora_bench.records.record import CellRecord
from uora_bench.util.json_file import read_json, write_json
from uora_bench.util.words import count

SCHEMA = 3
WHOLE = 20  # so many repetitions scripts/envelope.py makes of a cell
_REMEDY = "scripts/envelope.py makes them"
_FURTHER = 2.0  # of so many numbers one is now and then farther away than the farthest of twenty repetitions
Part = tuple[str, int]  # split and epoch


@dataclass(frozen=True)
class Repetition:
    """One repetition of a cell.

    ``varied``: what differed, as environment variables; ``scores``: of dev by rule, scaled; ``numbers``: those of
    `numbers`; ``differ``: by split, the items of the last epoch that are answered unlike in the first repetition, with
    their answers (`answers_of`); with what is added to the first repetition's where answers are numbers.
    """

    varied: dict[str, str]
    scores: dict[str, float]
    numbers: dict[str, float]
    differ: dict[str, dict[str, Any]]


@dataclass(frozen=True)
class KeptCell:
    """The repetitions of one cell.

    ``settings``: `settings_of` it; ``items``: how many there are, by split; ``processor``, ``torch``: where and with
    which version they were made.
    """

    cell_id: str
    label: str
    method: str
    settings: str
    command: tuple[str, ...]
    processor: str
    torch: str
    items: dict[str, int]
    repetitions: tuple[Repetition, ...]

    def widest_items(self, split: str) -> int:
        """The largest number of items of ``split`` in which two repetitions differ."""
        pairs = itertools.combinations([one.differ.get(split, {}) for one in self.repetitions], 2)
        same = object()  # as the first repetition, which may answer nothing
        return max((sum(a.get(i, same) != b.get(i, same) for i in a.keys() | b.keys()) for a, b in pairs), default=0)

    def widest_distance(self, split: str) -> float | None:
        """The largest `Difference.distance` of ``split`` between two repetitions; None where answers are no numbers."""
        own = [one.differ.get(split, {}) for one in self.repetitions]
        if not any(isinstance(value, float) for differ in own for value in differ.values()):
            return None
        items = sorted({item for differ in own for item in differ})
        of_all = [0.0] * (self.items[split] - len(items))
        pairs = itertools.combinations(own, 2)
        far = (root_mean_square([a.get(i, 0.0) - b.get(i, 0.0) for i in items] + of_all) for a, b in pairs)
        return max(far, default=0.0)

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
    found = read_json(path, Envelope, SCHEMA, "file of repetitions", _REMEDY)
    for cell in found.cells:
        if said := _problem(cell):
            raise UserError(f"'{path}', {cell.label}: {said}; {_REMEDY}")
    return found


def _problem(cell: KeptCell) -> str:
    """What does not fit together in the repetitions of one cell; "" where all does."""
    if not cell.repetitions or not cell.items or min(cell.items.values()) < 1:
        return "there are no repetitions, or none of any item"
    for one in cell.repetitions:
        if any(len(own) > cell.items.get(split, 0) for split, own in one.differ.items()):
            return "a repetition with other items"
    for split in cell.items:
        values = [value for one in cell.repetitions for value in one.differ.get(split, {}).values()]
        if len({isinstance(value, float) for value in values}) > 1:
            return f"answers of {split} that are partly numbers"
    return ""


def settings_of(record: CellRecord) -> str:
    """A hash of what the cells of a grid share, whatever their method, rates and seed.

    That is the task, the rows that are scored, the backbone, the length of training, the batch and the precision.
    Repetitions of one cell say something of another only where these are the same.
    """
    cell, known = record.cell, record.provenance
    trained = ("train", HELD_OUT)  # α-LoRA's are other rows than those of its grid
    rows = {role: digest for role, digest in known.data.items() if role not in trained}
    backbone = {key: value for key, value in cell["backbone"].items() if key != "target_modules"}
    length = {key: cell["trainer"].get(key) for key in ("epochs", "max_steps", "batch_size")}
    shared = [cell["task"], rows, backbone, known.backbone.get("weights_sha256"), length, record.precision]
    return key_of({"settings": shared})


def repetition_of(
    varied: Mapping[str, str],
    record: CellRecord,
    parts: Sequence[EpochPredictions],
    first: Mapping[str, Mapping[int, Any]],
) -> Repetition:
    """A run of the cell as a repetition; ``first``: the `answers` of the first one."""
    differ = {
        split: {f"{i:016x}": _unlike(answer, first[split][i]) for i, answer in own.items() if answer != first[split][i]}
        for split, own in answers(record, parts).items()
    }
    return Repetition(dict(varied), dev_scores(record), numbers(record), differ)


def answers(record: CellRecord, parts: Sequence[EpochPredictions]) -> dict[str, dict[int, Any]]:
    """By split the answer of every item in the last epoch."""
    last, metric = record.scores["last"].epoch, record.metric.name
    return {part.split: dict(zip(part.item.tolist(), answers_of(metric, part), strict=True))
            for part in parts if part.epoch == last}  # fmt: skip


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
    old: CellRecord, new: CellRecord, apart: Mapping[Part, Difference], envelope: Envelope | None
) -> tuple[bool, str]:
    """Whether ``new`` is inside the envelope of its task, and the line that says so.

    ``apart``: by split and epoch how far the answers are.
    """
    settings = settings_of(old)
    kept = [one for one in envelope.cells if one.settings == settings] if envelope is not None else []
    if not kept:
        like = f"{old.cell['task']['name']} on {old.cell['backbone']['name']} with these settings and data"
        return False, f"no envelope: no repetitions of {like} are kept ({_REMEDY})"
    exact = [one for one in kept if one.cell_id == old.cell_id]
    same = [one for one in kept if one.method == old.cell["method"]["name"]]
    chosen = exact or same or kept  # of another cell or method the widest of all that are kept
    outside = [said for (split, _), found in apart.items() if (said := _too_far(split, found, chosen))]
    before, after = dev_scores(old), dev_scores(new)
    for rule in before.keys() & after.keys():
        most, far = max(one.widest_score(rule) for one in chosen), abs(before[rule] - after[rule])
        if far > most + 1e-9:
            outside.append(f"the score under rule {rule} by {far:.3g}, repetitions by up to {most:.3g}")
    outside += _far_numbers(numbers(old), numbers(new), chosen)
    of = ", ".join(f"{count(len(one.repetitions), 'repetition')} of {one.label}" for one in chosen)
    cautions = [] if exact else [f"no repetitions of this very cell are kept ({_REMEDY}): it may vary more, or less"]
    if any(len(one.repetitions) < WHOLE for one in chosen):
        cautions.append(f"fewer than {WHOLE} repetitions show too little of how far they may lie apart")
    if outside:
        return False, f"outside the envelope ({of}): {'; '.join(dict.fromkeys([*outside, *cautions]))}"
    whose = "envelope" if exact or same else "envelope of other methods"
    return True, "; ".join([f"inside the {whose}: {of}; two of one cell differ in up to {_among(chosen)}", *cautions])


def _far_numbers(before: Mapping[str, float], after: Mapping[str, float], kept: Sequence[KeptCell]) -> list[str]:
    """Of each kind the number that lies farthest outside, and of how many epochs others do too."""
    far: dict[str, list[tuple[float, str]]] = {}
    for name in before.keys() & after.keys():
        apart = abs(before[name] - after[name])
        if apart > _FURTHER * _widest([one.widest_number(_kind(name)) for one in kept]) + 1e-9:
            far.setdefault(_kind(name), []).append((apart, name))
    found = []
    for kind, own in sorted(far.items()):
        apart, name = max(own)
        more = f" and {count(len(own) - 1, 'more epoch')}" if len(own) > 1 else ""
        found.append(f"{name}{more} by {apart:.3g}, {_known([one.widest_number(kind) for one in kept])}")
    return found


def _too_far(split: str, found: Difference, kept: Sequence[KeptCell]) -> str:
    """Which answers of ``split`` are farther apart than those of repetitions; "" where they are not."""
    if found.distance is not None:
        told = [one.widest_distance(split) for one in kept]
        if found.distance <= _widest(told) + 1e-9:
            return ""
        return f"predictions of {split} by {found.distance:.3g} in root mean square, {_known(told)}"
    most = max(one.widest_items(split) for one in kept)
    if found.items <= most:
        return ""
    return f"{found.items} of {found.total} items of {split}, where repetitions differ in up to {most}"


def _among(kept: Sequence[KeptCell]) -> str:
    """How far repetitions lie apart, split by split."""
    said = []
    for split in kept[0].items:
        told = [one.widest_distance(split) for one in kept]
        items = f"{max(one.widest_items(split) for one in kept)} of {kept[0].items[split]}"
        far = f"{_widest(told):.3g} in root mean square" if any(w is not None for w in told) else items
        said.append(f"{far} of {split}")
    return ", ".join(said)


def _widest(told: Sequence[float | None]) -> float:
    return max((width for width in told if width is not None), default=0.0)


def _known(told: Sequence[float | None]) -> str:
    known = [width for width in told if width is not None]
    return f"repetitions by up to {max(known):.3g}" if known else "of which no repetition tells"


def _unlike(answer: Any, first: Any) -> Any:
    """What `Repetition.differ` keeps of an ``answer`` that is not the ``first`` one.

    Raises:
        UserError: for numbers that are not finite: nothing lies between them.
    """
    if not isinstance(answer, float) or not isinstance(first, float):
        return answer
    if not math.isfinite(answer - first):
        raise UserError(f"a prediction is {answer} or {first}: there is no distance between them")
    return float(f"{answer - first:.7g}")

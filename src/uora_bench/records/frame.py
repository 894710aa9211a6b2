"""Records as pandas tables, for a notebook or a statistic of one's own."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.config.compose import leaves
from uora_bench.errors import UserError
from uora_bench.records.near import meant_by
from uora_bench.records.predictions import read_predictions
from uora_bench.records.record import CellRecord, read_records, record_paths
from uora_bench.util.schema import plain

if TYPE_CHECKING:
    import pandas

_FIRST = ("method.", "trainer.", "task.")  # the keys that a user is likeliest to have set come first in a label
_LONG = 24


def load_records(folder: str | Path = "results") -> pandas.DataFrame:
    """One row per cell × split × selection rule; a failed cell has one row, without a split and a score.

    ``folder``: results, a folder below ``results/records``, or any other with records. ``score`` is the primary metric
    in the unit of the tables; every metric has a column of its own (``metrics.accuracy``), unscaled. What defines a
    cell is there by its dotted key (``method.options.rank``, ``trainer.lr_adapter``), and so are counts, sizes (bytes)
    and seconds. ``settings`` tells apart what must not be averaged: the method, and in what cells of it on one task
    differ beside the seed (``lora trainer.epochs=3``); scores of one task and one ``settings`` differ in seeds alone.

    Raises:
        UserError: when there is no record, or one cannot be read.
    """
    import pandas

    return pandas.DataFrame([row for known, record, _ in _found(Path(folder)) for row in _rows(known, record)])


def load_epochs(folder: str | Path = "results") -> pandas.DataFrame:
    """One row per cell × epoch × split × metric (``value``, unscaled), with the epoch's training loss.

    Arguments and errors as those of `load_records`.
    """
    import pandas

    rows = []
    for known, record, _ in _found(Path(folder)):
        for epoch in record.epochs:
            common = {"epoch": epoch.epoch, "step": epoch.step, "train_loss": epoch.train_loss}
            for split, values in epoch.scores.items():
                numbers = {k: v for k, v in values.items() if isinstance(v, (int, float))}
                rows += [{**known, **common, "split": split, "metric": k, "value": v} for k, v in numbers.items()]
    return pandas.DataFrame(rows)


def load_predictions(folder: str | Path = "results") -> pandas.DataFrame:
    """One row per cell × epoch × split × item, for the epochs that the selection rules choose.

    ``prediction`` and ``reference`` are as the metric was given them; ``logits``: a list, None where there are none.
    ``item`` is the same for the same row in all cells. Cells without predictions have no row.

    Arguments and errors as those of `load_records`; a `UserError` too for a file that is not the one its record names.
    """
    import pandas

    frames = []
    for known, record, path in _found(Path(folder)):
        for part in read_predictions(record, path):
            columns = {k: v for k, v in vars(part).items() if k != "logits"}
            logits = [None] * len(part.item) if part.logits is None else list(part.logits)
            frames.append(pandas.DataFrame({**known, **columns, "logits": logits}))
    return pandas.concat(frames, ignore_index=True) if frames else pandas.DataFrame()


def _found(folder: Path) -> list[tuple[dict[str, Any], CellRecord, Path]]:
    """(names, record, folder) of every record below ``folder``."""
    root = folder / "records" if (folder / "records").is_dir() else folder
    folders = [root, *sorted(p for p in root.glob("*") if p.is_dir() and not p.name.startswith("theory_"))]
    found = [(one, record) for one in folders if record_paths(one) for record in read_records(one)]
    if not found:
        raise UserError(f"there is no record in '{folder}'{meant_by(folder)}")
    labels = _settings([record for _, record in found])
    return [(_names(one, label), one, path) for (path, one), label in zip(found, labels, strict=True)]


def _settings(records: Sequence[CellRecord]) -> list[str]:
    """Of each record its method, and as few settings as tell it from all others of the method and the task."""
    texts = [_texts(record) for record in records]
    groups: dict[tuple[str, str], list[int]] = {}
    for i, record in enumerate(records):
        groups.setdefault((record.cell["method"]["name"], record.cell["task"]["name"]), []).append(i)
    labels = [""] * len(records)
    for (method, _), members in groups.items():
        keys = {key for i in members for key in texts[i]}
        chosen: list[str] = []
        parts = 1
        for key in sorted(keys, key=lambda key: (key != "backbone.name", not key.startswith(_FIRST), key)):
            told = len({tuple(texts[i].get(k) for k in (*chosen, key)) for i in members})
            if told > parts:
                chosen, parts = [*chosen, key], told
        for i in members:
            labels[i] = " ".join([method, *(f"{key}={texts[i].get(key, 'null')}" for key in chosen)])
        alike = Counter((label, seed) for label, seed, _ in {_once(labels[i], records[i]) for i in members})
        for i in members:  # alike in all that has a name
            if alike[labels[i], records[i].cell["seed"]] > 1:
                labels[i] += f" cell_id={records[i].cell_id[:8]}"
    return labels


def _once(label: str, record: CellRecord) -> tuple[str, int, str]:
    return label, record.cell["seed"], record.cell_id


def _texts(record: CellRecord) -> dict[str, str]:
    """What defines a cell beside its seed, by key; what is long is shortened to a hash.

    The adapter that a cell starts from is another one for every seed: here it counts that there is one.
    """
    known, cell = record.provenance, record.cell
    data = known.data_rows or known.data_files or {"dev": known.data.get("dev", "")}
    values: dict[str, Any] = leaves({k: v for k, v in cell.items() if k not in ("seed", "init_from")})
    values |= {"data": sorted(data.items()), "init_from": "another cell" if cell.get("init_from") else None}
    texts = {k.replace(".options.", "."): "null" if v is None else str(v) for k, v in values.items()}
    return {k: t if len(t) <= _LONG else hashlib.sha256(t.encode()).hexdigest()[:8] for k, t in texts.items()}


def _names(record: CellRecord, settings: str) -> dict[str, Any]:
    cell: Mapping[str, Any] = record.cell
    return {
        "cell_id": record.cell_id,
        "experiment": record.experiment,
        "status": record.status,
        "method": cell["method"]["name"],
        "settings": settings,
        "task": cell["task"]["name"],
        "backbone": cell["backbone"]["name"],
        "seed": cell["seed"],
    }


def _rows(known: Mapping[str, Any], record: CellRecord) -> Iterator[dict[str, Any]]:
    settings = {k: v for k, v in leaves(record.cell).items() if k not in ("seed", *known) and not k.startswith("task.")}
    facts: dict[str, Any] = {
        "recipe": record.recipe.get("name"),
        "recipe_status": record.recipe.get("status"),
        "precision": record.precision,
        "peak_memory_bytes": record.peak_memory_bytes,
        "peak_memory_kind": record.peak_memory_kind,
        "reason": record.reason,
    }
    if record.counts is not None:
        facts |= {f"parameters.{k}": v for k, v in vars(record.counts).items()}
    if record.bytes is not None:
        facts |= {f"bytes.{k}": v for k, v in vars(record.bytes).items()}
    if record.seconds is not None:
        facts |= {f"seconds.{k}": v for k, v in vars(record.seconds).items() if k != "parts"}
    for name, part in (("work", record.work), ("energy", record.energy), ("retention", record.retention)):
        if part is not None:
            facts |= {f"{name}.{k}": v for k, v in leaves(plain(part)).items()}
    if not record.scores:
        yield {**known, **facts, **settings}
    for rule, result in record.scores.items():
        for role, values in result.scores.items():
            split = record.splits.get(role)
            primary = values.get(record.metric.primary)
            yield {
                **known,
                "split": role,
                "split_name": split.name if split is not None else None,
                "rows": split.rows if split is not None else None,
                "rule": rule,
                "epoch": result.epoch,
                "metric": record.metric.primary,
                "score": primary * record.metric.scale if isinstance(primary, (int, float)) else None,
                **{f"metrics.{k}": v for k, v in values.items() if isinstance(v, (int, float))},
                **facts,
                **settings,
            }

"""Records as pandas tables, for a notebook or a statistic of one's own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.config.compose import leaves
from uora_bench.errors import UserError
from uora_bench.records.predictions import read_predictions
from uora_bench.records.record import CellRecord, read_records, record_paths
from uora_bench.util.schema import plain

if TYPE_CHECKING:
    import pandas


def load_records(folder: str | Path = "results") -> pandas.DataFrame:
    """One row per cell × split × selection rule; a failed cell has one row, without a split and a score.

    ``folder``: results, a folder below ``results/records``, or any other with records. ``score`` is the primary metric
    in the unit of the tables; every metric has a column of its own (``metrics.accuracy``), unscaled. What defines a
    cell is there by its dotted key (``method.options.rank``, ``trainer.lr_adapter``), and so are counts, sizes (bytes)
    and seconds.

    Raises:
        UserError: when there is no record, or one cannot be read.
    """
    import pandas

    return pandas.DataFrame([row for record in _read(Path(folder)) for row in _rows(record)])


def load_epochs(folder: str | Path = "results") -> pandas.DataFrame:
    """One row per cell × epoch × split × metric (``value``, unscaled), with the epoch's training loss.

    Arguments and errors as those of `load_records`.
    """
    import pandas

    rows = []
    for record in _read(Path(folder)):
        for epoch in record.epochs:
            common = {"epoch": epoch.epoch, "step": epoch.step, "train_loss": epoch.train_loss}
            for split, values in epoch.scores.items():
                numbers = {k: v for k, v in values.items() if isinstance(v, (int, float))}
                rows += [
                    {**_names(record), **common, "split": split, "metric": k, "value": v} for k, v in numbers.items()
                ]
    return pandas.DataFrame(rows)


def load_predictions(folder: str | Path = "results") -> pandas.DataFrame:
    """One row per cell × epoch × split × item, for the epochs that the selection rules choose: ``prediction`` and
    ``reference`` as the metric was given them, ``logits`` (a list, None where there are none). ``item`` is the same
    for the same row whatever cell it was scored in. Cells without predictions have no row.

    Arguments and errors as those of `load_records`; a `UserError` too for a file that is not the one its record names.
    """
    import pandas

    frames = []
    for path, record in _found(Path(folder)):
        for part in read_predictions(record, path):
            columns = {k: v for k, v in vars(part).items() if k != "logits"}
            logits = [None] * len(part.item) if part.logits is None else list(part.logits)
            frames.append(pandas.DataFrame({**_names(record), **columns, "logits": logits}))
    return pandas.concat(frames, ignore_index=True) if frames else pandas.DataFrame()


def _read(folder: Path) -> list[CellRecord]:
    return [record for _, record in _found(folder)]


def _found(folder: Path) -> list[tuple[Path, CellRecord]]:
    """(folder, record) of every record below ``folder``."""
    root = folder / "records" if (folder / "records").is_dir() else folder
    folders = [root, *sorted(p for p in root.glob("*") if p.is_dir() and not p.name.startswith("theory_"))]
    found = [(one, record) for one in folders if record_paths(one) for record in read_records(one)]
    if not found:
        raise UserError(f"there is no record in '{folder}'; run a cell first, or name another folder")
    return found


def _names(record: CellRecord) -> dict[str, Any]:
    cell: Mapping[str, Any] = record.cell
    return {
        "cell_id": record.cell_id,
        "experiment": record.experiment,
        "status": record.status,
        "method": cell["method"]["name"],
        "task": cell["task"]["name"],
        "backbone": cell["backbone"]["name"],
        "seed": cell["seed"],
    }


def _rows(record: CellRecord) -> Iterator[dict[str, Any]]:
    known = _names(record)
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

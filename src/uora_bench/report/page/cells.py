"""Every cell of the page, once: what its record says, under the name by which the page's address finds it."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from uora_bench.records.record import EpochScores, read_record, record_data
from uora_bench.report import explain
from uora_bench.report.collect import Collection, Run, run_of

# shown from elsewhere, or made small below
_APART = ("epochs", "schema", "status", "cell_id", "experiment")


class Cells:
    """The cells of all experiments.

    ``found``: what is put into the page, by the cell's key, which is its ``cell_id``; where two experiments hold a
    record of one id, the second's is ``<cell_id>@<experiment>``.
    """

    def __init__(self) -> None:
        self.found: dict[str, dict[str, Any]] = {}
        self._keys: dict[tuple[str, str], str] = {}

    def add(self, run: Run, experiment: str, orphan: bool = False) -> str | None:
        """Take the record of ``run`` up; returns its key, or None where there is no record."""
        if run.recorded is None:
            return None
        named = experiment, run.record.cell_id
        if named not in self._keys:
            key = named[1] if named[1] not in self.found else f"{named[1]}@{experiment}"
            self._keys[named] = key
            self.found[key] = _cell(run, experiment, orphan)
        return self._keys[named]

    def name_row(self, key: str, row: str) -> None:
        """Say in which row of its table the cell stands."""
        self.found[key]["row"] = row

    @property
    def newest(self) -> str:
        """When the last of them was finished, as its record has it; "" where none says."""
        return max((c["record"].get("provenance", {}).get("finished") or "" for c in self.found.values()), default="")


def orphans(collection: Collection, results: Path) -> list[Run]:
    """The records in the experiment's folder that belong to no cell of its grid, as runs of no row."""
    runs = []
    for cell_id in collection.orphans:
        path = results / "records" / collection.experiment.name / f"{cell_id}.json"
        if not path.is_file():
            continue  # a file whose name is not the id that it holds: it is listed, and has no page
        record = read_record(path)
        runs.append(run_of(record, {"method": record.cell["method"]["name"]}, path.parent))
    return runs


def _cell(run: Run, experiment: str, orphan: bool) -> dict[str, Any]:
    record = run.record
    made = list(record.provenance.command)
    cell: dict[str, Any] = {
        "id": record.cell_id,
        "experiment": experiment,
        "status": record.status,
        "command": explain.command(run),
        "record": {k: v for k, v in record_data(record).items() if k not in _APART},
        "epochs": epochs(record.epochs),
    }
    if made and made != list(run.overrides):
        cell["made"] = "uora-bench " + shlex.join(made)
    if orphan:
        cell["orphan"] = True
    return cell


def epochs(entries: Sequence[EpochScores]) -> dict[str, list[Any]]:
    """The evaluations as columns: epoch, step, train_loss, seconds, ``<split>.<metric>``.

    Also the plain numbers of the method's snapshots; what a snapshot has for every layer stays in the record.
    """
    rows = []
    for entry in entries:
        row: dict[str, Any] = {k: getattr(entry, k) for k in ("epoch", "step", "train_loss", "seconds")}
        row |= {f"{split}.{metric}": v for split, scores in entry.scores.items() for metric, v in scores.items()}
        row |= {f"dev.halves {n}": v for n, v in enumerate(entry.halves or (), start=1)}
        report = entry.method.items()
        row |= {f"method.{k}": v for k, v in report if isinstance(v, (int, float)) and not isinstance(v, bool)}
        rows.append(row)
    keys = list(dict.fromkeys(k for row in rows for k in row))
    return {k: [row.get(k) for row in rows] for k in keys}

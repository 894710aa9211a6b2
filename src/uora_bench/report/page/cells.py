"""Every cell of the page, once: what its record says, under the name by which the page's address finds it."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

from uora_bench.report import explain
from uora_bench.report.collect import Collection, Run
from uora_bench.report.page.pool import plain

# shown from elsewhere, or made small below
_APART = ("epochs", "schema", "status", "cell_id", "experiment")


class Cells:
    """The cells of all experiments. ``found``: what is put into the page, by the cell's key, which is its ``cell_id``;
    where two experiments hold a record of one id, the second's is ``<cell_id>@<experiment>``."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, Any]] = {}
        self._keys: dict[tuple[str, str], str] = {}

    def add(self, run: Run, experiment: str, stranger: bool = False) -> str | None:
        """Take the record of ``run`` up; returns its key, or None where there is no record."""
        if not run.record:
            return None
        place = experiment, str(run.record["cell_id"])
        if place not in self._keys:
            key = place[1] if place[1] not in self.found else f"{place[1]}@{experiment}"
            self._keys[place] = key
            self.found[key] = _cell(run, experiment, stranger)
        return self._keys[place]

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
        raw = json.loads(path.read_text(encoding="utf-8"))
        known = collection.runs[0]
        words = tuple(str(word) for word in raw.get("provenance", {}).get("command", ()))
        runs.append(
            Run(
                raw["cell"]["task"]["name"],
                raw["cell"]["seed"],
                {"method": raw["cell"]["method"]["name"]},
                known.metric,
                known.splits,
                raw["status"],
                raw.get("reason") or "",
                raw,
                words,
            )
        )
    return runs


def method_of(run: Run) -> str:
    """The method's name, as ``method=`` takes it."""
    if run.record:
        return str(run.record["cell"]["method"]["name"])
    told = [word.partition("=")[2] for word in run.words if word.startswith("method=")]
    return str(run.row.get("method") or (told[-1] if told else "?"))


def _cell(run: Run, experiment: str, stranger: bool) -> dict[str, Any]:
    record = run.record
    made = [str(word) for word in record.get("provenance", {}).get("command", ())]
    cell = {
        "id": record["cell_id"],
        "experiment": experiment,
        "status": record["status"],
        "command": explain.command(run),
        "record": {k: v for k, v in record.items() if k not in _APART},
        "epochs": epochs(record.get("epochs") or []),
    }
    if made and made != list(run.words):
        cell["made"] = "uora-bench " + shlex.join(made)
    if stranger:
        cell["stranger"] = True
    found: dict[str, Any] = plain(cell)
    return found


def epochs(entries: list[dict[str, Any]]) -> dict[str, list[Any]]:
    """The evaluations as columns: epoch, step, train_loss, seconds, ``<split>.<metric>`` and the plain numbers of the
    method's snapshots. What a snapshot says of every layer stays in the record."""
    rows = []
    for entry in entries:
        row = {k: entry.get(k) for k in ("epoch", "step", "train_loss", "seconds")}
        for split, scores in (entry.get("scores") or {}).items():
            for metric, value in scores.items():
                parts = enumerate(value, start=1) if isinstance(value, list) else [("", value)]
                row |= {f"{split}.{metric}{f' {n}' if n else ''}": v for n, v in parts}
        report = entry.get("method") or {}
        row |= {f"method.{k}": v for k, v in report.items() if isinstance(v, (int, float)) and not isinstance(v, bool)}
        rows.append(row)
    keys = list(dict.fromkeys(k for row in rows for k in row))
    return {k: [row.get(k) for row in rows] for k in keys}

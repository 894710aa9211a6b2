"""One cell on its way from the command line to its record: what is known of it, where its files go."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.config import plugins
from uora_bench.config.cell import HELD_OUT, Cell, Settings
from uora_bench.config.compose import Composed
from uora_bench.errors import UserError
from uora_bench.records import provenance
from uora_bench.records.provenance import Provenance
from uora_bench.records.record import SCHEMA, CellRecord, Split, record_data
from uora_bench.util.schema import build, plain
from uora_bench.util.secrets import scrub
from uora_bench.util.timing import Stopwatch

if TYPE_CHECKING:
    from uora_bench.tasks.base import Task


@dataclass
class Job:
    """A cell on its way: what the steps of `run` and `fitting` hand to each other."""

    cell: Cell
    settings: Settings
    composed: Composed
    cell_id: str
    fingerprints: dict[str, str]
    rows: dict[str, Any]
    task: Task
    overrides: list[str]
    started: float
    facts: dict[str, Any]  # provenance, as it was when the run started
    watch: Stopwatch  # seconds of each part but training

    @property
    def folder(self) -> Path:
        """The run folder: checkpoints, logs and weights."""
        return Path(self.settings.runs_dir) / self.settings.experiment_name / self.cell_id

    @property
    def record_folder(self) -> Path:
        """The folder of the experiment's records."""
        return records_folder(self.settings)

    @property
    def values(self) -> dict[str, Any]:
        """The resolved configuration with what the data settled: with it, the model can be made without the data."""
        return {**self.composed.values, "task": {**self.composed.values["task"], **self.task.settled}}

    def check_secrets(self) -> None:
        """Raise `UserError` where a secret is also a word of what defines the cell: hidden, it spoils the record."""
        data = record_data(self.record("failed", reason="-"))
        for part in ("experiment", "cell", "metric", "splits", "recipe", "sources"):
            if scrub(data[part]) != data[part]:
                raise UserError(
                    f"a token or password (HF_TOKEN, WANDB_API_KEY, the login of HF_ENDPOINT or of a proxy) is also "
                    f"text of the record's '{part}', and would be hidden there; unset it, or choose another name"
                )

    def record(self, status: Any, **values: Any) -> CellRecord:
        """The record of this cell; ``values``: its fields that are not known before the end."""
        known = {
            "data": self.fingerprints,
            "command": [w for w in self.overrides if not w.startswith(provenance.PATHS)],
            "trainer": plain(self.cell.trainer),
            "source": self.cell.task.source.public(),
            **({"settled": self.task.settled} if self.task.settled else {}),
            **({"plugins": found} if (found := _plugins(self.cell)) else {}),
            "finished": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return CellRecord(
            schema=SCHEMA,
            status=status,
            cell_id=self.cell_id,
            experiment=self.settings.experiment_name,
            label=self.cell.label,
            cell=self.cell.canonical(),
            recipe=plain(self.cell.recipe),
            sources=self.composed.sources,
            metric=replace(self.task.metric, name=self.task.metric.public_name),
            splits={role: Split(self._split_name(role), len(rows)) for role, rows in self.rows.items()},
            provenance=build(Provenance, {**self.facts, **known, **values.pop("provenance", {})}, "provenance"),
            **values,
        )

    def _split_name(self, role: str) -> str:
        train = self.task.split_name("train")
        share = f"a random {self.cell.holdout:g} of {train} (drawn with the seed)"
        if role == HELD_OUT:
            return share
        if role == "train" and HELD_OUT in self.rows and not self.cell.method.holdout_stays:
            return f"{train} without {share}"
        return self.task.split_name(role)


def records_folder(settings: Settings) -> Path:
    """Where the records of an experiment are: ``<results.dir>/records/<experiment_name>``."""
    return Path(settings.results_dir) / "records" / settings.experiment_name


def _plugins(cell: Cell) -> dict[str, dict[str, Any]]:
    """The plug-ins that have a part in ``cell``, by name: version, sha256 of their Python files, and what they gave."""
    code = (("methods", cell.method.name), ("tasks", cell.task.family), ("metrics", cell.task.metric.name))
    named = (("method", cell.method), ("task", cell.task), ("backbone", cell.backbone), ("recipe", cell.recipe))
    found: dict[str, dict[str, Any]] = {}
    for plugin in plugins.active():
        gave = [f"{kind}/{name}" for kind, name in code if plugin.file(kind, name) is not None]
        files = [f"{group}/{part.name}" for group, part in named]
        gave += [name for name in files if (plugin.configs / f"{name}.yaml").is_file()]
        if gave:
            found[plugin.name] = {"version": plugin.version, "sha256": plugin.sha256(), "gave": gave}
    return found

"""The cell that answers: found, checked to be one of instruction tuning, and loaded. No torch until it is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from uora_bench.errors import UserError
from uora_bench.export import source
from uora_bench.mt_bench.config import AnswerConfig, AnswerRequest
from uora_bench.records.record import find_record
from uora_bench.util.hashes import file_sha256

if TYPE_CHECKING:
    from uora_bench.export.loading import Loaded
    from uora_bench.tasks.instruct import Instruct

_FAMILY = "instruct"


@dataclass(frozen=True)
class Subject:
    """A finished instruction-tuning cell and which of its weights are asked; ``backbone``: a folder given for it."""

    source: source.Source
    weights: str
    task: Instruct
    seed: int
    backbone: str | None
    results: str

    @classmethod
    def of_request(cls, request: AnswerRequest) -> Subject:
        """The cell that ``request`` names.

        Raises:
            UserError: when it is not found, has not finished, or was not trained on instructions.
        """
        places, config = request.places, request.config
        folder = source.find_run(request.cell, places["runs.dir"] or "runs", places["experiment"])
        found = source.read_source(folder)
        if found.cell.task.family != _FAMILY:
            raise UserError(
                f"cell {found.cell_id} is of task={found.cell.task.name}; MT-Bench is for cells trained on "
                "instructions (task=instruct/…)"
            )
        # a native export holds one set of weights, and says which
        weights = str(config.weights if found.native is None else found.native.weights)
        found.weight_files(weights)
        results = places["results.dir"] or found.settings.results_dir
        seed = found.cell.seed if config.seed is None else config.seed
        return cls(found, weights, _task(found, config), seed, places["backbone.path"], results)

    def facts(self, config: AnswerConfig) -> dict[str, Any]:
        """What every answer says of the cell and of how it was asked; answers that differ in it do not mix."""
        return {
            "cell_id": self.source.cell_id,
            "label": self.source.cell.label,
            "weights": self.weights,
            "weights_sha256": self._sha256(),
            "template": self.task.config.template,
            "turns": config.turns,
            "seed": self.seed,
            "max_new_tokens_asked": config.max_new_tokens,
        }

    def load_model(self) -> tuple[Loaded, str]:
        """The model on the CPU, and a line to print where its backbone could not be compared with the run's ("").

        Raises:
            UserError: when files are missing or do not fit, or the backbone has other weights than the run's.
        """
        from uora_bench.export import loading

        loaded = loading.load_cell(self.source, self.weights, self.backbone)
        folder = Path(self.results) / "records" / self.source.experiment
        found = find_record(folder, self.source.cell_id)
        if found is None:
            return loaded, (
                f"no record of the cell in '{folder}' (results.dir=<folder>): the backbone's weights cannot be "
                "compared with the run's"
            )
        _same_backbone(found.provenance.backbone, loaded)
        return loaded, ""

    def _sha256(self) -> str:
        digest = hashlib.sha256()
        for path in self.source.weight_files(self.weights):
            digest.update(bytes.fromhex(file_sha256(path)))
        return digest.hexdigest()


def _task(found: source.Source, config: AnswerConfig) -> Instruct:
    from uora_bench.tasks.instruct import Instruct

    spec = found.cell.task
    if config.template is not None:
        spec = replace(spec, options=replace(spec.options, template=config.template))  # type: ignore[call-arg]
    return Instruct(spec)


def _same_backbone(then: Mapping[str, Any], loaded: Loaded) -> None:
    """Raise `UserError` for a backbone of another commit or with other weight files than the record names."""
    for key in ("weights_sha256", "files_sha256", "commit"):
        now = loaded.origin.get(key)
        if then.get(key) and now and then[key] != now:
            what = "files" if key == "files_sha256" else "weights"
            raise UserError(
                f"backbone={loaded.cell.backbone.name} has other {what} now than the run had ({key} {now[:12]}…, then "
                f"{then[key][:12]}…); name a folder with the run's by backbone.path=<folder>"
            )

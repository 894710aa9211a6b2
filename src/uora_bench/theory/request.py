"""What a command of `uora-bench theory` asks for, read from its words.

Values are Hydra's grammar as on every command line of the package: ``a,b`` and ``range(0,5)`` are several values. Of a
parameter that is a list (alphas, gammas, …) they are the list; of any other they are one cell each.
"""

from __future__ import annotations

import dataclasses
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from uora_bench.config import synonyms
from uora_bench.errors import UserError, nearest
from uora_bench.theory import presets
from uora_bench.theory.parameters import KINDS
from uora_bench.theory.presets import Preset, TheoryCell
from uora_bench.theory.reviews import fingerprints
from uora_bench.util.schema import convert

VARIANTS = ("corrected", "released")
_CHOICES = ("experiment", *presets.PAPER)
_OWN = (
    "seed", "repetitions", "variant", "experiment_name", "results.dir", "data.root", "force", "dry_run",
)  # fmt: skip


@dataclass(frozen=True)
class TheoryRequest:
    """What one command asks for.

    ``given``: parameter -> values; None in ``repetitions`` and ``seeds``: the preset's; ``experiment``: the folder's
    name; ``overrides``: the command line.
    """

    preset: Preset
    given: dict[str, list[Any]] = field(default_factory=dict)
    repetitions: int | None = None
    seeds: tuple[int, ...] | None = None
    variant: str = "corrected"
    experiment: str = ""
    results: Path = Path("results")
    data_root: str | None = None
    force: bool = False
    dry_run: bool = False
    overrides: tuple[str, ...] = ()

    @cached_property
    def cells(self) -> list[TheoryCell]:
        """The cells that are asked for; raises as `presets.expand`."""
        return presets.expand(self.preset, self.given, self.repetitions, self.seeds)

    @cached_property
    def _reviews(self) -> dict[str, str]:
        return fingerprints(self.data_root)

    def sources(self, cell: TheoryCell) -> dict[str, str]:
        """The fingerprints of the real data that ``cell`` reads; raises as `fingerprints`."""
        return self._reviews if cell.kind == "amazon" else {}

    @property
    def folder(self) -> Path:
        """Where their records are."""
        return self.results / "records" / self.experiment


def read_request(words: list[str]) -> TheoryRequest:
    """The request that the ``words`` of a command line make.

    Raises:
        UserError: for a word that cannot be read, an unknown experiment, key or value.
    """
    split = [_split(word) for word in words]
    synonyms.check_once(words)
    chosen = [(key, text) for key, text in split if key in _CHOICES]
    if not chosen:
        raise UserError("say which experiment: figure=1, table=1 or experiment=NAME (uora-bench theory list)")
    if len(chosen) > 1:
        raise UserError(f"one experiment at a time: {' '.join(f'{k}={t}' for k, t in chosen)}")
    key, name = chosen[0]
    preset = presets.load_preset(name if key == "experiment" else presets.of_paper(key, name))
    known: dict[str, Any] = {}
    given: dict[str, list[Any]] = {}
    for key, text in split:
        if key in _CHOICES:
            continue
        if key in _OWN:
            known[key] = text if key in ("experiment_name", "results.dir", "data.root") else _values(key, text)
        elif key in presets.keys(preset):
            given[key] = _parameter(preset, key, text)
        else:
            names = [*presets.keys(preset), *_OWN, *_CHOICES]
            raise UserError(f"unknown key '{key}' for {preset.name}{nearest(key, names, limit=30)}")
    variant = _one("variant", known.get("variant", ["corrected"]))
    if variant not in VARIANTS:
        raise UserError(f"unknown variant '{variant}'{nearest(str(variant), VARIANTS)}")
    repetitions = known.get("repetitions")
    seeds = known.get("seed")
    return TheoryRequest(
        preset,
        given,
        None if repetitions is None else convert(int, _one("repetitions", repetitions), "repetitions"),
        None if seeds is None else tuple(convert(int, seed, "seed") for seed in seeds),
        str(variant),
        presets.with_folder(preset, known.get("experiment_name")),
        Path(known.get("results.dir", "results")),
        known.get("data.root") or os.environ.get("UORA_DATA_DIR") or None,
        convert(bool, _one("force", known.get("force", [False])), "force"),
        convert(bool, _one("dry_run", known.get("dry_run", [False])), "dry_run"),
        tuple(words),
    )


def _split(word: str) -> tuple[str, str]:
    key, sign, text = word.partition("=")
    if not sign or not key or not text:
        names = [*_CHOICES, *_OWN, "list", "all"]
        raise UserError(f"'{word}' is not of the form key=value{nearest(word.rstrip('='), names)}")
    return key, text


def _values(key: str, text: str) -> list[Any]:
    """The values that ``text`` gives ``key``."""
    from uora_bench.config import compose

    override = compose.read_override(f"{key}={text}")
    if not override.is_sweep_override():
        return [override.value()]
    if override.is_choice_sweep() or override.is_range_sweep():
        return [compose.read_override(f"{key}={part}").value() for part in override.sweep_string_iterator()]
    raise UserError(f"'{key}={text}': only lists (a,b) and range() are several values")


def _parameter(preset: Preset, key: str, text: str) -> list[Any]:
    hint = next(str(f.type) for f in dataclasses.fields(KINDS[preset.kind]) if f.name == key)
    found = _values(key, text)
    whole = "Values" in hint or key == "checks"
    if whole and not all(isinstance(value, (list, dict)) for value in found):
        return [found]  # alphas=0,1,2 is one list
    return found


def _one(key: str, values: list[Any]) -> Any:
    if len(values) > 1:
        raise UserError(f"one {key} at a time, not {', '.join(map(str, values))}")
    return values[0]

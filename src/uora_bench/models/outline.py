"""What can be counted of a model with its task's head: found when it is built, and known from then on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uora_bench.config.cell import BackboneConfig
from uora_bench.errors import UserError
from uora_bench.models import backbones, known_models
from uora_bench.models.heads import HeadSpec
from uora_bench.models.targets import modules_of
from uora_bench.util.hashes import file_sha256
from uora_bench.util.schema import build, plain


@dataclass(frozen=True)
class Outline:
    """``modules``: as `modules_of` gives them; ``sizes``: how many numbers each parameter has, by its name."""

    modules: dict[str, tuple[int, ...] | str]
    sizes: dict[str, int]

    def split(self, head: tuple[str, ...]) -> tuple[dict[str, int], int]:
        """(the sizes outside the modules ``head``, by name; how many numbers are within them)."""
        within = tuple(f"{name}." for name in head)
        backbone = {name: size for name, size in self.sizes.items() if not name.startswith(within or "\0")}
        return backbone, sum(self.sizes.values()) - sum(backbone.values())


def known_outline(backbone: BackboneConfig, head: HeadSpec) -> Outline | None:
    """The outline of a model that was built before, in this process or another; None: it has to be built.

    Raises:
        UserError: when the model is nowhere to be had.
    """
    kept = _file_of(backbone, head)
    answer = None if kept is None else known_models.read_answer(kept)
    try:
        return None if answer is None else build(Outline, answer, "a model that is known")
    except UserError:  # the file is damaged
        return None


def keep_outline(backbone: BackboneConfig, head: HeadSpec, model: Any) -> None:
    """Keep the outline of ``model``, the skeleton of ``backbone`` with ``head``, before a method is on it."""
    kept = _file_of(backbone, head)
    if kept is not None:
        sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
        known_models.write_answer(kept, plain(Outline(modules_of(model), sizes)))


def _file_of(backbone: BackboneConfig, head: HeadSpec) -> Path | None:
    """Where the outline is kept; None where the configuration lies in no folder to look at."""
    architecture: Mapping[str, Any] | str | None = backbone.architecture
    if architecture is None:
        try:
            architecture = file_sha256(Path(backbones.locate(backbone)[0]) / "config.json")
        except OSError:
            return None
    told = ["outline", architecture, head.auto_class, head.config, backbone.head, backbone.kind, backbone.pooling]
    return known_models.answer_file(json.dumps(told))

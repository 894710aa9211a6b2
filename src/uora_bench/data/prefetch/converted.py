"""Models that a make target converts on a machine (``smollm2_135m``), copied into ``<root>/converted``."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from uora_bench.data import offline
from uora_bench.data.prefetch.remote import RepositoryError

if TYPE_CHECKING:
    from uora_bench.data.prefetch.client import Client


@dataclass(frozen=True)
class ConvertedModel:
    """The folder that ``make <target>`` writes for the backbone ``name``."""

    name: str
    target: str

    def __str__(self) -> str:
        return f"model {self.name}"

    @property
    def partial(self) -> str:
        """The folder of what is not whole yet."""
        return f"{offline.CONVERTED}--{self.name}"

    def problems(self, manifest: offline.Manifest, full: bool = False) -> list[str]:
        """What keeps the manifest's folder from having it, a line each; with ``full`` every sha256 is compared."""
        known = self._known(manifest)
        if not known and not (self._place(manifest.root) / "config.json").is_file():
            return [f"{offline.CONVERTED}/{self.name} is missing"]
        return [f"{name} {problem}" for name in known if (problem := manifest.wrong(name, full))]

    def fetch(self, manifest: offline.Manifest, client: Client | None, partial: Path) -> None:
        """Copy it from the cache of the Hub's libraries; on the way it is in ``partial``.

        Raises:
            RepositoryError: where it has not been made. OSError: when it cannot be written.
        """
        made = offline.home() / self.name
        if not made.is_dir():
            raise RepositoryError(f"{self} is not on this machine: `make {self.target}` in a checkout brings it")
        staged, place = partial / self.partial, self._place(manifest.root)
        shutil.rmtree(staged, ignore_errors=True)
        shutil.copytree(made, staged)
        for name in self._known(manifest):
            del manifest.files[name]
        shutil.rmtree(place, ignore_errors=True)
        place.parent.mkdir(parents=True, exist_ok=True)
        os.replace(staged, place)

    def held(self, manifest: offline.Manifest) -> list[str]:
        """Its files in ``manifest``, entered where they were not there."""
        root = manifest.root
        for path in sorted(p for p in self._place(root).iterdir() if p.is_file()):
            name = path.relative_to(root).as_posix()
            if name not in manifest.files:
                manifest.add(name, offline.entry_of(path, "model"))
        return self._known(manifest)

    def _place(self, root: Path) -> Path:
        return root / offline.CONVERTED / self.name

    def _known(self, manifest: offline.Manifest) -> list[str]:
        return [name for name in manifest.files if name.startswith(f"{offline.CONVERTED}/{self.name}/")]

"""Where a task's rows are: on the Hub, in a folder of data sets, in a user's own files, or made by a generator."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uora_bench.util.schema import plain

IMAGE_FOLDER = "imagefolder"  # the benchmark of tasks whose data.root is a folder of class folders
OWN_ROWS = "own"  # the benchmark of tasks whose rows are the user's own files


@dataclass(frozen=True)
class Hub:
    """A dataset on the Hugging Face Hub, pinned.

    ``data_dir``: the folder of its files, where no card of the repository names configurations
    (``refs/convert/parquet``).
    """

    id: str
    revision: str | None = None
    config: str | None = None
    data_dir: str | None = None


@dataclass(frozen=True)
class OwnFiles:
    """A user's own table, or a folder of them: ``path``, and how their text is to be read."""

    path: str
    encoding: str
    separator: str | None  # of CSV; None: a comma, in .tsv a tab


@dataclass(frozen=True)
class DataSource:
    """Where a task's rows are.

    In order: the user's own ``files``, ``<data.root>/<benchmark>/<dataset>/<split>.*``, the Hub, or generated.
    """

    benchmark: str
    dataset: str
    hub: Hub | None = None
    files: OwnFiles | None = None

    @property
    def named(self) -> dict[str, str | None]:
        """What the datasets library is asked for in the repository: a configuration, or a folder."""
        if self.hub is not None and self.hub.data_dir is not None:
            return {"name": None, "data_dir": self.hub.data_dir}
        return {"name": (self.hub.config if self.hub else None) or self.dataset}

    def folder(self, root: str | None) -> Path | None:
        """The folder of local files, ``root`` being ``data.root``."""
        if self.files is not None:
            path = Path(self.files.path)
            return path if path.is_dir() else path.parent
        return None if root is None else Path(root) / self.benchmark / self.dataset

    def public(self) -> dict[str, Any]:
        """As records have it: without a path."""
        return {k: v for k, v in plain(self).items() if k != "files"}

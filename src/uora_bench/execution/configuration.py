"""``cell.json`` of a run folder: the resolved configuration, and what the weight files beside it hash to.

With it and the weights, `uora_bench.export` needs no more.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uora_bench.errors import UserError
from uora_bench.util import atomic
from uora_bench.util.hashes import file_sha256
from uora_bench.util.schema import build

ADAPTER, HEAD, CONFIGURATION = "adapter.safetensors", "head.safetensors", "cell.json"
_AGAIN = "copy the folder again, or run the cell again with force=true"


@dataclass(frozen=True)
class Native:
    """What an export of ``format=native`` adds.

    The ``weights`` it holds (last | best) and, where the run took its backbone from a folder, the hash of its weights.
    """

    weights: str | None = None  # None: a run folder
    backbone_sha256: str | None = None


@dataclass(frozen=True)
class Configuration:
    """The content of ``cell.json``.

    ``values``: what `config.compose` resolved. ``files``: name -> sha256 of the weight files; empty until the cell has
    finished. ``sha256``: of all the rest; None in folders of older versions.
    """

    cell_id: str
    values: dict[str, Any]
    native: Native = Native()
    files: dict[str, str] = field(default_factory=dict)
    sha256: str | None = None
    folder: Path = Path()  # where it was read

    @property
    def summed(self) -> bool:
        """Whether the files can be compared with what was written."""
        return bool(self.files)

    def check_file(self, name: str) -> None:
        """Raise `UserError` for a weight file with other bytes than were written."""
        known = self.files.get(name)
        if known is not None and file_sha256(self.folder / name) != known:
            raise UserError(
                f"'{self.folder / name}' is damaged: its sha256 is not the one in {CONFIGURATION}; {_AGAIN}"
            )


def write_configuration(
    folder: Path, values: Mapping[str, Any], cell_id: str, native: Mapping[str, Any] | None = None, summed: bool = False
) -> None:
    """Keep the resolved configuration in the run folder; ``summed``: with the hashes of the weight files there."""
    content: dict[str, Any] = {"cell_id": cell_id, "values": values}
    if native:
        content["native"] = native
    if summed:
        content["files"] = {name: file_sha256(folder / name) for name in (ADAPTER, HEAD)}
    content["sha256"] = _sum(content)
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False)
    atomic.write_text(folder / CONFIGURATION, text + "\n")


def read_configuration(folder: Path) -> Configuration:
    """What ``folder`` says of itself.

    Raises:
        UserError: when it is no folder of a run or a native export, or its file is damaged.
    """
    path = folder / CONFIGURATION
    if not path.is_file():
        if (folder / ADAPTER).is_file():
            raise UserError(
                f"'{folder}' has no {CONFIGURATION}: it was written by an older version; run its command "
                "(in the record) again with force=true"
            )
        inside = " (the run folder is the one above it)" if (folder.parent / CONFIGURATION).is_file() else ""
        raise UserError(f"'{folder}' is no run folder: no {CONFIGURATION} in it{inside}")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(data, dict):
            raise ValueError("it holds no JSON object")
        known = data.get("sha256")
        if known is not None and known != _sum({k: v for k, v in data.items() if k != "sha256"}):
            raise ValueError("it is damaged: its checksum is another")
        return build(Configuration, {**data, "folder": folder})
    except (OSError, ValueError, RecursionError, UserError) as error:
        raise UserError(f"cannot read '{path}': {' '.join(str(error).split())[:200]}; {_AGAIN}") from None


def _sum(content: Mapping[str, Any]) -> str:
    text = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()

"""How far a running cell is: ``<run folder>/live.json``, written by the cell now and then, read by whoever watches.

It is for people alone: nothing is decided by it, and a cell that cannot write it goes on without a word.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from uora_bench.errors import UserError
from uora_bench.util.schema import build

FILE = "live.json"
EVERY = 1.0  # seconds between two writings


@dataclass(frozen=True)
class Live:
    """The progress of a running cell.

    ``step`` of ``steps`` optimizer steps; ``facts`` for people (epoch, loss, dev); ``left``: seconds, None where
    unknown; ``what``: the current activity where it is not training (``scoring dev 3/8 batches``).
    """

    step: int
    steps: int
    facts: Mapping[str, str] = field(default_factory=dict)
    left: float | None = None
    what: str = ""


class LiveFile:
    """Writes `Live` to a run folder, at most every `EVERY` seconds."""

    def __init__(self, folder: Path) -> None:
        self._path, self._written = folder / FILE, -EVERY

    @property
    def due(self) -> bool:
        """Whether `write` would write now."""
        return time.monotonic() - self._written >= EVERY

    def write(self, live: Live) -> None:
        """Replace what is there; a disk that refuses is left alone."""
        self._written = time.monotonic()
        temporary = self._path.with_name(f".{FILE}.{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            temporary.write_text(json.dumps(asdict(live)) + "\n", encoding="utf-8")
            os.replace(temporary, self._path)

    def remove(self) -> None:
        """The cell does not run any more."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def read_live(folder: Path) -> Live | None:
    """What a cell in the run folder ``folder`` said last; None where it said nothing that can be read."""
    try:
        data = json.loads((folder / FILE).read_text(encoding="utf-8"))
        return build(Live, data) if isinstance(data, dict) else None
    except (OSError, ValueError, UserError):
        return None

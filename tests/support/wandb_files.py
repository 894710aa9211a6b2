"""What an offline run of W&B wrote to its file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


def read_offline(folder: Path) -> list[dict[str, Any]]:
    """The history rows of the offline runs below ``folder`` (a run folder), in order, as they were logged.

    A resumed cell has one file per start; a step that was repeated after a crash is taken from the later one.
    """
    rows: dict[int, dict[str, Any]] = {}
    for path in sorted(folder.glob("wandb/offline-run-*/run-*.wandb")):
        command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        for line in done.stdout.splitlines():
            entry = json.loads(line)
            if entry.get("type") == "history":
                row = entry["history"]["item"]
                rows.setdefault(int(row["_step"]), {}).update(row)
    return [rows[k] for k in sorted(rows)]

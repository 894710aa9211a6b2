"""W&B runs that were made offline and not yet sent, with the command that sends them."""

from __future__ import annotations

import shlex
from pathlib import Path


def find(folder: Path) -> list[Path]:
    """The offline run folders below a grid's folder, oldest first: a resumed cell has one per start, all of one id, and
    they have to be sent in that order. A run that was sent has a ``.synced`` file in it."""
    found = [p for p in folder.glob("*/wandb/offline-run-*") if p.is_dir() and not any(p.glob("*.synced"))]
    return sorted(found, key=lambda p: p.name)


def lines(folder: Path) -> list[str]:
    """What to say of them: nothing, when there are none."""
    runs = find(folder)
    if not runs:
        return []
    cells = len({p.parent.parent.name for p in runs})
    where = shlex.quote(str(folder))
    return [
        f"W&B: {cells} run{'s' if cells > 1 else ''} recorded offline; send {'them' if cells > 1 else 'it'} with",
        f"  wandb sync --yes {where}/*/wandb/offline-run-*",
    ]

"""W&B runs that were made offline and not yet sent, with the command that sends them."""

from __future__ import annotations

import shlex
from pathlib import Path

from uora_bench.grid.model import Plan
from uora_bench.records import attempts
from uora_bench.util.words import count


def find(folder: Path) -> list[Path]:
    """The offline run folders below a grid's folder that are not uploaded, oldest first.

    A resumed cell has one per start, all of one id; they must be uploaded in that order. An uploaded run has a
    ``.synced`` file in it.
    """
    found = [p for p in folder.glob("*/wandb/offline-run-*") if p.is_dir() and not any(p.glob("*.synced"))]
    return sorted(found, key=lambda p: p.name)


def lines(plan: Plan) -> list[str]:
    """What to say of those of the plan's own cells that have a tracker: nothing, when there are none."""
    there = {p.parent.parent.name for p in find(plan.folder)}
    leases = attempts.attempts_folder(Path(plan.runs_dir), plan.experiment)
    cells = set[str]()
    for item in plan.items:
        if "tracker=none" not in item.overrides:
            lease = attempts.read_lease(leases, item.key)
            cells |= {cell_id for cell_id in (item.cell_id, lease and lease.cell_id) if cell_id in there}
    if not cells:
        return []
    which = "*" if cells == there else next(iter(cells)) if len(cells) == 1 else f"{{{','.join(sorted(cells))}}}"
    return [
        f"W&B: {count(len(cells), 'run')} recorded offline; send {'them' if len(cells) > 1 else 'it'} with",
        f"  wandb sync --yes {shlex.quote(str(plan.folder))}/{which}/wandb/offline-run-*",
    ]

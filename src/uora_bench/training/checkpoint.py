"""Checkpoints of a run: the only writer of model and optimizer state in ``runs/``.

``last.pt`` is everything a run needs to go on as if it had not stopped; ``best.pt`` the adapter and head of the best
epoch. Both are written whole or not at all.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from uora_bench.errors import CellError
from uora_bench.util import atomic

LAST, BEST = "last.pt", "best.pt"


def save(folder: Path, state: dict[str, Any], name: str = LAST) -> None:
    """Write ``state`` (tensors and plain values) to ``folder/name`` atomically."""
    import torch

    atomic.write_file(folder / name, lambda path: torch.save(state, path))


def latest(folder: Path, name: str = LAST) -> dict[str, Any] | None:
    """The state in ``folder/name``, on the CPU, or None when there is none; `CellError` when it cannot be read."""
    import torch

    path = folder / name
    if not path.is_file():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise CellError(f"cannot read the checkpoint {name} in the run folder; force=true starts over") from error


def random_state() -> dict[str, Any]:
    """The state of every global random stream of this process, as plain values and tensors."""
    import numpy as np
    import torch

    kind, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - libraries draw from it
    version, internal, gauss = random.getstate()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [str(kind), [int(k) for k in keys], int(position), int(has_gauss), float(cached)],
        "python": [version, list(internal), gauss],
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Put a `random_state` back."""
    import numpy as np
    import torch

    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, position, has_gauss, cached = state["numpy"]
    np.random.set_state((kind, np.asarray(keys, dtype=np.uint32), position, has_gauss, cached))  # noqa: NPY002
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))

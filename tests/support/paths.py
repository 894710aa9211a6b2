"""Where the checkout is, and the shared folder beside it."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def shared_folder() -> Path:
    """The folder of oracles, papers and data: beside the checkout, or where ``UORA_SHARED_DIR`` says."""
    return Path(os.environ.get("UORA_SHARED_DIR", ROOT.parent / "shared"))

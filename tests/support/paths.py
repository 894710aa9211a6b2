"""Where the checkout is, the facts that tests compare with, and the folder of real data sets."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# their sources and licences: tests/data/README.md
ORACLES = ROOT / "tests" / "data" / "oracles"
PAPERS = ROOT / "tests" / "data" / "papers"
PUBLISHED = ROOT / "results" / "paper"


def shared_folder() -> Path:
    """The folder whose ``data`` holds real data sets: beside the checkout, or where ``UORA_SHARED_DIR`` says."""
    return Path(os.environ.get("UORA_SHARED_DIR", ROOT.parent / "shared"))

"""Notes: what a user should know of a run that goes on."""

from __future__ import annotations

import functools
import os
import sys


@functools.cache
def note(text: str) -> None:
    """Say ``text`` on stderr, each text once, and of several processes the first alone."""
    if os.environ.get("RANK", "0") == "0":
        print(f"note: {text}", file=sys.stderr)

"""Notes: what a user should know of a run that goes on."""

from __future__ import annotations

import functools

from uora_bench.util.log import LOG


@functools.cache
def note(text: str) -> None:
    """Log ``text`` as a warning, each text once."""
    LOG.warning(f"note: {text}")

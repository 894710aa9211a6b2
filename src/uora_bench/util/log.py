"""The logger ``uora_bench``: every line that is not a result, on standard error, at the level of ``UORA_LOG``.

Standard output is for results. Of several processes the first one alone writes; errors come from all.
"""

from __future__ import annotations

import logging
import os
import sys

from uora_bench.errors import UserError
from uora_bench.util.launched import is_main

VARIABLE = "UORA_LOG"
LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
LOG = logging.getLogger("uora_bench")
_applied: str | None = None  # the value of `VARIABLE` that the level was set by


class _StandardError(logging.Handler):
    """Writes to what ``sys.stderr`` is at the time: a progress bar replaces it while it is drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.levelno >= logging.ERROR or is_main():
            print(self.format(record), file=sys.stderr, flush=True)


def configure() -> None:
    """Set the level that the environment asks for. A level that Python code has set stays while ``UORA_LOG`` stays.

    Raises:
        UserError: ``UORA_LOG`` is no level.
    """
    global _applied
    wanted = os.environ.get(VARIABLE)
    if wanted == _applied:
        return
    level = LEVELS.get((wanted or "info").lower())
    if level is None:
        levels = ", ".join(LEVELS)
        raise UserError(f"{VARIABLE}='{(wanted or '')[:40]}' is not a log level; set it to one of {levels}")
    LOG.setLevel(level)
    _applied = wanted


if not LOG.handlers:
    LOG.addHandler(_StandardError())
    LOG.setLevel(logging.INFO)
    LOG.propagate = False  # one line is written once, also where a program has its own root handler

"""How every command of the package ends: one line for what went wrong, and an exit code that says whose it is."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from uora_bench.errors import Busy, CellError, Interrupted, UserError


def run(act: Callable[[], int], resume: str) -> int:
    """Run ``act`` and return the exit code: its own, or 2 for the user's mistake, 75 for a cell that another process is
    running, 1 for whatever else failed, 128 + n after signal n. ``resume`` says what a person can do after a signal."""
    try:
        code = act()
        sys.stdout.flush()
        return code
    except UserError as error:
        _say(error)
        return 75 if isinstance(error, Busy) else 2
    except CellError as error:
        _say(error)
        return 1
    except Interrupted as error:
        print(f"{error}; {resume}", file=sys.stderr)
        return 128 + error.signum
    except KeyboardInterrupt:
        print(f"interrupted; {resume}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `… | head`: nobody reads on, and Python must not complain about it at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 0
    except Exception as error:
        if os.environ.get("UORA_DEBUG"):
            raise
        print(f"error: {type(error).__name__}: {_line(error)} (UORA_DEBUG=1 shows where)", file=sys.stderr)
        return 1


def _say(error: Exception) -> None:
    print(f"error: {_line(error)}", file=sys.stderr)


def _line(error: Exception) -> str:
    return " ".join(str(error).split())[:600]

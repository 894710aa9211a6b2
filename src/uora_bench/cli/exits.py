"""How every command of the package ends: one line for what went wrong, and an exit code that says whose it is."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable

from uora_bench.errors import Busy, CellError, Interrupted, UserError
from uora_bench.util.secrets import scrub


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
    except Exception as error:  # noqa: BLE001 - whatever it is, it ends in one line
        if os.environ.get("UORA_DEBUG"):
            print(scrub(traceback.format_exc()), file=sys.stderr)
            return 1
        _say(error, f"{type(error).__name__}: ", " (UORA_DEBUG=1 shows where)")
        return 1


def _say(error: Exception, before: str = "", after: str = "") -> None:
    """One line, without secrets: they are taken out before the line is cut, so that no piece of one stays."""
    print(f"error: {before}{' '.join(scrub(str(error)).split())[:600]}{after}", file=sys.stderr)

"""How every command of the package ends: one line for what went wrong, and an exit code that says whose it is."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable

from uora_bench.errors import Busy, CellError, Interrupted, UserError
from uora_bench.util import streams
from uora_bench.util.atomic import FULL
from uora_bench.util.log import LOG
from uora_bench.util.secrets import scrub

AGAIN = "run the command again"
# what the system says of a path that somebody chose: their mistake, and what to do about it
_OF_PATHS = {
    errno.EACCES: "choose a folder that you may use (results.dir=, runs.dir=, data.root=)",
    errno.EPERM: "choose a folder that you may use (results.dir=, runs.dir=, data.root=)",
    errno.EROFS: "choose a folder that you may write to (results.dir=, runs.dir=)",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.ENOENT: "choose one that exists",
    errno.ENOTDIR: "it is a file, and a folder is needed; choose another path",
    errno.EISDIR: "it is a folder, and a file is needed; choose another path",
    errno.EEXIST: "it already exists as something else; choose another path",
    errno.ELOOP: "its links lead in a circle; choose another path",
}


def run(act: Callable[[], int], resume: str, prints: bool = True) -> int:
    """Run ``act`` and return the exit code.

    Its own code, or 2 for the user's mistake, 75 for a cell that another process is running, 1 for any other failure,
    128 + n after signal n. ``resume``: what a person can do after a signal. ``prints``: its result is what it prints,
    so that a full disk behind standard output is a failure (1).
    """
    try:
        code = act()
        if prints:
            check_printed()
    except UserError as error:
        _say(_line(error))
        return 75 if isinstance(error, Busy) else 2
    except CellError as error:
        _say(_line(error))
        return 1
    except Interrupted as error:
        LOG.error(f"{error}; {resume}")
        return 128 + error.signum
    except KeyboardInterrupt:
        LOG.error(f"interrupted; {resume}")
        return 130
    except SystemExit as error:  # of somebody's plug-in or a library: its code 0 would look like success
        _say(f"what was being run ended the program by itself (SystemExit {error.code}); nothing was finished")
        return 1
    except Exception as error:  # noqa: BLE001 - whatever it is, it ends in one line
        if os.environ.get("UORA_DEBUG"):
            LOG.error(scrub(traceback.format_exc()))
            return 1
        if isinstance(error, OSError) and error.errno in (*_OF_PATHS, *FULL):
            return _system(error)
        _say(f"{type(error).__name__}: {_line(error)} (UORA_DEBUG=1 shows where)")
        return 1
    return code


def check_printed() -> None:
    """Raise `CellError` when something that was printed could not be written, other than for want of a reader."""
    sys.stdout.flush()
    if (why := streams.lost()) is not None:
        raise CellError(f"the output could not be written: {why}")


def _system(error: OSError) -> int:
    """Say what the system refused; returns the exit code."""
    path = f" '{os.fsdecode(error.filename)}'" if isinstance(error.filename, (str, bytes)) else ""
    if len(path) > 200:
        path = f"{path[:100]}…{path[-60:]}"
    if error.errno in FULL:
        what = "the disk is full, or takes no larger file"
        _say(f"{what}{':' if path else ''}{path}: {error.strerror}; make room, then {AGAIN}")
        return 1
    if not path and error.errno == errno.ENOENT:
        _say("the working directory is gone; change to a folder that exists")
    else:
        _say(f"{error.strerror}{':' if path else ''}{path}; {_OF_PATHS[error.errno or 0]}")
    return 2


def _say(text: str) -> None:
    LOG.error(f"error: {text}")


def _line(error: Exception) -> str:
    """One line, without secrets: they are taken out before the line is cut, so that no piece of one stays."""
    return " ".join(scrub(str(error)).split())[:600]

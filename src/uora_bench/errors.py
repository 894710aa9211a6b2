"""The ways a command can end badly, where an error came from, and the "did you mean" every message uses."""

from __future__ import annotations

import contextlib
import difflib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

_BEGINNING = 3  # letters with which a name may be begun
_MEANT = 4  # names at most in a "did you mean"
_GROUPS = 12  # names at most in a list of groups


class UserError(Exception):
    """The user's mistake: one line that says what is wrong, the nearest valid thing and how to fix it (exit 2)."""


class ImpossiblePair(UserError):
    """Method, task and backbone do not go together; a grid leaves such a pair out and says why."""


class Busy(UserError):
    """Another process is running this cell: locked until that process ends (exit 75)."""


class CellError(Exception):
    """The cell itself failed (exit 1): a non-finite loss, a count unlike the closed form, a broken merge."""


class Interrupted(BaseException):
    """A signal asked the run to leave; what was finished is in the checkpoint (exit 128 + ``signum``).

    Like KeyboardInterrupt no `Exception`, so that code that survives errors of its own does not survive this.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by signal {signum}")
        self.signum = signum


def failure_kind(error: BaseException) -> str:
    """The kind of failure by which a grid decides whether to try again.

    ``out_of_memory`` (of a GPU or of the machine), ``crash`` (another process of this cell was lost) or ``error``.
    """
    text = str(error)
    signs = ("can't allocate memory", "CUDA out of memory", "CUBLAS_STATUS_ALLOC_FAILED", "not enough memory")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or any(s in text for s in signs):
        return "out_of_memory"
    lost = ("Connection closed by peer", "Connection reset by peer", "NCCL communicator was aborted")
    return "crash" if any(s in text for s in lost) else "error"


def place_of(error: BaseException) -> str:
    """``file.py:12``: where ``error`` was raised.

    The innermost line of a file that is no installed library's, else of this package, else of any.
    """
    import sysconfig
    import traceback

    frames = traceback.extract_tb(error.__traceback__)
    library = sysconfig.get_paths()["stdlib"]
    installed = {f.filename for f in frames if "site-packages" in f.filename or f.filename.startswith((library, "<"))}
    own = [f for f in frames if f.filename not in installed] or [f for f in frames if "uora_bench" in f.filename]
    frame = (own or frames)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


def nearest_path(path: str) -> str:
    """A tail for a message about a ``path`` that is not there: a like name in its folder, or from where it counts."""
    there = Path(path).expanduser()
    if there.exists():  # it is of the wrong kind
        return ""
    beside: list[str] = []
    with contextlib.suppress(OSError):  # a folder that is not there, or may not be read
        beside = [one.name for one in there.parent.iterdir()]
    close = difflib.get_close_matches(there.name, beside, n=1)
    if close:
        return f"; did you mean '{there.with_name(close[0])}'?"
    return "" if there.is_absolute() else f"; a relative path starts in the current folder, '{Path.cwd()}'"


def nearest(word: str, options: Iterable[str], limit: int = 8, synonyms: Mapping[str, str] | None = None) -> str:
    """A tail for an error message: ``; did you mean 'x'?`` or, when nothing is close, the list of valid names.

    Names that begin with ``word`` come before those that are spelt like it. ``synonyms``, for keys of a configuration:
    other names of the options; a close one is named with the option that it stands for. Of more than ``limit`` keys the
    list has those in the group of ``word``, else the groups and what is in none.
    """
    names = sorted(set(options) - {""})
    above = {name.rsplit(".", 1)[0] for name in names if "." in name}
    others = dict(synonyms or {})
    group, dot, tail = word.rpartition(".")
    if dot:  # a group (method, of which there is method.rank) is no answer to a dotted key
        names = [name for name in names if name not in above]
        others = {name: meaning for name, meaning in others.items() if "." in meaning}
    # a key given without its group ("rank"), or with the wrong one ("trainer.rank"); a name without its family ("rte")
    same = [n for n in names if n.rsplit(".", 1)[-1] == tail or n.rsplit("/", 1)[-1] == tail]
    close = difflib.get_close_matches(word, same, n=1, cutoff=0.0)
    if not close and len(word) >= _BEGINNING:
        close = [n for n in names if n.startswith(word) or any(p.startswith(word) for p in re.split("[./]", n))]
    inside = {n.rsplit(".", 1)[1]: n for n in (*others, *names) if group and n.rpartition(".")[0] == group}
    if not close and inside:  # its group is right, and makes nothing alike
        close = [inside[one] for one in difflib.get_close_matches(tail, inside, n=1, cutoff=0.6)]
    elif not close:
        close = difflib.get_close_matches(word, [*names, *others], n=1, cutoff=0.6)
    if not close:
        close = difflib.get_close_matches(tail, [n.rsplit(".", 1)[-1] for n in names], n=1, cutoff=0.6)
        close = [n for n in names if close and n.rsplit(".", 1)[-1] == close[0].rsplit(".", 1)[-1]][:1]
    if close:
        meant = [f"'{name}' ({others[name]})" if name in others else f"'{name}'" for name in close]
        return (
            f"; did you mean {' or '.join(meant[:_MEANT])}?"
            if len(meant) <= _MEANT
            else (f"; did you mean one of {', '.join(meant[:_MEANT])} …?")
        )
    if not names:
        return ""
    if synonyms is not None and len(names) > limit:
        own = [name for name in names if name in inside.values()]
        alone = [] if dot else sorted((n for n in names if "." not in n), key=lambda n: n not in above)
        groups = {f"{name.split('.')[0]}.…": None for name in names if "." in name and name.split(".")[0] not in alone}
        names, limit = own or [*alone, *groups], max(limit, _GROUPS)
    return "; valid: " + ", ".join(names[:limit]) + (" …" if len(names) > limit else "")

r"""Standard output and error whose failures never stop a command.

A reader may leave (``… | head``), the disk behind a log may fill up, a terminal may speak ASCII, a service may start
without any stream. None of these is a reason for a cell to fail or for a record to be missing. `guard` therefore puts
streams in place whose writes do not raise. Text that the encoding lacks is written as ``\u03b1``. Whether something
was lost is asked afterwards, with `lost`.
"""

from __future__ import annotations

import os
import sys
from typing import Any, TextIO, cast


class GuardedStream:
    """A text stream whose ``write`` and ``flush`` keep the first error instead of raising it; later text is dropped.

    All else is the stream's own (``isatty``, ``encoding``, ``fileno``, …).
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.error: OSError | None = None

    def write(self, text: str) -> int:
        """Write ``text`` unless an earlier write failed; returns its length either way."""
        if self.error is None:
            try:
                self._stream.write(text)
            except OSError as error:
                self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Flush unless an earlier write failed."""
        if self.error is None:
            try:
                self._stream.flush()
            except OSError as error:
                self._lose(error)

    def _lose(self, error: OSError) -> None:
        self.error = error
        # what is still in the buffer would raise again when Python closes the stream
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def guard() -> None:
    """Put guarded streams in the place of ``sys.stdout`` and ``sys.stderr``, for the rest of the process."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:  # closed: the next file that is opened would take its number, and get what is printed
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = cast(TextIO, GuardedStream(_escaping(sys.stdout, 1)))
    sys.stderr = cast(TextIO, GuardedStream(_escaping(sys.stderr, 2)))


def _escaping(stream: TextIO | None, number: int) -> TextIO:
    """``stream``, or that of file ``number`` where Python found none; what its encoding lacks is escaped."""
    if stream is None:
        return open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False)
    stream.reconfigure(errors="backslashreplace")  # type: ignore[attr-defined]
    return stream


def lost() -> str | None:
    """Why text for standard output was lost; None when it was not, or its reader left on purpose."""
    error = getattr(sys.stdout, "error", None)
    return None if error is None or isinstance(error, BrokenPipeError) else error.strerror

"""SIGTERM and SIGINT: finish the step, keep the checkpoint, leave with 128 + n."""

from __future__ import annotations

import signal
from types import FrameType

from uora_bench.errors import Interrupted


class StopRequest:
    """Holds the first signal that asked the run to stop.

    Until ``guard`` the signal raises `Interrupted` where it arrives (nothing is there to save yet); after it, the
    signal is only noted and the training loop calls `check` where it is safe to stop. A second signal does not wait.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.guarded = False

    def install(self) -> None:
        """Take over SIGTERM and SIGINT of this process."""
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._receive)

    def guard(self) -> None:
        """From now on signals are noted, not raised."""
        self.guarded = True

    def release(self) -> None:
        """Signals raise again where they arrive."""
        self.guarded = False
        self.check()

    def check(self) -> None:
        """Raise `Interrupted` if a signal has arrived."""
        if self.signum is not None:
            raise Interrupted(self.signum)

    def _receive(self, signum: int, frame: FrameType | None) -> None:
        second = self.signum is not None
        self.signum = signum
        if second or not self.guarded:
            raise Interrupted(signum)

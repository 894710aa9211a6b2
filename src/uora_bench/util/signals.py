"""SIGTERM and SIGINT: finish the step, keep the checkpoint, leave with 128 + n."""

from __future__ import annotations

import os
import signal
import time
from types import FrameType

from uora_bench.errors import Interrupted

# One request can arrive several times where several processes run: Slurm tells the launcher and every process of the
# step, and torchrun tells its processes again, also when the first of them has left.
_ECHO = 5.0  # seconds


class StopRequest:
    """Holds the first signal that asked the run to stop.

    Until ``guard`` the signal raises `Interrupted` where it arrives (nothing is there to save yet); after it, the
    signal is only noted and the training loop looks where it is safe to stop. A second signal does not wait; among
    several processes one within ``echo`` seconds of the first is the first once more.
    """

    def __init__(self) -> None:
        self.signum: int | None = None
        self.guarded = False
        # torchrun and Slurm send a signal more than once
        repeated = int(os.environ.get("WORLD_SIZE", "1")) > 1 or "SLURM_JOB_ID" in os.environ
        self.echo = _ECHO if repeated else 0.0
        self._first = 0.0

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
        now = time.monotonic()
        if self.signum is None:
            self.signum, self._first = signum, now
            if self.guarded:
                return
        elif now - self._first < self.echo:
            return
        raise Interrupted(signum)

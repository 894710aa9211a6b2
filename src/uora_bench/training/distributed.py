"""Several processes: that they are as many as were asked for, and that they leave together when one is told to.

A process that left alone would keep the others waiting in their next collective operation. So the processes count, at
places that all of them pass, how many were told to stop; what they decide on is that count, which is the same for all.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from typing import TYPE_CHECKING, Any

from uora_bench.errors import CellError, Interrupted, UserError
from uora_bench.records.attempts import PROCESSES

if TYPE_CHECKING:
    import torch

    from uora_bench.util.signals import StopRequest

SIGNALS = (signal.SIGTERM, signal.SIGINT)
_LINGER = 1.0  # seconds that the others leave after the first process


def check(running: int) -> None:
    """Hold the number of processes that share the work against what the launcher says it started.

    Some launchers run one process, or several that know nothing of each other, and report success.

    Raises:
        CellError: when they differ.
        UserError: when ``UORA_PROCESSES`` is not a number.
    """
    asked = os.environ.get(PROCESSES)
    if asked is None:
        return
    if not asked.isdecimal() or not int(asked):
        raise UserError(f"{PROCESSES}='{asked}' must be a number of processes; unset it, or start with torchrun")
    if int(asked) != running:
        raise CellError(
            f"asked for {asked} processes, {running} run ({PROCESSES}); a launcher that works is torchrun "
            f"--nproc_per_node {asked} -m uora_bench …"
        )


class Count:
    """The sum of the votes of all processes, which may still be in transfer.

    Reading it waits for this sum alone, not for work that the device was given later.
    """

    def __init__(self, votes: torch.Tensor, work: Any = None) -> None:
        import torch

        self._work, self._event, self._votes = work, None, votes
        if votes.device.type == "cuda":
            self._votes = torch.empty(votes.shape, dtype=votes.dtype, pin_memory=True)
            self._votes.copy_(votes, non_blocking=True)
            self._event = torch.cuda.Event()
            self._event.record()

    def signum(self) -> int | None:
        """The signal that at least one process got, the same answer for all; None: go on."""
        if self._work is not None:
            self._work.wait()
        if self._event is not None:
            self._event.synchronize()
        return next((int(s) for s, votes in zip(SIGNALS, self._votes.tolist(), strict=True) if votes), None)


class StopConsensus:
    """The vote of this process (``stop``) and the count over all. With one process nothing is sent anywhere."""

    def __init__(self, stop: StopRequest, accelerator: Any) -> None:
        self.stop, self.accelerator = stop, accelerator
        self.alone = accelerator.num_processes == 1
        self._added: Count | None = None
        self._side: Any = None  # a CUDA stream, so that a vote does not wait for the batches given to the device before

    def begin(self) -> None:
        """From now on signals are noted, in every process before any of them goes on.

        One that was told before and left by itself would leave the others waiting. Raises `Interrupted` where that
        happens to another process while this one, told too, waits for it.
        """
        import torch

        self.stop.guard()
        if not self.alone:
            try:
                torch.distributed.barrier()
            except RuntimeError:
                self.stop.check()
                raise

    def add(self, total: torch.Tensor) -> torch.Tensor:
        """``total`` (a scalar) summed over all processes, on their device; the votes ride along, for `asked`."""
        import torch

        device = self.accelerator.device
        if self.alone:
            return total.to(device)
        both = torch.cat((total.reshape(1), self._vote().to(total.dtype))).to(device)
        both = self.accelerator.reduce(both, "sum")
        self._added = Count(both[1:])
        return both[0]

    def asked(self) -> int | None:
        """The signal that some process had before the latest `add`.

        Asked at the end of a training step, whose beginning `add` was: what is waited for is then that beginning, and
        the device still has the rest of the step to do.
        """
        if self.alone:
            return self.stop.signum
        return None if self._added is None else self._added.signum()

    def cast(self) -> Count | None:
        """Vote now, and look at the count later; every process must call it equally often. None: there is one."""
        import torch

        if self.alone:
            return None
        device = self.accelerator.device
        if device.type != "cuda":
            votes = self._vote().to(device)
            return Count(votes, torch.distributed.all_reduce(votes, async_op=True))
        if self._side is None:
            self._side = torch.cuda.Stream()
        with torch.cuda.stream(self._side):
            votes = self._vote().to(device)
            torch.distributed.all_reduce(votes)
            return Count(votes)

    def now(self) -> int | None:
        """The signal that some process has; waits for all of them."""
        return self.stop.signum if (count := self.cast()) is None else count.signum()

    def settle(self) -> None:
        """Wait for all processes before this one leaves: its end would cut off what another still receives."""
        import torch

        if not self.alone:
            with contextlib.suppress(RuntimeError):  # another has left: there is nothing to wait for
                torch.distributed.barrier()
            if not self.accelerator.is_main_process:
                time.sleep(_LINGER)

    def _vote(self) -> torch.Tensor:
        import torch

        return torch.tensor([float(self.stop.signum == s) for s in SIGNALS])


class StopChecks:
    """Votes in a loop of which every process makes the same number of rounds.

    ``late``: rounds between a vote and the look at its count; 0 keeps the processes in step, 1 costs no waiting.
    """

    def __init__(self, consensus: StopConsensus | None, late: int) -> None:
        self._ballot, self._late = consensus, late
        self._cast: list[Count] = []

    def round(self) -> None:
        """Vote; raises `Interrupted`, in every process in the same round, when one had been asked to stop."""
        if self._ballot is None:
            return
        count = self._ballot.cast()
        if count is None:
            self._ballot.stop.check()
            return
        self._cast.append(count)
        self._look(self._late)

    def close(self) -> None:
        """Look at the votes whose count is still open."""
        self._look(0)

    def _look(self, left: int) -> None:
        while len(self._cast) > left:
            signum = self._cast.pop(0).signum()
            if signum is not None:
                raise Interrupted(signum)


def put_back(sums: torch.Tensor, kept: torch.Tensor, accelerator: Any) -> None:
    """``kept`` are the ``sums`` of each process that saved them; where those were as many, each takes its own."""
    rows, processes = kept.reshape(-1, 2), accelerator.num_processes
    sums.copy_(rows[accelerator.process_index] if len(rows) == processes else rows.sum(dim=0) / processes)

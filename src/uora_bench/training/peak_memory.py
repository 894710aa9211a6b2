"""The most memory that this process took, of its GPU or of the machine."""

from __future__ import annotations

from contextlib import suppress


def peak_memory() -> tuple[int, str]:
    """(bytes, kind): peak memory since the last `reset_peak_memory`.

    On a GPU the most memory allocated, on a CPU the largest resident size of the process; since the start where the
    system cannot reset it.
    """
    import torch

    if torch.cuda.is_available():
        return int(torch.cuda.max_memory_allocated()), "cuda_allocated"
    return resident_peak(), "resident"


def resident_peak() -> int:
    """Bytes: this process's largest resident size, since the last `reset_resident_peak` where that is possible."""
    import resource
    import sys

    # getrusage, after vfork and exec, knows no less than the parent's peak; the kernel's own file knows this process's
    with suppress(OSError), open("/proc/self/status", encoding="ascii", errors="replace") as file:
        for line in file:
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def reset_peak_memory() -> None:
    """Let `peak_memory` begin anew, where the system can (GPUs; Linux)."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return
    reset_resident_peak()


def reset_resident_peak() -> None:
    """Let `resident_peak` begin anew, on Linux."""
    # where it cannot, the figure stays an upper bound
    with suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")

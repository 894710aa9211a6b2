"""The places of one machine where a cell can run: slots on GPUs, or on cores. Found without torch."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from uora_bench.errors import UserError


@dataclass(frozen=True)
class Allocation:
    """Devices that one cell holds: names of GPUs, or cores by number."""

    devices: tuple[str, ...]
    environment: Mapping[str, str]
    shared: bool  # other cells may run on the same device meanwhile
    name: str


@dataclass
class Slots:
    """``capacity`` cells on each of ``devices``; ``take`` and ``give`` them."""

    kind: str  # gpu | cpu
    devices: Sequence[str]
    capacity: int
    threads: int
    used: dict[str, int] = field(default_factory=dict)

    @property
    def total(self) -> int:
        """How many cells can run at the same time."""
        return len(self.devices) * self.capacity

    @property
    def environment(self) -> dict[str, str]:
        """What a cell on cores finds in its environment, whichever cores it is given."""
        return {"OMP_NUM_THREADS": str(self.threads), "CUDA_VISIBLE_DEVICES": ""}

    def take(self, processes: int) -> Allocation | None:
        """Devices for a cell of ``processes`` processes, the emptiest first, each process on one of its own.

        None while there are not enough.
        """
        free = sorted((self.used.get(d, 0), i, d) for i, d in enumerate(self.devices))
        chosen = [d for used, _, d in free if used < self.capacity][:processes]
        if len(chosen) < processes:
            return None
        for device in chosen:
            self.used[device] = self.used.get(device, 0) + 1
        if self.kind == "cpu":
            return Allocation(
                tuple(chosen), self.environment, len(self.devices) > processes, f"core {', '.join(chosen)}"
            )
        environment = {"CUDA_VISIBLE_DEVICES": ",".join(chosen)}
        return Allocation(tuple(chosen), environment, self.capacity > 1, f"gpu {', '.join(chosen)}")

    def give(self, place: Allocation) -> None:
        """Take back what `take` gave."""
        for device in place.devices:
            self.used[device] -= 1


def find(gpus: Any, slots_per_gpu: int, cpu_slots: int | None, threads: int) -> Slots:
    """The slots of this machine.

    ``gpus``: "auto" (all there are, else the cores), "none", or a list of indices.

    Raises:
        UserError: for GPUs that are not there.
    """
    there = [] if gpus == "none" else visible_gpus()
    if gpus not in ("auto", "none"):
        wanted = [str(g) for g in (gpus if isinstance(gpus, (list, tuple)) else [gpus])]
        missing = [g for g in wanted if g not in there]
        if missing:
            known = ", ".join(there) or "none"
            raise UserError(f"launcher.gpus={','.join(wanted)}: no GPU {', '.join(missing)} here; there are: {known}")
        there = wanted
    if there:
        return Slots("gpu", there, slots_per_gpu, threads)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    count = cpu_slots if cpu_slots is not None else max(1, cores // threads)
    return Slots("cpu", [str(i) for i in range(count)], 1, threads)


def visible_gpus() -> list[str]:
    """The GPUs a cell could use: those of CUDA_VISIBLE_DEVICES, else those that nvidia-smi lists."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [] if named.strip() in ("", "-1", "NoDevFiles") else [n.strip() for n in named.split(",") if n.strip()]
    command = ["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines() if line.strip()] if done.returncode == 0 else []

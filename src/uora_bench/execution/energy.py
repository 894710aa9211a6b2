"""Energy as counters of the hardware measured it: NVML's of every visible GPU, else RAPL's of the processor's packages.

Where neither can be read there is no number: nothing here estimates. The counters are of the whole device, so that
other programs on it are in the number too.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from uora_bench.records.record import Energy

POWERCAP = Path("/sys/class/powercap")
_EVERY = 60.0  # seconds: a package's counter starts again from 0 within minutes, and one round must not be missed


class Meter:
    """Reads the counters from its making to `stop`, in a thread of its own."""

    def __init__(self, powercap: Path = POWERCAP, every: float = _EVERY) -> None:
        self._source, self._counters, self._ranges = _counters(powercap)
        self._joules, self._problem, self._last = 0.0, "", [0.0] * len(self._counters)
        self._last = self._read()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, args=(every,), daemon=True)
        if self._counters:
            self._thread.start()

    def stop(self, restarts: int = 0) -> Energy:
        """The energy since the beginning; none for a run with ``restarts``, whose earlier starts took some too."""
        self._ended.set()
        if not self._counters:
            return Energy(None, self._source)
        self._thread.join()
        self._add()
        if self._problem:
            return Energy(None, f"not measured: {self._problem}")
        if restarts:
            return Energy(None, f"not measured: {self._source} knows only the last of {restarts + 1} starts")
        return Energy(round(self._joules, 3), self._source)

    def _watch(self, every: float) -> None:
        while not self._ended.wait(every):
            self._add()

    def _add(self) -> None:
        now = self._read()
        for before, after, span in zip(self._last, now, self._ranges, strict=False):
            self._joules += after - before + (span if after < before else 0.0)
        self._last = now

    def _read(self) -> list[float]:
        try:
            return [counter() for counter in self._counters]
        except Exception as error:  # noqa: BLE001 - a driver may say no in its own words; training goes on
            self._problem = f"{self._source} could not be read ({' '.join(str(error).split())[:100]})"
            return self._last


def _counters(powercap: Path) -> tuple[str, Sequence[Callable[[], float]], Sequence[float]]:
    """(source, counters in joules, the value at which each starts again); without counters the source says why."""
    import torch

    if torch.cuda.is_available():
        try:
            import pynvml

            pynvml.nvmlInit()
            handles = [_handle(pynvml, i) for i in range(torch.cuda.device_count())]
            read = pynvml.nvmlDeviceGetTotalEnergyConsumption
            found = [lambda h=h: read(h) / 1000 for h in handles]
            _ = [one() for one in found]
        except Exception as error:  # noqa: BLE001 - not installed, or a GPU without the counter: both are said
            return f"not measured: NVML cannot be read ({' '.join(str(error).split())[:100]})", (), ()
        return "nvml", found, [0.0] * len(found)
    paths = sorted(p for p in powercap.glob("intel-rapl:*") if p.name.count(":") == 1)
    try:
        spans = [int((p / "max_energy_range_uj").read_text()) / 1e6 for p in paths]
        counters = [lambda p=p: int((p / "energy_uj").read_text()) / 1e6 for p in paths]
        _ = [one() for one in counters]
    except (OSError, ValueError) as error:
        return f"not measured: RAPL cannot be read ({type(error).__name__})", (), ()
    if not paths:
        return "not measured: no NVML, no RAPL", (), ()
    return "rapl", counters, spans


def _handle(pynvml: Any, index: int) -> Any:
    """NVML numbers all GPUs of the machine, torch the visible ones: the UUID is common to both."""
    import torch

    uuid = str(torch.cuda.get_device_properties(index).uuid)
    return pynvml.nvmlDeviceGetHandleByUUID(uuid if uuid.startswith("GPU-") else f"GPU-{uuid}")

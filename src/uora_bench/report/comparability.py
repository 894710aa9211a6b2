"""What has to be known to compare seconds and memory of finished cells."""

from __future__ import annotations

from collections.abc import Iterable

from uora_bench.report.collect import Run


def clock(runs: Iterable[Run]) -> str:
    """Whether seconds can be compared at all."""
    runs = [run for run in runs if run.status == "done"]
    launches = [run.record.provenance.launch for run in runs]
    shared = sum(launch is not None and launch.shared for launch in launches)
    unknown = sum(launch is None for launch in launches)
    machines = _machines(runs)
    text = []
    if shared:
        text.append(f"{shared} of {len(runs)} cells shared their machine with others")
    if unknown:
        some = "the cells" if unknown == len(runs) else f"{unknown} of {len(runs)} cells"
        text.append(f"whether {some} had their machine to themselves is not recorded")
    if len(machines) > 1:
        text.append(f"the cells ran on {len(machines)} kinds of processor")
    if not text:
        return ""
    verdict = "seconds are not to be compared" if shared or len(machines) > 1 else "compare seconds with care"
    sentence = "; ".join(text)
    return f"{sentence[0].upper()}{sentence[1:]}: {verdict}."


def _machines(runs: Iterable[Run]) -> set[str]:
    found = set()
    for run in runs:
        hardware = run.record.provenance.hardware
        found.add(str(hardware.gpus or hardware.processor or "unknown"))
    return found


KINDS = {
    "resident": "resident memory of the whole process, in which the framework itself has a share",
    "cuda_allocated": "memory allocated on the GPU",
}


def memory(runs: Iterable[Run]) -> str:
    """What was measured as peak memory."""
    kinds = sorted({run.record.peak_memory_kind or "" for run in runs if run.status == "done"} - {""})
    if len(kinds) > 1:
        return f"Memory was measured in several ways ({', '.join(kinds)}): it is not to be compared."
    return f"Peak of {KINDS.get(kinds[0], kinds[0])}." if kinds else ""

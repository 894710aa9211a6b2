"""Where and with what a cell was run: git, versions, hardware. Facts for the record, no machine names or paths."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uora_bench.util import launched

PACKAGES = (
    "uora_bench",
    "torch",
    "transformers",
    "datasets",
    "accelerate",
    "tokenizers",
    "numpy",
    "scikit-learn",
    "scipy",
    "peft",
    "bitsandbytes",
)


# not for a public record
PATHS = (
    "data.root=", "results.dir=", "runs.dir=", "backbone.path=", "init_from=", "task.metric.name=/", "expect_cell_id=",
    "task.path=",
)  # fmt: skip
SNAPSHOT = "snapshot.json"  # beside src/ of a copy that `uora_bench.grid.launch.snapshot` made


@dataclass(frozen=True)
class Git:
    """The code's commit, and whether src/ or configs/ differed from it; None where the package is no checkout."""

    commit: str | None = None
    dirty: bool | None = None


@dataclass(frozen=True)
class Hardware:
    """What computed.

    ``instructions``: the widest set of the processor that torch uses, what it has for bfloat16, and environment
    variables that narrow the libraries' choice; ``threads``: of torch on the CPU, which decide a CPU run's timing;
    ``gpus``: the name of each.
    """

    machine: str | None = None
    processor: str | None = None
    instructions: str | None = None  # None in records older than the field
    cores: int | None = None
    threads: int | None = None
    gpus: tuple[str, ...] = ()
    cuda: str | None = None


@dataclass(frozen=True)
class DeclaredMargin:
    """``table.margin`` of the preset when the cell was launched.

    ``row``: the settings by which the preset names the reference row (empty: it names none); ``rule``: of the table.
    Both are None in records older than the fields.
    """

    points: float
    reference: str
    row: dict[str, Any] | None = None
    rule: str | None = None


@dataclass(frozen=True)
class Launch:
    """How a launcher started the run.

    ``shared``: other cells used the device at the same time, so seconds cannot be compared. ``plan``: the hash of the
    cells and the margin that were planned.
    """

    launcher: str
    shared: bool
    earlier_failures: tuple[str, ...] = ()  # of this cell, as "kind: reason"
    plan: str | None = None  # None: older than the field
    margin: DeclaredMargin | None = None  # None: none was declared


@dataclass(frozen=True)
class Failure:
    """Of a failed cell. ``smaller_batch``: smaller micro-batches may help (False: they are part of the cell)."""

    kind: str
    smaller_batch: bool = True
    written_by: str | None = None  # the launcher, where the cell itself left no record


@dataclass(frozen=True)
class Judge:
    """Who graded the answers to MT-Bench."""

    model: str
    prompts: str


@dataclass(frozen=True)
class PredictionsFile:
    """The predictions of every item (`uora_bench.records.predictions`).

    ``left_out``: why the file, or a column of it, is not there.
    """

    sha256: str | None = None  # of the file; None: there is none
    size: int | None = None  # bytes
    left_out: str | None = None


@dataclass(frozen=True)
class PluginSource:
    """A plug-in that had a part in a cell. ``sha256``: of its Python files."""

    version: str | None
    sha256: str
    gave: tuple[str, ...]  # what the cell took from it: "methods/my_lora", "task/reviews" …


@dataclass(frozen=True)
class Provenance:
    """How a record came about; what is not known is not in the file."""

    git: Git = Git()
    versions: dict[str, str] = field(default_factory=dict)  # package -> version
    hardware: Hardware = Hardware()
    launch: Launch | None = None  # None: no launcher
    data: dict[str, str] = field(default_factory=dict)  # role of a split -> hash of its rows; part of the cell_id
    data_files: dict[str, str] = field(default_factory=dict)  # file in data.root -> hash of its bytes
    data_rows: dict[str, str] = field(default_factory=dict)  # small file of the user's own -> hash of all its rows
    rows_from: str | None = None  # hub, mirror (of the Hub's), files (unverified), … (`data.sources.Source.origin`)
    source: dict[str, Any] = field(default_factory=dict)  # where the rows came from (`config.data_source.DataSource`)
    settled: dict[str, Any] = field(default_factory=dict)  # options of the task that the data decided: labels, …
    backbone: dict[str, Any] = field(default_factory=dict)  # name, id, revision or commit, hash of the weights
    trainer: dict[str, Any] = field(default_factory=dict)  # all of it: the cell holds what decides the result
    plugins: dict[str, PluginSource] = field(default_factory=dict)  # by name
    command: tuple[str, ...] = ()  # the words of the command line, without paths
    init_from: str | None = None  # cell_id of the cell whose adapter this one started from
    forward: dict[str, int] = field(default_factory=dict)  # path of the forward pass -> number of wrapped maps
    cpu_ops: dict[str, str] = field(default_factory=dict)  # operations replaced on a CPU
    outputs: dict[str, str] = field(default_factory=dict)  # split -> file beside the record with the texts written
    predictions: PredictionsFile | None = None  # None: the record is older than the field
    too_long: dict[str, int] = field(default_factory=dict)  # role -> rows that the option task.too_long cut or left out
    stopped_early: int | None = None  # the optimizer step at which trainer.patience ended the run
    merge_check: str | None = None  # why the merged model was not compared, or how it differs
    failure: Failure | None = None
    judge: Judge | None = None  # of grades beside the record: added by reports, not in the file
    remark: str | None = None  # what was found out about it later; tables print it
    migrated_from: str | None = None  # the cell_id before `records migrate`; names the run folder and the W&B run
    started: str | None = None  # UTC, ISO 8601
    finished: str | None = None


def collect() -> dict[str, Any]:
    """What made the run: code, versions, hardware and launcher.

    The git commit and whether files were changed, versions of the libraries that compute, the hardware, and what the
    launcher reports (``UORA_LAUNCH``: which one, whether other cells shared the device, failures before this start).
    """
    import torch

    # a wheel's metadata leaves the CUDA build out
    facts = {"git": git_state(), "versions": versions() | {"torch": str(torch.__version__)}, "hardware": hardware()}
    launch = os.environ.get(launched.LAUNCH)
    return {**facts, "launch": json.loads(launch)} if launch else facts


def git_state() -> dict[str, Any]:
    """Commit of the checkout this package runs from and whether src/ or configs/ differ from it.

    For a snapshot what was so when it was made; nulls for a wheel.
    """
    folder = Path(__file__).resolve().parents[1]
    snapshot = folder.parents[1] / SNAPSHOT
    if folder.parent.name == "src" and snapshot.is_file():
        facts = json.loads(snapshot.read_text(encoding="utf-8"))
        return {"commit": facts["commit"], "dirty": facts["dirty"]}
    commit = _git(folder, "rev-parse", "HEAD")
    if commit is None or _git(folder, "ls-files", "--error-unmatch", "__init__.py") is None:
        return {"commit": None, "dirty": None}
    # what decides a result: code and configuration, files not yet known to git included
    status = _git(folder, "status", "--porcelain", "--", ":(top)src", ":(top)configs")
    return {"commit": commit, "dirty": bool(status)}


def versions() -> dict[str, str]:
    """The versions of Python and of the installed `PACKAGES`, by name."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def hardware() -> dict[str, Any]:
    """The facts of `Hardware`."""
    import torch

    facts: dict[str, Any] = {
        "machine": platform.machine(),
        "processor": processor(),
        "instructions": " ".join([torch.backends.cpu.get_cpu_capability(), *_for_bfloat16(), *_narrowed()]),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    if torch.cuda.is_available():
        facts["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        facts["cuda"] = torch.version.cuda
    return facts


def processor() -> str:
    """The model name of the CPU; the architecture where the system gives none."""
    return _cpuinfo("model name") or platform.processor() or platform.machine()


def _for_bfloat16() -> list[str]:
    """Which instructions for products in bfloat16 the processor has."""
    flags = _cpuinfo("flags").split()
    return [name for name in ("avx512_bf16", "amx_bf16") if name in flags]


def _narrowed() -> list[str]:
    """What the environment says of the instructions that oneDNN and MKL may use."""
    names = ("ONEDNN_MAX_CPU_ISA", "DNNL_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")
    return [f"{name}={os.environ[name]}" for name in names if os.environ.get(name)]


def _cpuinfo(name: str) -> str:
    """What Linux says of the first processor under ``name``; "" elsewhere."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
            pairs = (line.split(":", 1) for line in lines if ":" in line)
            return next((value.strip() for key, value in pairs if key.strip() == name), "")
    except OSError:
        return ""


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None

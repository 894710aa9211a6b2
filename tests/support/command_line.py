"""The real command line in a process of its own, with the surroundings of a user who has no network."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

# what the commands that only read or explain do not import
HEAVY = ("torch", "transformers", "datasets", "wandb", "evaluate", "hydra", "accelerate")

Result = subprocess.CompletedProcess[str]


def environment(root: Path) -> dict[str, str]:
    """The surroundings of a user without a network, a key or a data folder."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "UORA_", "RANK", "WORLD_SIZE"))}
    fixed = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    return {**kept, **fixed, "PYTHONPATH": str(root / "src"), "NETRC": os.devnull}


def last_of_each(*words: str) -> list[str]:
    """``words`` without those that a later one of the same key replaces: a command line takes a key once."""
    return list({word.partition("=")[0]: word for word in words}.values())


def start(folder: Path, root: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "uora_bench", *words]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=folder, env=environment(root), text=True, **pipes)


def finish(process: subprocess.Popen[str], seconds: float = 240) -> Result:
    try:
        out, err = process.communicate(timeout=seconds)
    finally:
        process.kill()
    out, err = out or "", err or ""
    assert "Traceback" not in out + err, err
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def one_line(result: Result, code: int = 2) -> str:
    assert result.returncode == code, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert result.stdout == ""
    return lines[0]


def only_record(folder: Path) -> Path:
    (path,) = folder.glob("results/records/*/*.json")
    return path

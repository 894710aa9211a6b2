"""The real command line in a process of its own (`tests.support.warm`), as a user without a network has it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.support import warm
from tests.support.warm import environment

# what the commands that only read or explain do not import
HEAVY = ("torch", "transformers", "datasets", "wandb", "evaluate", "hydra", "accelerate")

Result = subprocess.CompletedProcess[str]


def last_of_each(*words: str) -> list[str]:
    """``words`` without those that a later one of the same key replaces: a command line takes a key once."""
    kept: dict[str, str] = {}
    for word in words:
        key = word.partition("=")[0]
        kept.pop(key, None)
        kept[key] = word
    return list(kept.values())


def start(folder: Path, root: Path, *words: str) -> warm.Process:
    """The command line in ``folder``, as a copy of a warm process."""
    return warm.start([sys.executable, "-m", "uora_bench", *words], folder, environment(root))


def start_cold(folder: Path, root: Path, *words: str) -> subprocess.Popen[str]:
    """The same in a process that has to import everything first, for what is about the start or about pipes."""
    return warm.start_cold([sys.executable, "-m", "uora_bench", *words], folder, environment(root))


def finish(process: warm.Process, seconds: float = 240) -> Result:
    result = warm.finish(process, seconds)
    assert "Traceback" not in result.stdout + result.stderr, result.stderr
    return result


def one_line(result: Result, code: int = 2) -> str:
    assert result.returncode == code, result.stderr
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert result.stdout == ""
    return lines[0]


def only_record(folder: Path) -> Path:
    (path,) = folder.glob("results/records/*/*.json")
    return path

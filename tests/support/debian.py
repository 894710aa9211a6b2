"""Programs that a test needs and Debian has, installed where that is possible: one process at a time."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock


def install(find: Callable[[], str | None], *packages: str) -> str:
    """Install ``packages`` unless ``find`` finds the program; returns "" or why that failed, in one line."""
    names = " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        return f"it takes root and apt-get to install it: apt-get install {names}"
    # tests run in several processes, and apt-get does not wait for another's list of packages
    with FileLock(Path(tempfile.gettempdir()) / "uora-apt-get.lock"):
        return "" if find() else _install(find, packages)


def _install(find: Callable[[], str | None], packages: tuple[str, ...]) -> str:
    for words in (["update"], ["install", "-y", "--no-install-recommends", *packages]):
        done = subprocess.run(
            ["apt-get", "-q", "-o", "DPkg::Lock::Timeout=200", *words], capture_output=True, text=True, timeout=400,
            env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"}, errors="replace",
        )  # fmt: skip
        if done.returncode != 0:
            return f"apt-get {words[0]} failed: {' '.join(done.stderr.split())[-200:]}"
    return "" if find() else f"apt-get installed {' '.join(packages)}, but no such program is found"

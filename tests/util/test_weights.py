"""The hash of what lies beside the weights in a model's folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from uora_bench.util import weights


@pytest.mark.parametrize(
    "name", ["config.json", "merges.txt", "bpe.codes", "tokenizer.model.v3", "vocab", "modeling.py"]
)
def test_a_file_that_a_run_may_read_is_part_of_it(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("a")
    before = weights.sha256_of_rest(tmp_path)
    (tmp_path / name).write_text("b")
    assert before is not None
    assert weights.sha256_of_rest(tmp_path) != before


@pytest.mark.parametrize("name", ["README.md", "model.safetensors", "optimizer.pt", ".cache", "train.log", "PLOT.PNG"])
def test_a_file_that_no_run_reads_is_not(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("a")
    assert weights.sha256_of_rest(tmp_path) is None

"""What is found out after training never costs the scores: the record is written, and says what was found."""

from __future__ import annotations

from pathlib import Path

import pytest

from uora_bench.cli.main import main
from uora_bench.methods.base import AdapterLayer
from uora_bench.records.record import read_record

SHORT = (
    "method=lora", "task=tiny/nli", "recipe=none", "tracker=none", "trainer.max_steps=1", "trainer.batch_size=4",
    "trainer.precision=float32", "task.splits.train=train[:8]", "task.splits.dev=validation[:8]",
    "task.splits.test=null",
)  # fmt: skip


def shifted(layer: AdapterLayer) -> None:
    layer._original = (layer.base.weight.data, None)
    layer.base.weight.data = layer.base.weight.data + 1


def infinite(layer: AdapterLayer) -> None:
    layer._original = (layer.base.weight.data, None)
    layer.base.weight.data = layer.base.weight.data * float("nan")


def broken(layer: AdapterLayer) -> None:
    raise RuntimeError("no\nroom")


@pytest.mark.parametrize(
    ("merge", "part"), [(shifted, "the logits differ by"), (infinite, "not finite"), (broken, "RuntimeError: no room")]
)
def test_a_failed_merge_check_keeps_scores_and_weights(
    merge: object, part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("uora_bench.util.signals.StopRequest.install", lambda self: None)
    monkeypatch.setattr(AdapterLayer, "merge", merge)
    assert main(list(SHORT)) == 0
    (path,) = tmp_path.glob("results/records/scratch/*.json")
    record = read_record(path)
    assert record.status == "done"
    assert "accuracy" in record.scores["last"].scores["dev"]
    assert part in (record.provenance.merge_check or "")
    assert "the check that merging changes no logits failed" in capsys.readouterr().err
    assert len(list(tmp_path.glob("runs/scratch/*/*.safetensors"))) == 2

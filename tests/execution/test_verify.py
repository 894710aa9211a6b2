"""A recorded cell is run again: the same, some items otherwise, other data; and nothing that is verified is touched."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support import own_files
from uora_bench.cli.main import main
from uora_bench.records.predictions import predictions_path, read_predictions, write_predictions
from uora_bench.records.record import read_records

WORDS = ["method=lora", "recipe=none", "task=text/local", "backbone=tiny_roberta", "task.max_length=40",
         "trainer.batch_size=8", "trainer.max_steps=3", "trainer.precision=float32", "tracker=none"]  # fmt: skip

SET = ", ".join(word.replace("=", ": ", 1) for word in WORDS[1:])


def state(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_cell_is_run_again_and_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    own_files.write(tmp_path / "reviews.csv", own_files.reviews(80))
    assert main([*WORDS, "task.path=reviews.csv"]) == 0
    folder = tmp_path / "results" / "records" / "scratch"
    (record,) = read_records(folder)
    verify = ["verify", record.cell_id[:8], "task.path=reviews.csv"]

    before = state(tmp_path)
    capsys.readouterr()
    assert main(verify[:2]) == 0  # the run folder knows where the rows were
    out, err = capsys.readouterr()
    assert "identical bytes: predictions, and every epoch's loss and scores" in out
    assert "taken from where the cell was made: task.path=reviews.csv\n" in err
    assert state(tmp_path) == before
    assert main([*verify[:2], "runs.dir=gone"]) == 2
    assert "name them with task.path=<file or folder>" in capsys.readouterr().err

    parts = read_predictions(record, folder)
    flipped = [
        replace(p, prediction=np.where(np.arange(len(p.item)) < 2, 1 - p.prediction, p.prediction)) for p in parts
    ]
    file = write_predictions(predictions_path(folder, record.cell_id), flipped, 10**6)
    other = replace(record.provenance, predictions=file, hardware=replace(record.provenance.hardware, processor="Z80"))
    replace(record, provenance=other).write(folder)
    before = state(tmp_path)
    assert main(verify) == 1
    said = capsys.readouterr().out
    assert "2 of 8 items of dev, epoch 1 differ" in said
    assert "another processor: " in said
    assert "the record's is Z80" in said
    assert state(tmp_path) == before

    predictions_path(folder, record.cell_id).write_bytes(b"another file")
    assert main(verify) == 2
    assert "is not the file that its record was written with" in capsys.readouterr().err

    replace(record, provenance=replace(record.provenance, predictions=None)).write(folder)
    assert main(verify) == 0
    said = capsys.readouterr().out
    assert "no predictions to compare: made before predictions were kept" in said
    assert "identical: every epoch's loss and scores" in said

    (tmp_path / "uora_plugins/configs/experiment").mkdir(parents=True)  # the file of a grid knows it too
    text = f"name: scratch\ntitle: t\nnote: n\naxes: {{method: [lora]}}\nset: {{task.path: reviews.csv, {SET}}}\n"
    (tmp_path / "uora_plugins/configs/experiment/scratch.yaml").write_text(text, "utf-8")
    assert main([*verify[:2], "runs.dir=gone"]) == 0
    own_files.write(tmp_path / "reviews.csv", own_files.reviews(81))
    assert main(verify) == 2
    assert f"not {record.cell_id} (expect_cell_id)" in capsys.readouterr().err

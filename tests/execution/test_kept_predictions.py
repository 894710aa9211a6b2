"""What a cell leaves of its predictions: every score of the record can be computed again from the file beside it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import uora_bench
from tests.support import own_files
from uora_bench.cli.main import main
from uora_bench.metrics import load_metric
from uora_bench.records.predictions import read_predictions, why_no_predictions
from uora_bench.records.record import read_records
from uora_bench.records.selection import kept_epochs

SHORT = ["method=lora", "recipe=none", "trainer.batch_size=8", "trainer.epochs=2", "trainer.precision=float32",
         "tracker=none"]  # fmt: skip
OWN = ["backbone=tiny_gpt2", "task.max_length=96", "task.max_new_tokens=4", "task.template='{question}?'"]
NLI = ["task=tiny/nli", "task.splits.train=train[:16]", "task.splits.dev=validation[:40]",
       "task.splits.test=test[:24]"]  # fmt: skip
MEANINGS = ["task=tiny/restaurants", "task.splits.train=train[:16]", "task.splits.dev=validation[:40]",
            "task.splits.test=null", "task.max_new_tokens=4", "task.beams=1"]  # fmt: skip
INSTRUCT = ["task=tiny/instruct", "task.splits.train=train[:16]", "task.splits.dev=validation[:20]",
            "task.too_long=drop", "task.max_length=40"]  # fmt: skip
DIGITS = ["task=tiny/digits", "task.splits.train=train[:16]", "task.splits.dev=test[:30]"]
CHOICES = ["task=text/generate", "task.path=quiz.jsonl", "task.choices=options", *OWN]
WRITTEN = ["task=text/generate", "task.path=quiz.jsonl", *OWN]
NUMBERS = ["task=text/local", "task.path=stars.csv", "backbone=tiny_roberta", "task.max_length=40",
           "task.label=stars"]  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    own_files.write(tmp_path / "quiz.jsonl", own_files.quiz())
    stars = [{"text": row["text"], "stars": i / 8} for i, row in enumerate(own_files.reviews())]
    own_files.write(tmp_path / "stars.csv", stars)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def only_one(folder: Path):
    place = folder / "results" / "records" / "scratch"
    (record,) = read_records(place)
    return record, place


@pytest.mark.parametrize(
    ("words", "logits"),
    [
        (NLI, 3),
        (CHOICES, 3),
        pytest.param(MEANINGS, None, marks=pytest.mark.slow),
        pytest.param(INSTRUCT, None, marks=pytest.mark.slow),
        pytest.param(DIGITS, 5, marks=pytest.mark.slow),
        pytest.param(WRITTEN, None, marks=pytest.mark.slow),
        pytest.param(NUMBERS, None, marks=pytest.mark.slow),
    ],
    ids=["nli", "choices", "meanings", "instruct", "digits", "written", "numbers"],
)
def test_every_score_can_be_computed_again_from_the_predictions(
    words: list[str], logits: int | None, here: Path
) -> None:
    assert main([*SHORT, *words]) == 0
    record, folder = only_one(here)
    parts = {(p.epoch, p.split): p for p in read_predictions(record, folder)}
    assert sorted(parts) == kept_epochs(record.epochs, record.metric)
    metric = load_metric(record.metric.name)
    options = {"meteor": False} if record.metric.name == "e2e/e2e" else {}
    for (epoch, split), part in parts.items():
        scores = metric.compute(predictions=part.prediction, references=part.reference, **options)
        (known,) = (e.scores[split] for e in record.epochs if e.epoch == epoch)
        assert {k: v for k, v in scores.items() if k != "absent"}.items() <= known.items()
        assert len(set(part.item.tolist())) == len(part.item)
        assert (part.logits.shape[1] if part.logits is not None else None) == logits
        if logits is not None:
            assert (part.logits.argmax(axis=1) == part.prediction).mean() > 0.9  # float16 may tie
    frame = uora_bench.load_predictions("results")
    assert len(frame) == sum(len(part.item) for part in parts.values())
    if words is not MEANINGS:
        dropped = record.provenance.too_long
        assert all(len(p.item) == record.splits[s].rows - dropped.get(s, 0) for (_, s), p in parts.items())
        assert bool(dropped) == (words is INSTRUCT)


def test_the_switch_and_the_limit_are_in_the_record_and_no_part_of_the_cell(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*SHORT, *NLI, "trainer.max_steps=1"]
    assert main([*words, "predictions.max_mb=0.001"]) == 0
    assert "note: predictions are not kept: the file has" in capsys.readouterr().err
    limited, folder = only_one(here)
    assert "more than 0.001 MB (predictions.max_mb)" in why_no_predictions(limited)
    assert main([*words, "predictions.keep=false", "force=true"]) == 0
    off, _ = only_one(here)
    assert off.cell_id == limited.cell_id
    assert why_no_predictions(off) == "predictions.keep=false"
    assert not list(folder.glob("*.parquet"))
    assert not list((here / "runs").rglob("*.npy"))
    capsys.readouterr()
    assert main([*words, "predictions.max_mb=0"]) == 2
    assert "predictions.max_mb=0.0 must be above 0" in capsys.readouterr().err
    assert main(["explain", "scratch", "lora", "tiny/nli"]) == 0
    assert "    no predictions: predictions.keep=false" in capsys.readouterr().out


def test_a_forced_run_sets_the_earlier_predictions_aside_with_their_record(here: Path) -> None:
    words = [*SHORT, *NLI, "trainer.max_steps=1"]
    assert main(words) == 0
    assert main([*words, "force=true"]) == 0
    record, folder = only_one(here)
    (aside,) = (folder / "replaced").iterdir()
    assert json.loads((aside / f"{record.cell_id}.json").read_text("utf-8"))["cell_id"] == record.cell_id
    assert (aside / f"{record.cell_id}.predictions.parquet").is_file()
    assert read_predictions(record, folder)

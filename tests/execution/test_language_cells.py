"""Cells of public language tasks by the commands of a user: dry run, plan, prefetch, memory, record; no download."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import own_files
from uora_bench.cli.main import main
from uora_bench.config.compose import compose
from uora_bench.data.prefetch.needs import needs_of

SHORT = ["recipe=none", "trainer.max_steps=2", "trainer.batch_size=4", "tracker=none", "trainer.precision=float32"]
HUB = {
    "qa/squad": ("rajpurkar/squad", "main", ["train", "validation"]),
    "summarisation/dialogsum": ("knkarthick/dialogsum", "main", ["train", "validation", "test"]),
    "commonsense/hellaswag": ("Rowan/hellaswag", "main", ["train", "validation"]),
    "translation/iwslt2017_de_en": ("IWSLT/iwslt2017", "refs/convert/parquet", ["train", "validation", "test"]),
    "translation/multi30k_de_en": ("bentrevett/multi30k", "main", ["train", "validation", "test"]),
    "math/gsm8k": ("openai/gsm8k", "main", ["train", "test"]),
}
SPLITS = {"train": "train", "dev": "validation", "test": "test"}


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("task", HUB)
def test_prefetch_fetches_the_splits_of_the_hubs_own_set(task: str) -> None:
    composed = compose(["method=lora", f"task={task}", "backbone=tiny_llama", "recipe=none", "data.root=data"])
    request = needs_of([(composed.cell, composed.settings)], [])
    assert request.models == ()
    found = {(need.source.hub.id, need.source.hub.revision) for need in request.rows if need.source.hub is not None}
    assert found == {HUB[task][:2]}
    assert [need.split for need in request.rows] == HUB[task][2]


@pytest.mark.parametrize("task", ["tiny/answers", "tiny/choices"])
def test_a_twin_is_planned_and_its_memory_told(task: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"task={task}", "method=lora", *SHORT]
    assert main([*words, "dry_run=true"]) == 0
    sampled = "a random 100 of validation (sample seed 0) (the dev set)"
    assert (sampled if task == "tiny/answers" else "acc_norm on validation (the dev set)") in capsys.readouterr().out
    assert main(["memory", *words]) == 0
    assert "4 × 96 tokens" in capsys.readouterr().out
    assert main(["plan", *words]) == 0
    assert "1 to do" in capsys.readouterr().out


def dialogues(folder: Path) -> None:
    """Three splits in the form of DialogSum: two summaries of each dialogue to be scored."""
    for split, count in (("train", 8), ("validation", 4), ("test", 4)):
        rows = [{"dialogue": f"#Person1#: {i}?\n#Person2#: {i}.", "summary": f"They say {i}."} for i in range(count)]
        rows += [] if split == "train" else [{**row, "summary": "Numbers."} for row in rows]
        own_files.write(folder / "dialogsum" / "default" / f"{split}.jsonl.gz", rows)


def test_the_record_and_the_texts_of_a_task_that_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dialogues(tmp_path / "data")
    words = ["method=lora", "task=summarisation/dialogsum", "backbone=tiny_llama", "data.root=data", *SHORT]
    words += ["task.max_length=96", "task.max_new_tokens=8", "task.sample_dev=3"]
    assert main(words) == 0
    (path,) = tmp_path.glob("results/records/scratch/*.json")
    found = json.loads(path.read_text("utf-8"))
    # of a group all rows are kept: three dialogues with two summaries each
    assert found["splits"]["dev"] == {"name": "a random 3 of validation (sample seed 0)", "rows": 6}
    assert found["provenance"]["rows_from"] == "files"
    assert set(found["provenance"]["outputs"]) == {"dev", "test"}
    lines = path.with_name(found["provenance"]["outputs"]["test"]).read_text("utf-8").splitlines()
    assert len(lines) == 4
    assert {"rouge_1", "rouge_2", "rouge_l", "rouge_l_best"} <= set(found["scores"]["last"]["scores"]["test"])
    assert main(["plan", *words]) == 0
    assert "1 done" in capsys.readouterr().out


def test_a_translation_has_its_signature_in_the_record(tmp_path: Path) -> None:
    rows = [{"de": f"{i} Hunde laufen im Park.", "en": f"{i} dogs run in the park."} for i in range(6)]
    for split in SPLITS.values():
        own_files.write(tmp_path / "data" / "multi30k" / "de_en" / f"{split}.jsonl.gz", rows)
    words = ["method=vera", "task=translation/multi30k_de_en", "backbone=tiny_llama", "data.root=data", *SHORT]
    assert main([*words, "task.max_length=96", "task.max_new_tokens=8", "trainer.patience=3"]) == 0
    (path,) = tmp_path.glob("results/records/scratch/*.json")
    scores = json.loads(path.read_text("utf-8"))["scores"]["last"]["scores"]["test"]
    assert scores["signature"].startswith("nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp|version:")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"summary": ""}, "row 0 (from 0) has no 'summary' (split 'train')"),
        ({"summary": 5}, "column 'summary' must hold text"),
        ({"dialogue": None}, "row 0 (from 0) has no 'dialogue'"),
        ({"dialogue": "word " * 200}, "no room for its target in task.max_length=96"),
    ],
)
def test_rows_that_cannot_be_used_end_in_one_line(
    change: dict[str, object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dialogues(tmp_path / "data")
    row = {"dialogue": "#Person1#: Hi.", "summary": "Hi.", **change}
    own_files.write(tmp_path / "data" / "dialogsum" / "default" / "train.jsonl.gz", [row] * 4)
    words = ["method=lora", "task=summarisation/dialogsum", "backbone=tiny_llama", "data.root=data", *SHORT]
    assert main([*words, "task.max_length=96", "task.max_new_tokens=8"]) == 2
    *_, line = capsys.readouterr().err.strip().splitlines()
    assert message in line

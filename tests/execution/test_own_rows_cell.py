"""Cells of a user's own rows by the command line: every command of docs/bring_your_own_data.md, record and export."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from tests.support import own_files
from tests.support.paths import ROOT
from uora_bench.cli.main import main

PAGE = (ROOT / "docs" / "bring_your_own_data.md").read_text("utf-8")
SHORT = ["recipe=none", "trainer.max_steps=2", "trainer.batch_size=8", "tracker=none", "trainer.precision=float32"]
COMMANDS = [line for line in PAGE.splitlines() if line.startswith("uora-bench ") and "method=" in line]
SLOW = [
    line for line in COMMANDS if "pairs.jsonl" in line or "my_folder" in line or "facts.csv" in line or "apart" in line
]


def tiny(command: str) -> list[str]:
    small = ["backbone=tiny_roberta", "task.max_length=40"]
    if "text/generate" in command:
        small = ["backbone=tiny_gpt2", "task.max_length=96", "task.max_new_tokens=4"]
    return [*shlex.split(command)[1:], *small, *SHORT]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the page speaks of."""
    rows = [{"text": row["text"], "label": row["label"], "stars": i / 8} for i, row in enumerate(own_files.reviews())]
    own_files.write(tmp_path / "reviews.csv", rows)
    pairs = [{"question": f"why {i}", "answer": f"so {i % 9}", "fits": bool(i % 2)} for i in range(40)]
    own_files.write(tmp_path / "pairs.jsonl", pairs)
    own_files.write(tmp_path / "my_folder" / "train.csv", own_files.reviews()[:30])
    own_files.write(tmp_path / "my_folder" / "val.csv", own_files.reviews()[30:])
    own_files.write(tmp_path / "quiz.jsonl", own_files.quiz())
    own_files.write(
        tmp_path / "facts.csv", [{"claim": f"{i} is odd", "verdict": "no" if i % 2 else "yes"} for i in range(40)]
    )
    exam = [
        {"question": row["question"], "right": row["answer"], "options": row["options"]} for row in own_files.quiz()
    ]
    own_files.write(tmp_path / "exam.jsonl", exam)
    for name, code in re.findall(r"<!-- file: (\S+) -->\n```python\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(code, "utf-8")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def only_record(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("results/records/scratch/*.json")
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    assert str(folder) not in path.read_text("utf-8")
    return found


@pytest.mark.parametrize("command", [pytest.param(c, marks=pytest.mark.slow if c in SLOW else ()) for c in COMMANDS])
def test_every_command_of_the_page_makes_a_record(command: str, here: Path) -> None:
    assert main(tiny(command)) == 0
    found = only_record(here)
    assert found["status"] == "done"
    assert found["metric"]["primary"] in found["scores"]["last"]["scores"]["dev"]
    if "metric.name=near" in command:
        assert found["provenance"]["plugins"]["uora_plugins"]["gave"] == ["metrics/near"]


def test_the_record_the_plan_and_the_export_of_own_rows(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = tiny(COMMANDS[0])
    assert main([*words, "dry_run=true"]) == 0
    said = capsys.readouterr().out
    assert "classes: found in the data; the head is counted for 2 of them" in said
    assert "a random 10 % of reviews.csv (split seed 0) (the dev set), a random 10 % of reviews.csv, apart from" in said
    assert main(words) == 0
    found = only_record(here)
    assert found["label"] == "lora · text/local (reviews.csv) · tiny_roberta · seed 0"
    assert found["cell"]["task"]["name"] == "text/local"
    assert {role: split["rows"] for role, split in found["splits"].items()} == {"train": 32, "dev": 4, "test": 4}
    known = found["provenance"]
    assert known["settled"] == {"columns": ["text"], "target": "classes", "labels": ["neg", "pos"]}
    assert set(known["data_files"]) == {"reviews.csv"}
    assert not [word for word in known["command"] if "reviews" in word]
    assert main(["plan", *words]) == 0
    assert "1 done" in capsys.readouterr().out
    assert main(["memory", *words]) == 0
    (here / "reviews.csv").unlink()  # an export needs no rows
    assert main(["export", found["cell_id"], "format=merged", "output=out"]) == 0
    assert json.loads((here / "out" / "config.json").read_text("utf-8"))["id2label"] == {"0": "neg", "1": "pos"}
    capsys.readouterr()
    assert main([*words, "force=true"]) == 2
    *_, line = capsys.readouterr().err.strip().splitlines()
    assert "there is no file or folder 'reviews.csv'" in line


def test_a_changed_file_is_seen_by_the_plan(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = tiny(COMMANDS[0])
    assert main(words) == 0
    before = Path("reviews.csv").read_bytes()
    other = before.replace(b"\r\n", b"\n")  # the same rows, as another system ends their lines
    assert other != before
    Path("reviews.csv").write_bytes(other)
    capsys.readouterr()
    assert main(["plan", *words]) == 0
    assert "1 done" in capsys.readouterr().out
    with open("reviews.csv", "a", encoding="utf-8") as file:
        file.write("one more,pos,1\n")
    capsys.readouterr()
    assert main(["plan", *words]) == 0
    assert "data changed: reviews.csv" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("name", ["reviews.csv", "reviews.jsonl", "reviews.parquet", "reviews.csv.gz"])
def test_a_column_that_is_not_there_is_known_before_anything_runs(
    name: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own_files.write(here / name, own_files.reviews())
    words = ["method=lora", "task=text/local", f"task.path={name}", "backbone=tiny_roberta", "task.label=stars"]
    generate = [*words[2:3], "method=lora", "task=text/generate", "backbone=tiny_gpt2"]
    for given in ([*words, "dry_run=true"], ["plan", *words], ["memory", *words]):
        assert main(given) == 2
        assert f"{name} has no column 'stars', its columns are id, text, label" in capsys.readouterr().err
    assert main([*generate, "task.answer=label", "dry_run=true"]) == 2
    assert "has no column 'question'" in capsys.readouterr().err


def test_nothing_is_fetched_for_own_rows(here: Path) -> None:
    from uora_bench.config.compose import compose
    from uora_bench.data.prefetch.needs import needs_of

    composed = compose([*tiny(COMMANDS[0]), f"data.root={here}"])
    assert needs_of([(composed.cell, composed.settings)], []).needs == []

"""A grid of the user's own, in a file: planned, run and tabled like a preset, by its own words."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from tests.support.records import finished_record
from uora_bench.cli.main import main
from uora_bench.config.cell import MetricSpec
from uora_bench.grid.expand import expand
from uora_bench.records.record import RuleScore

TEXT = """
name: my_grid
title: Two methods on generated text
note: A note of mine.
axes: {method: [lora, uora], task: [tiny/nli], seed: [0, 1]}
set: {trainer.max_steps: 3}
table:
  rows: [{label: "My LoRA", when: {method: lora}}, {label: "My UORA", when: {method: uora}}]
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.yaml").write_text(TEXT)
    return tmp_path


def test_its_cells_are_planned_and_go_to_a_folder_of_its_name(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "experiment=./grid.yaml"]) == 0
    assert "Two methods on generated text" in capsys.readouterr().out
    assert (here / "runs" / "my_grid" / "plan.json").is_file()


def test_a_key_that_stands_twice_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "grid.yaml").write_text(f"{TEXT}set: {{trainer.max_steps: 5}}\n")
    assert main(["plan", "experiment=./grid.yaml"]) == 2
    assert "key 'set' occurs twice" in capsys.readouterr().err


def test_its_table_has_its_title_and_labels_and_is_the_only_one(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for item in expand(["experiment=./grid.yaml"]).items:
        assert item.cell is not None
        finished_record(item.cell, item.cell.cell_id("data"), "my_grid").write(here / "results" / "records" / "my_grid")
    before = sorted(here.rglob("*"))
    texts = {}
    for kind in ("md", "csv", "tex"):
        assert main(["tables", "experiment=./grid.yaml", f"format={kind}"]) == 0
        texts[kind] = capsys.readouterr().out
        assert all(label in texts[kind] for label in ("My LoRA", "My UORA"))
    assert "Two methods on generated text" in texts["md"]
    assert "\\caption" in texts["tex"]
    assert main(["tables", "experiment=./grid.yaml", "method=lora"]) == 0
    assert "My UORA" not in capsys.readouterr().out
    assert sorted(here.rglob("*")) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["plan", "experiment=./gird.yaml"], "there is no such file; did you mean 'grid.yaml'?"),
        (["plan", "experiment=./grid.yaml", "launcher.cpu_slots=1"], "launcher=print only prints; drop it, or"),
        (["plan", "experiment=minilm_gleu"], "did you mean 'minilm_glue'"),
        (["tables", "format=csv"], "is of one table"),
        (["tables", "experiment=./grid.yaml", "format=pdf"], "no such choice"),
        (["tables", "experiment=./grid.yaml", "methd=lora"], "unknown key"),
    ],
)
def test_mistakes_are_one_line(words: list[str], said: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    captured = capsys.readouterr().err
    assert said in captured
    assert len(captured.splitlines()) == 1


def test_a_file_that_takes_a_presets_name_or_is_no_grid_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for text, said in (
        (TEXT.replace("my_grid", "minilm_glue"), "which is a preset's"),
        ("a: [", "is not YAML"),
        (TEXT + "nme: x\n", "unknown key"),
    ):
        (here / "grid.yaml").write_text(text)
        assert main(["plan", "experiment=./grid.yaml"]) == 2
        assert said in capsys.readouterr().err


def test_a_copy_among_the_plug_ins_is_the_same_experiment(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    copy = here / "uora_plugins" / "configs" / "experiment" / "my_grid.yaml"
    copy.parent.mkdir(parents=True)
    copy.write_text(TEXT)
    for name in ("./grid.yaml", "my_grid"):
        assert main(["plan", f"experiment={name}"]) == 0
    copy.write_text(TEXT + "# another one\n")
    assert main(["plan", "experiment=./grid.yaml"]) == 2
    assert "which is a preset's" in capsys.readouterr().err


def test_what_changed_in_the_file_counts(here: Path) -> None:
    assert len(expand(["experiment=./grid.yaml"]).items) == 4
    (here / "grid.yaml").write_text(TEXT.replace("seed: [0, 1]", "seed: [0, 1, 2]"))
    assert len(expand(["experiment=./grid.yaml"]).items) == 6


def test_a_label_is_text_to_whatever_shows_the_table(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    odd = '{label: "=1+1 | a\\n<script>x</script>", when: {method: lora}}'
    text = TEXT.replace('{label: "My LoRA", when: {method: lora}}', odd)
    (here / "grid.yaml").write_text(text.replace("Two methods", "<img src=x>\\n## Two"))
    for item in expand(["experiment=./grid.yaml"]).items:
        assert item.cell is not None
        finished_record(item.cell, item.cell.cell_id("data"), "my_grid").write(here / "results" / "records" / "my_grid")
    assert main(["tables", "experiment=./grid.yaml"]) == 0
    shown = capsys.readouterr().out
    assert "<script" not in shown
    assert "<img" not in shown
    assert "=1+1 \\| a &lt;script>" in shown
    assert len([line for line in shown.splitlines() if line.startswith("## ")]) == 1
    assert main(["tables", "experiment=./grid.yaml", "format=csv"]) == 0
    assert {row["row"][:2] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))} == {"'=", "My"}


def test_a_metric_that_the_data_decides_is_the_one_that_the_records_found(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["method=lora,uora", "task=text/local", "task.path=rows.csv", "backbone=tiny_roberta"]
    assert main(["new", "experiment", "own_rows", *words, "seed=0,1"]) == 0
    metric = MetricSpec("text/classes", "accuracy")
    scored = RuleScore({"dev": {"accuracy": 0.25}, "test": {"accuracy": 0.75}}, 1, "")
    scores = {rule: scored for rule in ("last", "best_dev")}
    items = expand(["experiment=own_rows"]).items
    for item in items[:-1]:  # the last is still to come
        assert item.cell is not None
        assert item.cell.task.metric.primary == "auto"
        made = finished_record(item.cell, item.cell.cell_id("data"), "own_rows", metric=metric, scores=scores)
        made.write(here / "results" / "records" / "own_rows")
    capsys.readouterr()
    assert main(["tables", "experiment=own_rows", "format=csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert {row["metric"] for row in rows} == {"accuracy"}, rows
    assert main(["tables", "experiment=own_rows"]) == 0
    assert "| 75.00 ± 0.00 (2) |" in capsys.readouterr().out
    assert main(["explain", "own_rows", "lora", "text/local"]) == 0
    assert "accuracy on test × 100" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (
            "table: {rows: [{label: A, when: {metod: lora}}]}",
            "row 'A' of the table: no axis of the grid is called 'm",
        ),
        ("table: {rows: [{label: A, when: {method: lorra}}]}", "method is never 'lorra'; did you mean 'lora'?"),
        ("table: {rows: [{label: A, when: {trainer.epochs: 3}}]}", "no axis of the grid is called 'trainer.epochs'"),
        ("table: {blocks: [{label: A, when: {method: [lora, ura]}}]}", "block 'A' of the table: method is never 'ura'"),
        (
            "table: {columns: [{label: A, task: tiny/nil}]}",
            "column 'A' of the table: task is never 'tiny/nil'; ",
        ),
        ("table: {notes: [{text: so, when: {seed: 7}}]}", "seed is never '7'"),
        (
            "rules: [{when: {method: vra}, set: {trainer.epochs: 1}}]",
            "rule 1: method is never 'vra'; did you mean",
        ),
    ],
)
def test_a_misspelt_condition_is_named(
    part: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    text = "name: g\ntitle: t\nnote: n\naxes: {method: [lora, uora, vera], task: [tiny/nli], seed: [0, 1]}\n"
    (tmp_path / "g.yaml").write_text(f"{text}set: {{trainer.epochs: 3}}\n{part}\n", "utf-8")
    for command in ("plan", "tables"):
        assert main([command, "experiment=./g.yaml"]) == 2
        assert said in capsys.readouterr().err

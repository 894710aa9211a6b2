"""Whose tables and figures are written where: those of the package's presets, and those of a user's own experiments."""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import own_files
from tests.support.records import finished_record
from uora_bench.cli.explain import COMMAND
from uora_bench.cli.main import main
from uora_bench.errors import UserError
from uora_bench.grid.expand import expand
from uora_bench.records.frame import load_records
from uora_bench.records.provenance import Launch
from uora_bench.records.record import RuleScore
from uora_bench.report.explain import find_entry
from uora_bench.report.figures import canvas


def record(results: Path, experiment: str, *words: str) -> None:
    """A record of the first cell that ``words`` name, in the folder of ``experiment``."""
    cell = next(item.cell for item in expand(list(words)).items if item.cell is not None)
    finished_record(cell, cell.cell_id("data"), experiment).write(results / "records" / experiment)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    record(tmp_path, "tiny_unadapted", "experiment=tiny_unadapted")
    record(tmp_path, "mine", "method=lora", "task=tiny/nli")
    return tmp_path


def test_own_experiments_make_no_committed_table_stale(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    where = f"results.dir={results}"
    assert main(["tables", where]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"8 files in {results}/tables, 4 of them in {results}/tables/own"
    assert said[1].startswith("without records, and not written: alpha_lora_glue, lora_table2, ")
    names = {path.relative_to(results / "tables").as_posix() for path in (results / "tables").rglob("*.*")}
    kinds = ("md", "csv", "tex")
    assert names == {
        "README.md", "own/README.md", *(f"{n}.{k}" for n in ("tiny_unadapted", "own/mine") for k in kinds)
    }  # fmt: skip
    assert "mine" not in (results / "tables" / "README.md").read_text()
    before = {path: path.read_bytes() for path in (results / "tables").glob("*.*")}
    record(results, "another", "method=vera", "task=tiny/nli")
    assert main(["tables", where, "check=true"]) == 0
    assert main(["tables", where]) == 0
    assert {path: path.read_bytes() for path in (results / "tables").glob("*.*")} == before


def test_a_table_whose_file_is_not_named_says_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_text("{name: mine, axes: {method: [lora], task: [tiny/nli], seed: [0]}}")
    (item,) = expand(["experiment=./mine.yaml"]).items
    assert item.cell is not None
    made = finished_record(item.cell, item.cell.cell_id("data"), "mine")
    launched = replace(made.provenance, launch=Launch("local", False))
    replace(made, provenance=launched).write(Path("results/records/mine"))
    lost = "No experiment is called mine here: rows and columns follow from the records."
    for words, told in ((["experiment=mine"], True), (["experiment=./mine.yaml"], False)):
        assert main(["tables", *words]) == 0
        said = capsys.readouterr().out
        assert said.startswith("## Records of mine")  # the file has no title
        assert (lost in said) == told
    with pytest.raises(UserError, match=r"no record in 'mine'; did you mean 'results/records/mine'\?"):
        load_records("mine")


def test_a_table_says_why_a_finished_cell_lacks_a_score(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (item,) = expand(["method=lora", "task=e2e", "backbone=tiny_gpt2"]).items
    assert item.cell is not None
    absent: dict[str, Any] = {"bleu": 0.5, "absent": {"meteor": "there is no Java"}}
    scores = {"dev": absent, "test": absent}
    rules = {rule: RuleScore(scores, 1, "") for rule in ("last", "best_dev")}
    done = finished_record(item.cell, item.cell.cell_id("data"), "mine", scores=rules)
    done.write(tmp_path / "records" / "mine")
    own = tmp_path / "mine.yaml"
    own.write_text(
        "name: mine\naxes: {method: [lora]}\nset: {task: e2e, backbone: tiny_gpt2}\ntable: {rule: last, columns: "
        "[{task: e2e, label: BLEU}, {task: e2e, label: METEOR, metric: meteor}]}\n"
    )
    assert main(["tables", f"experiment={own}", f"results.dir={tmp_path}"]) == 0
    assert "no such score under this rule. METEOR: there is no Java.  \n" in capsys.readouterr().out


@pytest.mark.parametrize("command", ["tables", pytest.param("page", marks=pytest.mark.slow)])
def test_a_broken_experiment_of_ones_own_stops_no_other(
    command: str, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(results)
    folder = Path("uora_plugins/configs/experiment")
    folder.mkdir(parents=True)
    (folder / "broken.yaml").write_text("name: broken\naxes: {method: [lora}\n")
    record(results, "broken", "method=lora", "task=tiny/nli")
    assert main([command, f"results.dir={results}"]) == 0
    (warning,) = {line for line in capsys.readouterr().err.splitlines() if "broken" in line}
    assert warning.startswith("experiment 'broken' is left out: ")
    assert main(["tables", "experiment=broken", f"results.dir={results}"]) == 2


def test_own_figures_have_a_folder_of_their_own_where_the_page_finds_them(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    where = f"results.dir={results}"
    assert main(["figures", "experiment=mine", where]) == 0
    assert not list((results / "figures").glob("*.*"))
    assert list((results / "figures" / "own").glob("mine_*.svg"))
    assert main(["figures", "experiment=tiny_unadapted", where]) == 0
    assert main(["figures", "check=true", where]) == 0
    monkeypatch.setattr(canvas, "render", None)
    assert main(["page", "experiment=mine,tiny_unadapted", where]) == 0  # of these pictures, not drawn again


def test_a_file_of_ones_own_is_a_table_for_every_command(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = results / "mine.yaml"
    own.write_text(
        "name: mine\ntitle: t\nnote: ''\naxes: {method: [lora]}\nset: {task: tiny/nli}\n"
        "table: {rule: best_dev, rows: [{label: Mine, when: {method: lora}}]}\n"
    )
    where = f"results.dir={results}"
    assert main(["explain", str(own), "Mine", "tiny/nli", where]) == 0
    assert "rule best_dev" in capsys.readouterr().out
    assert main(["figures", f"experiment={own}", where]) == 0
    assert list((results / "figures" / "own").glob("mine_*.svg"))


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["tables"], "run a cell first"),
        (["figures"], "run a cell first"),
        (["page"], "run a cell first"),
        (["tables"], "name the folder that holds some, results.dir=<folder>"),
        (
            ["tables", "experiment=minilm_glue"],
            "no records of minilm_glue in 'results/records'; name the folder that holds",
        ),
        (
            ["explain", "minilm_glue", "LoRA", "MRPC"],
            "no records of minilm_glue in 'results/records', and no number was pub",
        ),
        (["verify", "minilm_glue", "LoRA", "MRPC"], "name the folder that holds some, results.dir=<folder>"),
        (["verify", "all=true"], "name the folder that holds some, results.dir=<folder>"),
        (["figures", "experiment=minilm_glue"], "no finished record in 'results/records'"),
    ],
)
def test_a_folder_without_records_is_one_line(
    words: list[str], part: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert part in line
    assert "make " not in line
    assert not list(tmp_path.iterdir())


def test_a_folder_beside_records_is_answered_with_theirs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results = tmp_path / "results"
    record(results, "mine", "method=lora", "task=tiny/nli")
    assert main(["explain", "minilm_glue", "LoRA", "MRPC", f"results.dir={tmp_path / 'other'}"]) == 2
    assert f"did you mean results.dir={results}?" in capsys.readouterr().err
    for wrong, meant in ((tmp_path, results), (results / "records" / "min", results / "records" / "mine")):
        with pytest.raises(UserError, match=f"did you mean '{meant}'"):
            load_records(wrong)


def test_trials_alone_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(tmp_path, "scratch", "method=lora", "task=tiny/nli")
    assert main(["tables", f"results.dir={tmp_path}"]) == 2
    assert "holds trials only (scratch); tables experiment=scratch shows them" in capsys.readouterr().err


def test_published_numbers_are_shown_without_records(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tables", "experiment=vera_table2", f"results.dir={tmp_path}"]) == 0
    out, err = capsys.readouterr()
    assert err == f"no records of vera_table2 in '{tmp_path}/records'; the numbers are the published ones\n"
    assert "94.8" in out


@pytest.mark.parametrize("name", ["text/local", "local", "reviews", "Reviews.csv", "text/local (reviews.csv)"])
def test_a_column_of_own_rows_has_the_names_that_people_know(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = own_files.write(tmp_path / "reviews.csv", own_files.reviews(4))
    record(tmp_path / "r", "mine", "method=lora", "task=text/local", f"task.path={path}")
    assert main(["explain", "mine", "lora", name, f"results.dir={tmp_path / 'r'}"]) == 0
    assert capsys.readouterr().out.startswith("mine · lora · text/local: ")
    assert main(["explain", "mine", "lora", "revues", f"results.dir={tmp_path / 'r'}"]) == 2
    assert "no column 'revues' in 'mine'; valid: text/local" in capsys.readouterr().err


def test_a_row_is_named_as_the_table_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for epochs in (3, 4):
        record(tmp_path, "mine", "method=lora", "task=tiny/nli", f"trainer.epochs={epochs}")
    assert main(["explain", "mine", "lora trainer.epochs=3", "tiny/nli", f"results.dir={tmp_path}"]) == 0
    assert capsys.readouterr().out.startswith("mine · lora trainer.epochs=3 · tiny/nli: ")
    examples = [shlex.split(one) for one in COMMAND.examples if one.count(" ") > 1]
    assert examples
    for _, *words in examples:
        assert find_entry(words, Path(__file__).parents[2] / "results", None)

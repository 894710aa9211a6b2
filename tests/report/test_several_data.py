"""A cell with records of several data: which one a table shows, and that it says so."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.records import finished_record
from uora_bench.cli.main import main
from uora_bench.config.metrics import settled
from uora_bench.data import own_rows
from uora_bench.grid.expand import expand_request
from uora_bench.grid.request import GridRequest
from uora_bench.records.record import EpochScores, RuleScore, Split
from uora_bench.report import collect, table

OLD, NEW = "text,label\na,x\nb,y\n", "text,label\na,y\nb,x\n"
ROLES = ("train", "dev", "test")
GRID = """name: mine
title: mine
note: a file of rows
axes: {method: [lora, vera], task: [text/local], seed: [0, 1]}
set: {task.path: rows.csv, task.label: label, backbone: tiny_roberta}
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(GRID, "utf-8")
    return tmp_path


def record(text: str, score: float, finished: str, *, of: tuple[str, int], rows: int = 50) -> str:
    """A record of the cell of method and seed, made while the file held ``text``."""
    Path("rows.csv").write_text(text, "utf-8", newline="")
    items = expand_request(GridRequest("mine.yaml", "print")).items
    cell = next(i.cell for i in items if i.cell is not None and (i.cell.method.name, i.cell.seed) == of)
    files = cell.task.source.files
    assert files is not None
    digest = own_rows.rows_sha256(Path("rows.csv"), files)
    values = {role: {"accuracy": score} for role in ("dev", "test")}
    known = {
        "data": dict.fromkeys(ROLES, digest),
        "data_files": {"rows.csv": digest},
        "data_rows": {"rows.csv": digest},
    }
    made = finished_record(
        cell,
        cell.cell_id(f"dev:{digest}"),
        "mine",
        metric=settled(cell.task.metric, "text/classes"),
        splits={role: Split(role, rows) for role in ROLES},
        scores={rule: RuleScore(values, 1, "") for rule in ("last", "best_dev")},
        epochs=(EpochScores(1, 1, 0.1, values, 1.0),),
        provenance={"finished": finished, "command": [], **known},
    )
    made.write(Path("results/records/mine"))
    return made.cell_id


def shown() -> tuple[dict[str, dict[int, float]], str]:
    """By row the scores of each seed, and the lines about the table."""
    collection = collect.collect(GridRequest("mine.yaml", "print"), Path("results"))
    found = table.build(collection, None)
    return {row.label: row.entries[0].ours.by_seed for row in found.rows}, "\n".join((*found.about, *found.notes))


def test_records_of_the_data_as_it_is_now_are_shown(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for n, of in enumerate((("lora", 0), ("lora", 1), ("vera", 0), ("vera", 1))):
        record(OLD, 0.5, f"2026-01-01T00:00:0{n}+00:00", of=of)
    newer = record(NEW, 0.9, "2026-02-01T00:00:00+00:00", of=("lora", 0))
    Path("rows.csv").write_text(OLD.replace("\n", "\r\n"), "utf-8", newline="")  # changed back, with other line ends
    scores, said = shown()
    assert scores == {"lora": {0: 50.0, 1: 50.0}, "vera": {0: 50.0, 1: 50.0}}
    assert f"of the data files as they are now are shown; not shown: {newer}." in said
    assert "UC" not in said.replace("UC02", "").replace("UC08", "").replace("UC11", "")
    assert main(["plan", "experiment=mine.yaml"]) == 0
    assert "4 cells: 4 done" in capsys.readouterr().out


def test_elsewhere_the_data_that_most_cells_share_is_shown(here: Path) -> None:
    for of in (("lora", 0), ("lora", 1), ("vera", 0)):
        record(OLD, 0.5, "2026-01-01T00:00:00+00:00", of=of)
    newer = record(NEW, 0.9, "2026-02-01T00:00:00+00:00", of=("lora", 0))
    only = record(NEW, 0.9, "2026-02-01T00:00:00+00:00", of=("vera", 1))
    Path("rows.csv").unlink()
    scores, said = shown()
    assert scores == {"lora": {0: 50.0, 1: 50.0}, "vera": {0: 50.0, 1: 90.0}}
    assert f"the data that most cells have a record of are shown; not shown: {newer}." in said
    assert "UC15: " in said, f"{only} is the only record of its cell, of other rows than the rest"


def test_a_score_of_few_rows_is_said_to_be(here: Path) -> None:
    record(OLD, 1.0, "2026-01-01T00:00:00+00:00", of=("lora", 0))
    assert "Few rows" not in shown()[1]
    record(OLD, 1.0, "2026-01-01T00:00:00+00:00", of=("lora", 1), rows=6)
    assert "Few rows are scored: text/local 6 rows; " in shown()[1]


def test_two_files_of_one_name_are_not_one_cell(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = GRID.replace("task: [text/local]", "task: [text/local], task.path: [a/rows.csv, OTHER]")
    grid = grid.replace("task.path: rows.csv, ", "")
    for folder, text in (("a", OLD), ("b", NEW)):
        (here / folder).mkdir()
        (here / folder / "rows.csv").write_text(text)
        (here / folder / f"{folder}.csv").write_text(text)
    for path, code, said in (
        ("b/rows.csv", 2, "'a/rows.csv' and 'b/rows.csv' have one name"),
        ("./a/rows.csv", 0, "4 cells: 4 to do"),
        ("b/b.csv", 0, "8 cells: 8 to do"),
    ):
        (here / "mine.yaml").write_text(grid.replace("OTHER", path), "utf-8")
        assert main(["plan", "experiment=./mine.yaml"]) == code
        assert said in "".join(capsys.readouterr())

"""Records as pandas tables, plans and tables from Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import uora_bench
from tests.support.command_line import environment
from tests.support.records import finished_record
from uora_bench.config.compose import compose
from uora_bench.errors import UserError
from uora_bench.records.record import read_records
from uora_bench.report import csv_file, markdown


def test_a_frame_has_every_score_of_every_committed_record_once(root: Path) -> None:
    frame = uora_bench.load_records(root / "results")
    folders = [p for p in (root / "results" / "records").iterdir() if not p.name.startswith("theory_")]
    records = [record for folder in folders for record in read_records(folder)]
    assert set(frame.cell_id) == {record.cell_id for record in records}
    assert len(frame) == sum(len(r.scores) for one in records for r in one.scores.values())
    assert not frame.duplicated(["experiment", "cell_id", "split", "rule"]).any()
    one = next(r for r in records if r.metric.primary == "accuracy")
    rows = frame[(frame.cell_id == one.cell_id) & (frame.rule == "last") & (frame.split == "dev")]
    expected = one.scores["last"].scores["dev"]["accuracy"] * one.metric.scale
    assert rows.score.tolist() == [expected]
    assert rows["metrics.accuracy"].tolist() == [one.scores["last"].scores["dev"]["accuracy"]]
    assert rows["trainer.lr_adapter"].tolist() == [one.cell["trainer"]["lr_adapter"]]


def test_settings_tell_apart_what_must_not_be_averaged(tmp_path: Path) -> None:
    folder = tmp_path / "records" / "mine"

    def write(*words: str, **changes: object) -> None:
        cell = compose([*words, "task=tiny/nli"]).cell
        finished_record(cell, cell.cell_id("data"), "mine", **changes).write(folder)

    for seed in (0, 1):
        write("method=lora", f"seed={seed}")
        write("method=lora", f"seed={seed}", "trainer.epochs=3", "trainer.batch_size=4")
        write("method=vera", f"seed={seed}")
    frame = uora_bench.load_records(tmp_path)
    assert sorted(frame[frame.method == "vera"].settings.unique()) == ["vera"]
    batches = [
        f"lora trainer.batch_size={size}"
        for size in (4, compose(["method=lora", "task=tiny/nli"]).cell.trainer.batch_size)
    ]
    assert sorted(frame[frame.method == "lora"].settings.unique()) == sorted(batches)
    assert frame.groupby(["task", "settings", "seed", "split", "rule"]).cell_id.nunique().max() == 1
    cell = compose(["method=vera", "task=tiny/nli"]).cell  # the same cell of other rows
    known = {"command": [], "data_rows": {"rows.csv": "0" * 16}}
    finished_record(cell, cell.cell_id("other"), "mine", provenance=known).write(folder)
    frame = uora_bench.load_records(tmp_path)
    assert len(frame[frame.method == "vera"].settings.unique()) == 2
    assert set(uora_bench.load_epochs(tmp_path).settings) == set(frame.settings)


def test_settings_of_the_committed_records_hold_one_cell_a_seed(root: Path) -> None:
    frame = uora_bench.load_records(root / "results")
    assert frame.groupby(["task", "settings", "seed", "split", "rule"]).cell_id.nunique().max() == 1


def test_the_long_form_has_every_epoch(root: Path) -> None:
    frame = uora_bench.load_epochs(root / "results" / "records" / "minilm_glue")
    records = read_records(root / "results" / "records" / "minilm_glue")
    assert frame.groupby("cell_id").epoch.nunique().to_dict() == {r.cell_id: len(r.epochs) for r in records}
    assert {"split", "metric", "value", "train_loss", "step"} <= set(frame.columns)


def test_a_folder_without_records_is_said(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="there is no record"):
        uora_bench.load_records(tmp_path)


def test_a_table_and_a_plan_are_those_of_the_command_line(root: Path, tmp_path: Path) -> None:
    table = uora_bench.build_table("minilm_glue", task="glue/mrpc", results=root / "results")
    done = subprocess.run(
        [sys.executable, "-m", "uora_bench", "tables", "experiment=minilm_glue", "task=glue/mrpc"],
        cwd=root, env=environment(root), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert markdown.render(table) == done.stdout
    frame = csv_file.frame(table)
    mine = frame[frame.row == "LoRA"].iloc[0]
    (_, row), *_ = table.row("LoRA")
    assert mine.n == row.entries[0].ours.n
    assert mine.ours_mean == pytest.approx(row.entries[0].ours.mean, abs=1e-4)
    assert len(frame) == len(table.rows) * len(table.shown)
    plan = uora_bench.plan("task=glue/*", method=["lora", "uora"], seed=range(2), experiment_name="x")
    assert len(plan.items) == 2 * 2 * 9
    assert not (tmp_path / "runs").exists()
    with pytest.raises(UserError, match="no rule 'lst'"):
        uora_bench.build_table("minilm_glue", rule="lst")


def test_importing_the_package_imports_nothing_heavy(root: Path) -> None:
    heavy = ("torch", "transformers", "pandas", "hydra", "datasets")
    code = f"import sys, uora_bench; dir(uora_bench); print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment(root), capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_every_name_of_the_package_is_there_and_others_are_not() -> None:
    for name in uora_bench.__all__:
        assert getattr(uora_bench, name)
    with pytest.raises(AttributeError, match="no attribute 'injekt'"):
        _ = uora_bench.injekt  # type: ignore[attr-defined]

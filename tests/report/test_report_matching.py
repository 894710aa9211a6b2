"""Which record a table takes for which cell, and what it says of starts, weights, parts of the data and failures."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.support.paths import ROOT
from tests.support.table_bench import GRID, Bench, entry
from uora_bench.errors import UserError
from uora_bench.grid import request
from uora_bench.records.record import Sizes, Timing
from uora_bench.report import collect, csv_file, explain, grades, latex, markdown, row_comparison, table, write
from uora_bench.report.published import Library, Published


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path, monkeypatch)
    made.preset()
    return made


RTE = "method=lora task=glue/rte seed=0"


def known(when: str = "2026-01-01", **more: object) -> dict[str, object]:
    return {"finished": when, "command": [], **more}


def test_other_weights_another_start_and_another_cut_are_other_cells(bench: Bench) -> None:
    plain = bench.record(RTE, 0.5)
    late = known("2026-09-09")
    bench.record(RTE, 0.9, cell={**plain.cell, "weights": "dead"}, cell_id="b" * 16, provenance=late)
    bench.record(
        RTE,
        0.8,
        cell={**plain.cell, "init_from": "0" * 64},
        cell_id="c" * 16,
        provenance={**late, "init_from": "1234567890abcdef"},
    )
    bench.record(RTE, 0.7, cell={**plain.cell, "micro_batch_size": 4}, cell_id="d" * 16, provenance=late)
    found = bench.table()
    assert entry(found, "lora", "rte").ours.by_seed == {0: 50.0}
    assert set(found.orphans) == {"b" * 16, "c" * 16, "d" * 16}
    begun = bench.table("method=lora", "init_from=runs/quickstart/1234567890abcdef")
    assert entry(begun, begun.blocks[0].rows[0].label, "rte").ours.by_seed == {0: pytest.approx(80)}


def test_a_cold_cell_is_no_warm_one_while_its_start_is_missing(bench: Bench) -> None:
    bench.preset(starts=[{"when": {"task": "glue/mrpc"}, "like": {"task": "glue/rte"}}])
    cold = bench.record("method=lora task=glue/mrpc seed=0", 0.6)
    found = bench.table()
    assert entry(found, "lora", "mrpc").ours.by_seed == {}
    assert found.orphans == (cold.cell_id,)


def test_narrowing_keeps_rows_that_start_elsewhere_and_counts_no_orphan(bench: Bench) -> None:
    bench.preset(starts=[{"when": {"task": "glue/mrpc"}, "like": {"task": "glue/rte"}}])
    first = bench.record(RTE, 0.5)
    cold = bench.record("method=lora task=glue/mrpc seed=0", 0.1)
    bench.record(
        "method=lora task=glue/mrpc seed=0",
        0.7,
        cell={**cold.cell, "init_from": "0" * 64},
        cell_id="e" * 16,
        provenance=known(init_from=first.cell_id),
    )
    bench.record("method=uora task=glue/rte seed=2", 0.4)
    found = bench.table("task=glue/mrpc", "method=lora")
    assert [row.label for block in found.blocks for row in block.rows] == ["lora"]
    assert entry(found, "lora", "mrpc").ours.by_seed == {0: 70.0}
    assert found.orphans == (cold.cell_id,)  # UORA's record is of the grid, though not of this part


def test_an_experiment_name_of_ones_own_is_where_the_records_are_looked_for(bench: Bench) -> None:
    bench.record(RTE, 0.5)
    (bench.results / "records" / "quickstart").rename(bench.results / "records" / "mine")
    assert entry(bench.table("experiment_name=mine"), "lora", "rte").ours.by_seed == {0: 50.0}
    assert entry(bench.table(), "lora", "rte").ours.by_seed == {}
    with pytest.raises(UserError, match="plain folder name"):
        collect.collect(request.GridRequest("mine/../mine", "print"), bench.results)


def test_a_finished_record_without_what_a_table_needs_is_named(bench: Bench) -> None:
    made = bench.record(RTE, 0.5)
    path = bench.results / "records" / "quickstart" / f"{made.cell_id}.json"
    data = json.loads(path.read_text())
    del data["counts"]
    path.write_text(json.dumps(data))
    with pytest.raises(UserError, match=f"{made.cell_id}.json' is not valid: .*counts.*; remove it"):
        bench.table()


def test_records_without_a_preset_are_told_apart_by_their_start_and_else_by_their_name(bench: Bench) -> None:
    plain = bench.record(RTE, 0.5)
    begun = {**plain.cell, "init_from": "0" * 64}
    bench.record(RTE, 0.6, cell=begun, cell_id="c" * 16, provenance=known(init_from="1" * 16))
    bench.record(RTE, 0.7, cell_id="d" * 16)
    (bench.results / "records" / "quickstart").rename(bench.results / "records" / "mine")
    found = table.build(collect.collect(request.GridRequest("mine", "print"), bench.results), None)
    rows = {row.label: row.entries[0].ours.by_seed for block in found.blocks for row in block.rows}
    assert sorted(v[0] for v in rows.values()) == [pytest.approx(x) for x in (50, 60, 70)]
    assert len(rows) == 3
    assert any("1" * 16 in label for label in rows)
    assert latex.render(replace(found, name="имя")).count("label{tab:-}") == 1


def test_an_average_is_of_all_its_columns_or_not_there(bench: Bench) -> None:
    columns = [
        {"task": "glue/rte", "label": "RTE"},
        {"task": "glue/mrpc", "label": "MRPC"},
        {"task": "glue/mrpc", "label": "F1", "metric": "f1", "averaged": False},
    ]
    bench.preset(
        published={"paper": "VeRA", "table": "Table 2"},
        table={
            "columns": columns,
            "average": True,
            "rows": [{"label": "LoRA", "when": {"method": "lora"}, "published": "LoRA"}],
        },
    )
    numbers = [("RTE", 80.0), ("MRPC", 90.0), ("Avg", 85.0)]
    library = Library(
        Published("VeRA", "LoRA", "Table 2", "b", task, "accuracy", value, None, "", "s", "high")
        for task, value in numbers
    )
    for seed in range(3):
        bench.record(f"method=lora task=glue/rte seed={seed}", 0.8 + seed / 100)
        bench.record(f"method=lora task=glue/mrpc seed={seed}", 0.9)
    made = bench.table(library=library)
    ((_, row),) = made.row("LoRA")
    assert row.average is not None
    assert row.average.ours.value == pytest.approx(85.5)
    assert made.average is not None
    assert made.average.task == "RTE MRPC"
    assert row.average.ours.by_seed == {0: 85.0, 1: 85.5, 2: 86.0}
    # F1 was not published, but is not averaged either
    assert row.average.published is None or row.average.delta == pytest.approx(0.5)
    lines = list(csv.DictReader(io.StringIO(csv_file.render(bench.table(library=library)))))
    average = next(x for x in lines if x["column"] == "Avg" and x["row"] == "LoRA")
    assert (average["ours_mean"], average["n"]) == ("85.5000", "3")
    narrowed = bench.table("task=glue/rte", library=library)
    assert all(r.average is None for block in narrowed.blocks for r in block.rows)
    missing = Library(n for n in library.numbers if n.task != "MRPC")
    ((_, row),) = bench.table(library=missing).row("LoRA")
    assert row.average is not None
    assert row.average.published is None  # an average of other columns than its row shows


def test_costs_are_of_the_tasks_that_all_rows_have(bench: Bench) -> None:
    def cost(seconds: float, parameters_bytes: int) -> dict[str, object]:
        return {"seconds": Timing(1.0, seconds, 0.0, seconds), "bytes": Sizes(parameters_bytes, 1, 1)}

    bench.record(RTE, 0.5, **cost(100, 10))
    bench.record("method=lora task=glue/mrpc seed=0", 0.5, **cost(900, 99))
    bench.record("method=uora task=glue/rte seed=0", 0.5, **cost(50, 20))
    rows = {row.label: row.costs for block in bench.table().blocks for row in block.rows}
    assert (rows["lora"].seconds, rows["lora"].adapter_size) == (100, 10)
    assert (rows["uora"].seconds, rows["uora"].adapter_size) == (50, 20)


def test_a_failed_seed_is_told_from_one_that_was_not_run(bench: Bench) -> None:
    bench.record(RTE, 0.5)
    bench.record(
        "method=lora task=glue/rte seed=1", 0.9, status="failed", reason="nan", scores={}, epochs=(), counts=None
    )
    found = bench.table()
    assert entry(found, "lora", "rte").ours.count == "1 of 3, 1 failed"
    assert "50.00 (1 of 3, 1 failed)" in markdown.render(found)


def test_cells_scored_on_other_rows_are_pointed_out(bench: Bench) -> None:
    for seed, data in ((0, "aa"), (1, "bb")):
        bench.record(f"method=lora task=glue/rte seed={seed}", 0.5, provenance=known(data={"dev": data}))
        bench.record(f"method=lora task=glue/mrpc seed={seed}", 0.5, provenance=known(data={"dev": "cc"}))
    (line,) = [x for x in markdown.render(bench.table()).splitlines() if "UC15" in x]
    assert line == "a. UC15: scored on other rows of dev (bb); most rows: scored on other rows of dev (aa)"


@pytest.mark.parametrize(
    ("split", "said"),
    [
        ("validation", "dev (validation), which stands in for a test set"),
        ("train[80%:]", "dev (train[80%:]), a part of the training set"),
        ("test", "dev (test): the test split is used as dev"),
    ],
)
def test_what_dev_is_is_said_with_and_without_a_record(bench: Bench, split: str, said: str) -> None:
    bench.preset(set={"backbone": "minilm", "task.splits.dev": split})
    assert any(said in line for line in bench.table().about)


def test_why_nothing_is_marked(bench: Bench) -> None:
    def line() -> str:
        return next(x for x in bench.table().about if x.startswith("No entry is marked"))

    for seed in range(3):
        bench.record(f"method=lora task=glue/rte seed={seed}", 0.9)
    assert "no column has two rows with 3 seeds" in line()
    for seed in range(3):
        bench.record(f"method=uora task=glue/rte seed={seed}", 0.1)
    assert "with so few seeds the paired test cannot tell" in line()
    bench.preset(axes={**GRID["axes"], "seed": list(range(6))})  # type: ignore[dict-item]
    for seed in range(6):
        bench.record(f"method=lora task=glue/rte seed={seed}", 0.5 + (-1) ** seed / 10)
        bench.record(f"method=uora task=glue/rte seed={seed}", 0.5)
    assert "no difference survives" in line()


def test_lower_is_better_turns_verdicts_round() -> None:
    scores = {"a": {"loss": {s: 1.0 + s / 100 for s in range(6)}}, "b": {"loss": {s: 2.0 + s / 100 for s in range(6)}}}
    verdicts = {}
    for higher in (True, False):
        (line,) = row_comparison.compare_rows("", "b", scores, higher).lines
        verdicts[higher] = line.texts(2)[-1]
        assert line.improvement is not None
        assert line.improvement.point == (0 if higher else 1)
    assert verdicts == {True: "worse", False: "better"}
    few = {
        row: {"loss": {s: v for s, v in seeds.items() if s < 3}} for row, c in scores.items() for seeds in c.values()
    }
    (line,) = row_comparison.compare_rows("", "b", few, False).lines
    assert line.texts(2)[-1] == "too few pairs to tell"


def test_the_best_epochs_grades_are_not_the_last_ones(bench: Bench) -> None:
    import hashlib

    made = bench.record(RTE, 0.5)
    folder = bench.results / "records" / "quickstart"
    answers = folder / f"{made.cell_id}.mt_bench.jsonl"
    answers.write_text(json.dumps({"generation": {"cell_id": made.cell_id, "weights": "best"}}))
    content = {
        "complete": True, "turn_1": 5.5, "turn_2": 5.5, "score": 5.5, "judge": {"model": "m", "prompt_version": "1"},
        "answers": {"sha256": hashlib.sha256(answers.read_bytes()).hexdigest()},
    }  # fmt: skip
    (folder / f"{made.cell_id}.mt_bench_scores.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match="grades other answers"):
        grades.graded(made, folder)


def test_explain_says_why_a_finished_cell_has_no_score(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.record(RTE, 0.5)
    monkeypatch.setattr(write, "published_library", lambda: Library(()))
    text = explain.explain(["quickstart", "lora", "rte"], bench.results, "heldout_dev")
    assert "seed 0: no accuracy on dev under rule heldout_dev" in text
    assert any("1 of the missing ones are of finished cells" in x for x in bench.table(rule="heldout_dev").about)


def test_heldout_dev_scores_dev_also_where_a_test_set_is() -> None:
    found = write.make_table(
        request.GridRequest("tiny_e2e", "print"), ROOT / "results", write.published_library(), "heldout_dev"
    )
    assert {column.split for column in found.columns} == {"dev"}
    assert any(entry.ours.n for block in found.blocks for row in block.rows for entry in row.entries)

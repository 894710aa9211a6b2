"""Tables: which record stands where, what seeds become, and that nothing is filled in from elsewhere."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import made_up_report
from tests.support.paths import ROOT
from tests.support.records import finished_record
from tests.support.table_bench import Bench, entry
from uora_bench.cli.main import main
from uora_bench.errors import UserError
from uora_bench.grid import expand, request
from uora_bench.records.record import RuleScore
from uora_bench.report import collect, csv_file, explain, latex, markdown, published, table, write
from uora_bench.report.published import Library, Published


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path, monkeypatch)
    made.preset()
    return made


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=3))
def test_seeds_become_mean_median_and_sample_deviation(scores: list[float]) -> None:
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        made = Bench(Path(folder), patch)
        made.preset()
        for seed, score in enumerate(scores):
            made.record(f"method=lora task=glue/rte seed={seed}", score)
        number = entry(made.table(), "lora", "rte").ours
    scaled = [s * 100 for s in scores]
    assert number.by_seed == dict(enumerate(scaled))
    assert (number.n, number.planned) == (len(scores), 3)
    assert number.mean == statistics.fmean(scaled)
    assert number.median == statistics.median(scaled)
    assert number.std == (statistics.stdev(scaled) if len(scaled) > 1 else None)
    assert number.value == number.mean


def test_a_rule_shows_other_scores_of_the_same_records(bench: Bench) -> None:
    bench.record("method=lora task=glue/rte seed=0", 0.5)
    assert entry(bench.table(), "lora", "rte").ours.value == pytest.approx(50)
    best = bench.table(rule="best_dev")
    assert entry(best, "lora", "rte").ours.value == pytest.approx(60)
    assert "optimistic" in best.about[0]
    held = entry(bench.table(rule="heldout_dev"), "lora", "rte").ours
    assert held.value is None
    assert "no accuracy on dev under rule heldout_dev" in held.problems[0]


def test_missing_and_failed_cells_are_shown_as_such_and_never_counted(bench: Bench) -> None:
    bench.record("method=lora task=glue/rte seed=0", 0.5)
    bench.record(
        "method=uora task=glue/rte seed=1",
        0.9,
        status="failed",
        reason="loss is nan",
        scores={},
        epochs=(),
        counts=None,
    )
    found = bench.table()
    failed = entry(found, "uora", "rte").ours
    assert failed.value is None
    assert "seed 1: failed, loss is nan" in failed.problems
    lines = markdown.render(found).splitlines()
    assert next(line for line in lines if line.startswith("| uora")).endswith("| failed | – |")
    assert "50.00 (1 of 3)" in next(line for line in lines if line.startswith("| lora"))
    assert "failed" in latex.render(found)


def test_what_was_found_out_about_a_record_later_stands_below_its_score(bench: Bench) -> None:
    bench.record("method=lora task=glue/rte seed=0", 0.5, provenance={"remark": "its masks were others", "command": []})
    bench.record("method=lora task=glue/rte seed=1", 0.5)
    found = bench.table()
    assert "ours: its masks were others" in found.notes
    (line,) = [line for line in markdown.render(found).splitlines() if line.startswith("| lora")]
    assert "<sup>a</sup>" in line


def test_a_record_made_with_other_settings_is_an_orphan(bench: Bench) -> None:
    mine = bench.record("method=lora task=glue/rte seed=0", 0.5)
    other = bench.record("method=lora task=glue/rte seed=1 trainer.lr_adapter=9e-3", 0.9)
    found = bench.table()
    assert entry(found, "lora", "rte").ours.by_seed == {0: 50.0}
    assert found.orphans == (other.cell_id,)
    assert [r.cell_id for _, row in found.row("lora") for r in row.runs if r.status == "done"] == [mine.cell_id]


def test_the_command_line_narrows_and_sweeps_a_table_as_it_does_a_grid(bench: Bench) -> None:
    bench.record("method=lora task=glue/rte seed=0 method.rank=4", 0.4)
    bench.record("method=lora task=glue/rte seed=0", 0.5)
    found = bench.table("method=lora", "method.rank=4,8", "task=glue/rte")
    assert [c.label for c in found.columns] == ["rte"]
    assert entry(found, "lora rank=4", "rte").ours.by_seed == {0: 40.0}
    assert entry(found, "lora rank=8", "rte").ours.by_seed == {0: 50.0}


def test_a_later_record_of_the_same_cell_wins_and_a_failure_does_not(bench: Bench) -> None:
    words = "method=lora task=glue/rte seed=0"
    cell = expand.expand(["backbone=minilm", *words.split()]).items[0].cell
    assert cell is not None
    for data, score, when in (("old", 0.3, "2026-01-01"), ("new", 0.6, "2026-02-01")):
        rules = {r: RuleScore({"dev": {"accuracy": score}}, 1, "") for r in ("last", "best_dev")}
        made = finished_record(
            cell, cell.cell_id(data), "quickstart", scores=rules, provenance={"finished": when, "command": []}
        )
        made.write(bench.results / "records" / "quickstart")
    late = {"finished": "2026-03-01", "command": []}
    failed = finished_record(
        cell, cell.cell_id("x"), "quickstart", status="failed", reason="r", scores={}, counts=None, provenance=late
    )
    failed.write(bench.results / "records" / "quickstart")
    assert entry(bench.table(), "lora", "rte").ours.by_seed == {0: 60.0}


def test_a_cell_that_starts_from_another_is_found_by_its_start(bench: Bench) -> None:
    bench.preset(starts=[{"when": {"task": "glue/mrpc"}, "like": {"task": "glue/rte"}}])
    first = bench.record("method=lora task=glue/rte seed=0", 0.5)
    cold = bench.record("method=lora task=glue/mrpc seed=0", 0.1)
    assert entry(bench.table(), "lora", "mrpc").ours.by_seed == {}
    cell = {**cold.cell, "init_from": "0" * 64}
    for start, score in (("f" * 16, 0.2), (first.cell_id, 0.7)):
        known = {"finished": "2026-01-01", "command": [], "init_from": start}
        bench.record("method=lora task=glue/mrpc seed=0", score, cell=cell, provenance=known, cell_id=start[::-1])
    warm = entry(bench.table(), "lora", "mrpc")
    assert warm.ours.by_seed == {0: pytest.approx(70)}
    notes = [bench.table().notes[i] for i in warm.notes]
    assert any("started from the adapter of another cell" in note for note in notes)


def numbers(*rows: tuple[str, str, float]) -> Library:
    return Library(
        Published("VeRA", method, "Table 2", "RoBERTa-base", task, "accuracy", value, 0.4, "0.3M", "a source", "high")
        for method, task, value in rows
    )


SPEC = {
    "published": {"paper": "VeRA", "table": "Table 2"},
    "table": {
        "columns": [{"task": "glue/rte", "label": "RTE"}, {"task": "glue/mrpc", "label": "MRPC"}],
        "rows": [{"label": "LoRA", "when": {"method": "lora"}, "published": "LoRA"}],
        "notes": [{"text": "starts from MNLI", "when": {"method": "lora", "task": "glue/rte"}}],
        "paper": {"rule": "best_dev", "aggregate": "median", "seeds": 5},
    },
}


def test_published_numbers_stand_next_to_ours_and_never_in_them(bench: Bench) -> None:
    bench.preset(**SPEC)
    library = numbers(("LoRA", "RTE", 86.6), ("LoRA", "MRPC", 89.7), ("VeRA", "RTE", 78.7))
    bench.record("method=lora task=glue/rte seed=0", 0.5)
    found = bench.table(library=library)
    rte, mrpc = entry(found, "LoRA", "RTE"), entry(found, "LoRA", "MRPC")
    assert rte.ours.by_seed == {0: 50.0}
    assert rte.delta == pytest.approx(50 - 86.6)
    assert mrpc.ours.value is None
    assert mrpc.delta is None
    assert mrpc.published is not None
    assert mrpc.published.value == 89.7
    assert [found.notes[i] for i in rte.published_notes] == ["published: starts from MNLI"]
    assert mrpc.published_notes == ()
    assert not any(row.has_published for _, row in found.row("uora"))  # nobody published it
    assert any("The two rules differ" in line for line in found.about)
    text = markdown.render(found)
    ours, theirs, delta = (
        next(x for x in text.splitlines() if f"| {word} |" in x) for word in ("ours", "published", "Δ")
    )
    assert "86.6" in theirs
    assert "86.6" not in ours
    assert "−36.60" in delta
    rows = list(csv.DictReader(io.StringIO(csv_file.render(found))))
    assert [r["published"] for r in rows] == ["86.6", "89.7", "", ""]
    assert [r["ours_mean"] for r in rows] == ["50.0000", "", "", ""]
    assert rows[0]["published_source"] == "a source"


def test_two_published_numbers_for_one_place_are_refused() -> None:
    library = numbers(("LoRA", "RTE", 86.6), ("LoRA", "RTE", 85.0))
    with pytest.raises(UserError, match="2 published numbers of LoRA on RTE fit"):
        published.find_published(library.numbers, "LoRA", "RoBERTa-base", "RTE", None)
    with pytest.raises(UserError, match="did you mean 'VeRA Table 2'"):
        library.table("VeRA", "Table 22")


def test_part_of_the_data_and_rows_kept_away_are_footnotes(bench: Bench) -> None:
    bench.preset(set={"backbone": "minilm", "task.splits.train": "train[:100]", "trainer.holdout": 0.25})
    bench.record("method=lora task=glue/rte seed=0 task.splits.train=train[:100] trainer.holdout=0.25", 0.5)
    found = bench.table()
    notes = " ".join(found.notes[i] for i in entry(found, "lora", "rte").notes)
    assert "train[:100]" in notes
    assert "0.25 of it kept from the adapter" in notes


def test_an_average_needs_every_column(bench: Bench) -> None:
    bench.preset(table={"average": True})
    bench.record("method=lora task=glue/rte seed=0", 0.5)
    ((_, row),) = bench.table().row("lora")
    assert row.average is not None
    assert row.average.ours.value is None


def test_records_without_a_preset_are_told_apart_by_what_differs(bench: Bench, tmp_path: Path) -> None:
    for rank, score in ((4, 0.4), (8, 0.5)):
        bench.record(f"method=lora task=glue/rte seed=0 method.rank={rank}", score)
    (bench.results / "records" / "quickstart").rename(bench.results / "records" / "mine")
    found = table.build(collect.collect(request.GridRequest("mine", "print"), bench.results), None)
    assert entry(found, "lora rank=4", "rte").ours.by_seed == {0: 40.0}
    assert entry(found, "lora rank=8", "rte").ours.by_seed == {0: 50.0}
    with pytest.raises(UserError, match="did you mean 'mine'"):
        collect.collect(request.GridRequest("mien", "print"), bench.results)


def test_explain_names_cells_scores_rule_and_command(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bench.record("method=lora task=glue/rte seed=1", 0.5)
    monkeypatch.setattr(write, "published_library", lambda *_: Library(()))
    text = explain.explain(["quickstart", "lora", "rte"], bench.results, None)
    assert "quickstart · lora · rte: 50.00" in text
    assert "mean of 1 of 3 seeds; accuracy on dev × 100" in text
    assert f"records/quickstart/{made.cell_id}.json, epoch 2 of 1" in text
    assert "seed 0: missing" in text
    (line,) = [x.strip() for x in text.splitlines() if "uora-bench " in x and "seed=1" in x]
    *words, data, expected = shlex.split(line)[1:]
    assert data == "data.root=<folder with glue/rte/, unless it was the Hub: the record does not say>"
    assert expected == f"expect_cell_id={made.cell_id}"
    assert (
        expand.expand(words).items[0].cell.key
        == expand.expand(["backbone=minilm", "method=lora", "task=glue/rte", "seed=1"]).items[0].cell.key
    )  # type: ignore[union-attr]
    for words, message in (
        (["quickstrat", "lora", "rte"], "did you mean 'quickstart'"),
        (["quickstart", "lorra", "rte"], "did you mean 'lora'"),
        (["quickstart", "lora", "rt"], "did you mean 'rte'"),
        (["QUICKSTRAT", "lora", "rte"], "did you mean 'quickstart'"),
        (["quickstart", "LORRA", "rte"], "no row 'LORRA' in 'quickstart'; did you mean 'lora'"),
        (["quickstart", "lora", "RT"], "no column 'RT' in 'quickstart'; did you mean 'rte'"),
        (["quickstart", "lora", "rte", "base"], "no block 'base'"),
        (["quickstart"], "a number is named by TABLE ROW COLUMN"),
    ):
        with pytest.raises(UserError, match=message):
            explain.explain(words, bench.results, None)


def test_explain_takes_labels_in_any_case(bench: Bench) -> None:
    bench.record("method=lora task=glue/rte seed=1", 0.5)
    said = explain.explain(["quickstart", "lora", "rte"], bench.results, None)
    assert f"record {bench.results}/records/quickstart/" in said
    assert explain.explain(["QuickStart", "LoRA", "RTE"], bench.results, None) == said


def test_explain_takes_blocks_in_any_case(tmp_path: Path) -> None:
    own = explain.explain(["vera_table2", "LoRA", "SST-2", "RoBERTa-base"], tmp_path, None)
    assert explain.explain(["VERA_table2", "lora", "sst-2", "roberta-BASE"], tmp_path, None) == own
    with pytest.raises(UserError, match=r"no block 'ROBERTA-bse' in 'vera_table2'; did you mean 'RoBERTa-base'"):
        explain.explain(["vera_table2", "LoRA", "SST-2", "ROBERTA-bse"], tmp_path, None)


def test_labels_that_differ_in_case_alone_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made, _ = made_up_report.make(tmp_path)
    (block,) = made.blocks
    rows = (replace(block.rows[0], label="lora"), replace(block.rows[1], label="LoRA"))
    monkeypatch.setattr(write, "make_table", lambda *_: replace(made, blocks=(replace(block, rows=rows),)))
    for label in ("lora", "LoRA"):
        assert f" · {label} · " in explain.explain(["quickstart", label, "NLI"], tmp_path, None)
    with pytest.raises(UserError, match=r"row 'LORA' is ambiguous: 'LoRA', 'lora'"):
        explain.explain(["quickstart", "LORA", "NLI"], tmp_path, None)


def test_grades_in_the_folder_of_a_record_are_a_score_of_their_own_split(bench: Bench) -> None:
    column = {"task": "glue/rte", "label": "MT", "split": "mt_bench", "metric": "turn_1", "scale": 1.0}
    bench.preset(table={"columns": [column]})
    made = bench.record("method=lora task=glue/rte seed=0", 0.5)
    folder = bench.results / "records" / "quickstart"
    answers = folder / f"{made.cell_id}.mt_bench.jsonl"
    answers.write_text(json.dumps({"generation": {"cell_id": made.cell_id, "weights": "last"}}) + "\n")
    digest = hashlib.sha256(answers.read_bytes()).hexdigest()
    content = {
        "complete": False,
        "turn_1": 5.5,
        "turn_2": None,
        "score": 5.5,
        "judge": {"model": "a-judge", "prompt_version": "1"},
        "answers": {"sha256": digest},
    }
    path = folder / f"{made.cell_id}.mt_bench_scores.json"
    path.write_text(json.dumps(content))
    assert entry(bench.table(), "lora", "MT").ours.value is None  # not every question has been judged
    path.write_text(json.dumps({**content, "complete": True}))
    found = bench.table()
    number = entry(found, "lora", "MT")
    assert number.ours.by_seed == {0: 5.5}
    assert "graded by a-judge" in found.notes[number.notes[0]]
    answers.write_text(answers.read_text() + "{}\n")
    with pytest.raises(UserError, match="grades other answers than"):
        bench.table()


# --- the command, and what is committed -----------------------------------------------------------------------------


def report(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "uora_bench", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )


def test_a_label_with_an_equals_sign_names_a_row(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    assert main(["explain", "minilm_glue", "UORA r=32 (τ 1e-5)", "Avg"]) == 0
    assert "UORA r=32 (τ 1e-5)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["table"], "did you mean 'tables'"),
        (["tables", "rule=lst"], "did you mean 'last'"),
        (["tables", "experiment=minilm_gleu"], "did you mean 'minilm_glue'"),
        (["tables", "method=lora"], "needs an experiment"),
        (["tables", "--chek"], "did you mean 'check'"),
        (["explain", "minilm_glue"], "no setting is called 'minilm_glue'"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(words: list[str], message: str) -> None:
    done = report(*words)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_tables_import_neither_torch_nor_what_trains() -> None:
    code = (
        "import sys; from uora_bench.cli.main import main; code = main(['tables', 'experiment=minilm_glue']);"
        "bad = {'torch', 'transformers', 'datasets', 'wandb', 'matplotlib', 'pandas'} & set(sys.modules);"
        "assert code == 0 and not bad, bad"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "## MiniLM" in done.stdout


def test_the_committed_tables_and_figures_are_what_the_committed_records_give(tmp_path: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z", "results"], cwd=ROOT, capture_output=True, check=False)
    if listed.returncode or not listed.stdout:
        why = "needs a git checkout: what is committed cannot be told from one's own records"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(why)
    for name in listed.stdout.decode().strip("\0").split("\0"):  # records of one's own may lie beside them
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(ROOT / name)
    for what in ("tables", "figures"):  # of figures only the plotted numbers are compared
        done = report(what, "check=true", f"results.dir={tmp_path / 'results'}")
        assert done.returncode == 0, done.stderr


def test_a_table_that_was_edited_does_not_pass_the_check(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.record("method=lora task=glue/rte seed=0", 0.5)
    contents = write.files([bench.table()], bench.results / "tables")
    write.write_files(contents)
    write.check(contents)
    path = bench.results / "tables" / "quickstart.md"
    path.write_text(path.read_text("utf-8").replace("50.00", "51.00"), "utf-8")
    with pytest.raises(UserError, match=r"quickstart.md' differs from what the records give; run `uora-bench tables`"):
        write.check(contents)
    write.write_files(contents)
    (bench.results / "tables" / "old.md").write_text("")
    with pytest.raises(UserError, match=r"old.md"):
        write.check(contents)


def test_rows_with_too_long_a_prompt_are_a_footnote(bench: Bench) -> None:
    long = {"backbone": "tiny_llama", "task.too_long": "drop"}
    bench.preset(axes={"method": ["lora"], "task": ["instruct/alpaca_1000"], "seed": [0]}, set=long)
    words = "backbone=tiny_llama method=lora task=instruct/alpaca_1000 seed=0 task.too_long=drop"
    bench.record(words, 0.5, "loss", provenance={"too_long": {"train": 3, "dev": 1}})
    found = bench.table()
    assert "ours: rows with too long a prompt were left out: 3 of train, 1 of dev" in found.notes


def test_rows_that_nobody_compared_with_the_set_they_are_called_are_said_above_the_table(bench: Bench) -> None:
    bench.record("method=lora task=glue/rte seed=0", 0.5, provenance={"rows_from": "files+mirror", "command": []})
    bench.record("method=lora task=glue/rte seed=1", 0.5, provenance={"rows_from": "mirror", "command": []})
    bench.record("method=lora task=glue/mrpc seed=0", 0.5, provenance={"rows_from": "hub", "command": []})
    said = [line for line in bench.table().about if "not verified against published checksums" in line]
    assert said == ["Local data files, not verified against published checksums: cells 1 of 2 on glue/rte."]
    older = {"data_files": {"train.jsonl": "0" * 16}, "command": []}  # of before it was asked
    bench.record("method=uora task=glue/mrpc seed=0", 0.5, provenance=older)
    assert any(line.endswith("cells 1 of 2 on glue/rte, 1 of 2 on glue/mrpc.") for line in bench.table().about)

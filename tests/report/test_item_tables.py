"""Rows compared item by item in a table: from the predictions beside records to the verdicts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.command_line import environment
from tests.support.table_bench import Bench, kept
from uora_bench.errors import UserError
from uora_bench.records.predictions import EpochPredictions, predictions_path, write_predictions
from uora_bench.records.record import CellRecord, RuleScore, read_record, record_paths
from uora_bench.report import markdown
from uora_bench.report.items import crossed, mcnemar

COUNT = 400


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(tmp_path, monkeypatch)


def preset(bench: Bench, seeds: list[int], **table: Any) -> None:
    bench.preset(axes={"method": ["lora", "uora", "vera"], "task": ["glue/rte"], "seed": seeds}, table=table)


def test_five_verdicts_of_one_table_over_items_and_seeds(bench: Bench) -> None:
    draws = np.random.default_rng(0)
    easy = draws.random(1000)
    rows = {
        "lora": [easy < 0.8 for _ in range(3)],
        "uora": [np.roll(easy < 0.8, 0) ^ (np.arange(1000) == seed) for seed in range(3)],  # a single other item
        "vera": [easy < 0.5 for _ in range(3)],
    }
    for method, own in rows.items():
        for seed, right in enumerate(own):
            kept(bench, method, seed, right)
    preset(bench, [0, 1, 2], margin={"points": 1.0, "reference": "lora"})
    (found,) = bench.table().comparisons
    lines = {line.row: line for line in found.items}
    assert lines["uora"].verdict == "equivalent within 1"
    assert lines["vera"].verdict == "worse"
    expected = crossed((np.array(rows["vera"]).astype(float) - np.array(rows["lora"])) * 100, 100.0)
    assert lines["vera"].found == expected
    # the permutation draws 9,999 times, so that its p is no smaller than 2 / 10,000
    assert expected.p < lines["vera"].p_items == lines["vera"].p == pytest.approx(2 * 2 / 10_000)
    text = markdown.render(bench.table())
    assert "| vera | rte | 1000 × 3 |" in text
    assert "verdicts are of *p both*, and of two one-sided 5 % tests against the preset's margin of 1 points." in text
    assert any(sheet.label == "items" for sheet in found.sheets(2))
    assert bench.table(rule="best_dev").comparisons[0].items[0].found.mean == 0.0  # another epoch's predictions


def test_one_seed_is_mcnemars_and_items_are_matched_by_what_they_are(bench: Bench) -> None:
    a, b = np.arange(COUNT) % 4 != 0, np.arange(COUNT) % 5 != 0
    order = np.random.default_rng(1).permutation(COUNT)
    kept(bench, "lora", 0, a)
    kept(bench, "uora", 0, b[order], order.astype(np.uint64))
    kept(bench, "vera", 0, b[:50])  # some of the items
    preset(bench, [0], reference="lora")
    lines = {line.row: line for line in bench.table().comparisons[0].items}
    assert lines["uora"].p_items == pytest.approx(min(1.0, 2 * mcnemar(b, a)[0]))
    assert lines["uora"].found.items == COUNT
    assert lines["vera"].found.items == 50


def test_a_metric_that_is_no_mean_is_computed_again_without_each_item(bench: Bench) -> None:
    draws = np.random.default_rng(5)
    right = {
        method: [draws.random(COUNT) < share for _ in range(3)] for method, share in (("lora", 0.8), ("uora", 0.6))
    }
    for method, own in right.items():
        for seed, hits in enumerate(own):
            kept(bench, method, seed, hits, task="glue/mrpc", metric="f1")
    columns = [{"task": "glue/mrpc", "label": "F1", "metric": "f1", "scale": 100.0}]
    axes = {"method": ["lora", "uora"], "task": ["glue/mrpc"], "seed": [0, 1, 2]}
    bench.preset(axes=axes, table={"reference": "lora", "columns": columns})
    (line,) = bench.table().comparisons[0].items
    answers = np.arange(COUNT) % 2

    def f1(hits: np.ndarray) -> float:
        predicted = np.where(hits, answers, 1 - answers)
        return 200 * (predicted & answers).sum() / (predicted.sum() + answers.sum())

    expected = np.mean([f1(hits) for hits in right["uora"]]) - np.mean([f1(hits) for hits in right["lora"]])
    assert line.found.mean == pytest.approx(expected)
    assert line.verdict == "worse"
    assert 0 < line.p_items < 0.001


def test_a_column_without_scores_of_items_is_named_with_the_reason(bench: Bench) -> None:
    for method in ("lora", "uora"):
        kept(bench, method, 0, np.arange(COUNT) % 3 > 0)
        kept(bench, method, 0, np.arange(COUNT) % 3 > 0, task="glue/stsb", metric="spearmanr")
    columns = [{"task": "glue/rte", "label": "RTE"}, {"task": "glue/stsb", "label": "STS-B", "metric": "spearmanr"}]
    axes = {"method": ["lora", "uora"], "task": ["glue/rte", "glue/stsb"], "seed": [0]}
    bench.preset(axes=axes, table={"reference": "lora", "columns": columns})
    assert [line.column for line in bench.table().comparisons[0].items] == ["RTE"]
    assert "STS-B is not compared over items: ranks depend on all items." in markdown.render(bench.table())


def test_without_predictions_nothing_is_said_over_items_and_scipy_is_not_imported(bench: Bench, root: Path) -> None:
    for method in ("lora", "uora"):
        bench.record(f"method={method} task=glue/rte seed=0", 0.5)
    preset(bench, [0], reference="lora")
    assert bench.table().comparisons[0].items == ()
    code = (
        "import sys; from uora_bench.cli.main import main; main(['tables', 'experiment=minilm_glue']); "
        "print([m for m in ('scipy.stats', 'pyarrow') if m in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(root), cwd=root, capture_output=True, text=True)
    assert done.stderr.strip() == "[]"


def test_where_nothing_is_compared_over_items_the_table_says_why(bench: Bench) -> None:
    margin = {"points": 1.0, "reference": "lora"}
    halves = RuleScore({"dev": {"accuracy": 0.5}}, None, "")
    for method in ("lora", "uora"):
        kept(bench, method, 0, np.arange(COUNT) % 3 > 0)
        change(bench, method, lambda record: replace(record, scores={**record.scores, "heldout_dev": halves}))
    preset(bench, [0], margin=margin)
    assert "nothing is compared item by item" not in markdown.render(bench.table())
    said = "nothing is compared item by item: under rule heldout_dev each half of dev is scored by another epoch."
    assert said in markdown.render(bench.table(rule="heldout_dev"))
    for method in ("lora", "uora"):
        change(bench, method, lambda record: replace(record, provenance=replace(record.provenance, predictions=None)))
    assert "nothing is compared item by item: no predictions are kept." in markdown.render(bench.table())


def change(bench: Bench, method: str, how: Callable[[CellRecord], CellRecord]) -> None:
    """Write the records of ``method`` again, changed."""
    folder = bench.results / "records" / "quickstart"
    for path in record_paths(folder):
        record = read_record(path)
        if record.cell["method"]["name"] == method:
            how(record).write(folder)


@pytest.mark.parametrize("answers", [[["a", "b"]] * COUNT, ["a"] * COUNT, np.full(COUNT, 7), np.full(COUNT, -1)])
def test_right_answers_that_are_no_classes_stop_no_table(bench: Bench, answers: Any) -> None:
    kept(bench, "lora", 0, np.arange(COUNT) % 3 > 0)
    folder, items = bench.results / "records" / "quickstart", np.arange(COUNT, dtype=np.uint64)
    logits = np.zeros((COUNT, 2), dtype=np.float32)

    def with_answers(record: CellRecord) -> CellRecord:
        part = EpochPredictions("dev", 2, items, answers, answers, logits)
        file = write_predictions(predictions_path(folder, record.cell_id), [part], 10**6)
        return replace(record, provenance=replace(record.provenance, predictions=file))

    change(bench, "lora", with_answers)
    preset(bench, [0])
    assert "most frequent class" not in markdown.render(bench.table())


def test_a_margin_names_the_reference_row_and_no_other(bench: Bench) -> None:
    with pytest.raises(UserError, match="must be one row"):
        preset(bench, [0], reference="uora", margin={"points": 1.0, "reference": "lora"})
    with pytest.raises(UserError, match=r"must be at least 0\.001"):
        preset(bench, [0], margin={"points": 0.0, "reference": "lora"})


def test_predictions_that_do_not_have_the_recorded_score_are_refused(bench: Bench) -> None:
    for method in ("lora", "uora"):
        kept(bench, method, 0, np.arange(COUNT) % 4 != 0)
    preset(bench, [0], reference="lora")
    assert bench.table().comparisons
    kept(bench, "vera", 0, np.arange(COUNT) % 5 != 0)
    folder = bench.results / "records" / "quickstart"
    path = next(p for p in record_paths(folder) if read_record(p).cell["method"]["name"] == "vera")
    path.write_text(path.read_text("utf-8").replace("0.8", "0.9"), "utf-8")
    with pytest.raises(UserError, match=r"give accuracy 0\.8000, and its record 0\.9000"):
        bench.table()


@pytest.mark.parametrize("seeds", [1, 3])
def test_few_items_show_nothing_however_alike_they_are(bench: Bench, seeds: int) -> None:
    for seed in range(seeds):
        kept(bench, "lora", seed, np.zeros(5, dtype=bool))
        kept(bench, "uora", seed, np.ones(5, dtype=bool))  # right where the reference is wrong, every time
        kept(bench, "vera", seed, np.zeros(5, dtype=bool))  # nothing right, as the reference
    preset(bench, list(range(seeds)), margin={"points": 3.0, "reference": "lora"})
    lines = {line.row: line for line in bench.table().comparisons[0].items}
    assert lines["uora"].p == pytest.approx(2 * 2 / 2**5)
    assert lines["uora"].verdict == "not inferior within 3"
    assert lines["uora"].found.interval(0.95).low < 50
    assert lines["vera"].verdict == "cannot tell"
    ends = lines["vera"].found.interval(0.95)
    assert ends.low < -3 < 3 < ends.high


def test_a_row_on_other_items_is_named_and_one_on_some_of_them_says_how_many(bench: Bench) -> None:
    right = np.arange(COUNT) % 4 != 0
    kept(bench, "lora", 0, right)
    kept(bench, "uora", 0, right, np.arange(COUNT, 2 * COUNT, dtype=np.uint64))
    kept(bench, "vera", 0, right[:50])
    preset(bench, [0], reference="lora")
    found = bench.table()
    assert [line.row for line in found.comparisons[0].items] == ["vera"]
    text = markdown.render(found)
    assert "Not compared over items, with no seed or fewer than two items in common: uora on rte." in text
    assert "| vera | rte | 50 of 400 × 1 |" in text

"""What may not be compared: a made-up table for every rule, on each level that a preset may give it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.paths import ROOT
from tests.support.table_bench import Bench, entry
from uora_bench.errors import UserError
from uora_bench.grid import request
from uora_bench.records.predictions import EpochPredictions, predictions_path, write_predictions
from uora_bench.records.provenance import PredictionsFile, Provenance
from uora_bench.records.record import CellRecord
from uora_bench.report import collect, table
from uora_bench.report.comparability import DIFFER, TITLES

PAGE = (ROOT / "docs" / "comparability.md").read_text("utf-8")
GRID = {"axes": {"method": ["lora", "uora", "vera"], "task": ["glue/rte"], "seed": [0]}}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    made = Bench(tmp_path, monkeypatch)
    made.preset(**GRID)
    return made


def odd_one(bench: Bench, words: str = "", **changes: Any) -> CellRecord:
    """LoRA and VeRA as they are, and UORA with ``words`` in its command and ``changes`` to its record."""
    for method in ("lora", "vera"):
        bench.record(f"method={method} task=glue/rte seed=0", 0.6, **changes.get("others", {}))
    return bench.record(f"method=uora task=glue/rte seed=0 {words}", 0.7, **changes.get("own", {}))


def grid_of(**setting: Any) -> dict[str, Any]:
    return {**GRID, "set": {"backbone": "minilm"}, "rules": ({"when": {"method": "uora"}, "set": setting},)}


def data(**digests: str) -> Provenance:
    return Provenance(data=digests)


SETTINGS = {
    "UC01": ({"trainer.epochs": 77}, "trained for 77 epochs; most rows: trained for "),
    "UC05": ({"trainer.holdout": 0.2}, "0.2 of it kept from the adapter; most rows: trained on the whole training set"),
}
FACTS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {  # rule -> its record, the others', what is said
    "UC02": (
        {"sources": {"trainer.lr_adapter": "command line"}}, {"sources": {"trainer.lr_adapter": "paper"}},
        "rate set by hand; most rows: rate of the recipe, not searched",
    ),
    "UC07": ({"precision": "float32"}, {"precision": "bfloat16"}, "computed in float32, weights kept in float32; most"),
    "UC15": (
        {"provenance": data(train="0", dev="aaaaaaaaaa")}, {"provenance": data(train="1", dev="bbbbbbbbbb")},
        "scored on other rows of dev (aaaaaaaa); most rows: scored on other rows of dev (bbbbbbbb)",
    ),
}  # fmt: skip
CELLS: dict[str, tuple[dict[str, Any], dict[str, Any], str]] = {  # the same of its cell
    "UC04": ({"init_from": "f" * 64}, {}, "started from the adapter of another cell; most rows: started from the pre"),
    "UC09": ({"metric": "a" * 64}, {}, "of glue/rte (sha256 aaaaaaaaaaaa); most rows: scored by version"),
    "UC10": ({"plugins": {"mine": "a" * 64}}, {"plugins": {"mine": "b" * 64}}, "plug-in mine of sha256 aaaaaaaaaaaa"),
    "UC06": (
        {"task": {"options": {"loss_on_prompt": True}}}, {"task": {"options": {"loss_on_prompt": False}}},
        "loss on the prompt; most rows: loss not on the prompt",
    ),
}  # fmt: skip


def merged(cell: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    made = dict(cell)
    for key, value in changes.items():
        made[key] = merged(made.get(key) or {}, value) if isinstance(value, dict) and key != "plugins" else value
    return made


def collected(bench: Bench, rule: str) -> collect.Collection:
    """The cells of a table in which UORA's row differs by ``rule``."""
    if rule in SETTINGS:
        setting, _ = SETTINGS[rule]
        bench.preset(**grid_of(**setting))
        odd_one(bench, " ".join(f"{k}={v}" for k, v in setting.items()))
    elif rule in FACTS:
        own, others, _ = FACTS[rule]
        odd_one(bench, own=own, others=others)
    else:
        odd_one(bench)
    found = collect.collect(request.read_request(["experiment=quickstart"]), bench.results)
    if rule not in CELLS:
        return found
    own, others, _ = CELLS[rule]
    runs = []
    for run in found.runs:  # what a cell holds is its id: changed where it has been read
        change = own if run.row["method"] == "uora" else others
        runs.append(replace(run, recorded=replace(run.record, cell=merged(run.record.cell, change))))
    return replace(found, runs=tuple(runs))


def built(bench: Bench, rule: str, level: str | None = None) -> table.Table:
    found = collected(bench, rule)
    spec = table.TableSpec(comparability={rule: level} if level else {})  # type: ignore[dict-item]
    return table.build(replace(found, experiment=replace(found.experiment, table=spec)), None)


def said(rule: str) -> str:
    return SETTINGS[rule][1] if rule in SETTINGS else (FACTS.get(rule) or CELLS[rule])[2]


@pytest.mark.parametrize("rule", sorted({*SETTINGS, *FACTS, *CELLS}))
def test_a_row_that_differs_is_noted_put_apart_or_refused(rule: str, bench: Bench) -> None:
    noted = built(bench, rule)
    (index,) = [i for i, text in enumerate(noted.notes) if text.startswith(rule)]
    assert said(rule) in noted.notes[index]
    assert index in entry(noted, "uora", "rte").notes
    assert not any(text.startswith(rule) for i in entry(noted, "lora", "rte").notes for text in [noted.notes[i]])
    apart = built(bench, rule, "split")
    assert [[row.label for row in block.rows] for block in apart.blocks] == [["lora", "vera"], ["uora"]]
    assert all(block.label.startswith(f"{rule}: ") for block in apart.blocks)
    assert not any("most rows" in text for text in apart.notes)
    with pytest.raises(UserError, match=rf"this table is refused by rule {rule} \({TITLES[rule]}\): "):
        built(bench, rule, "refuse")


def test_every_rule_that_compares_rows_has_a_made_up_table() -> None:
    assert {rule.id for rule in DIFFER} == {*SETTINGS, *FACTS, *CELLS}


def test_the_page_has_every_rule_once_with_its_case() -> None:
    rows = re.findall(r"^\| (UC\d\d) \| (.+?) \| (.+?) \|$", PAGE, re.MULTILINE)
    assert [rule for rule, _, _ in rows] == sorted(TITLES)
    assert all(len(case) > 20 for _, _, case in rows)


def test_alike_rows_are_said_only_where_they_are_no_plain_run(bench: Bench) -> None:
    odd_one(bench)
    assert [text for text in bench.table().notes if text.startswith("UC")] == []
    every = {"when": {"method": "*"}, "set": {"task.splits.train": "train[:100]"}}
    bench.preset(**{**GRID, "set": {"backbone": "minilm"}, "rules": (every,)})
    for method in ("lora", "vera", "uora"):
        bench.record(f"method={method} task=glue/rte seed=0 task.splits.train=train[:100]", 0.6)
    assert [text for text in bench.table().notes if text.startswith("UC")] == ["UC05: trained on train[:100]"]


def test_an_unknown_rule_and_a_split_that_splits_nothing_are_refused(bench: Bench) -> None:
    for levels, message in (({"UC1": "note"}, "no rule 'UC1'; did you mean"), ({"UC08": "split"}, "splits no rows")):
        bench.preset(**GRID, table={"comparability": levels})
        with pytest.raises(UserError, match=message):
            bench.table()


def kept(bench: Bench, method: str, shares: tuple[float, ...], score: float) -> None:
    """A record with predictions, whose right answers have classes of these ``shares``."""
    count = 100
    answers = np.repeat(np.arange(len(shares)), [round(share * count) for share in shares])
    part = EpochPredictions(
        "dev", 2, np.arange(count, dtype=np.uint64), answers, answers, np.zeros((count, len(shares)))
    )
    made = bench.record(f"method={method} task=glue/rte seed=0", score)
    folder = bench.results / "records" / "quickstart"
    file = write_predictions(predictions_path(folder, made.cell_id), [part], 10**6)
    replace(made, provenance=replace(made.provenance, predictions=file)).write(folder)


def test_a_row_that_did_not_learn_or_scores_like_one_class_is_noted(bench: Bench) -> None:
    kept(bench, "lora", (0.7, 0.3), 0.71)
    kept(bench, "uora", (0.7, 0.3), 0.70)
    stuck = bench.record("method=vera task=glue/rte seed=0", 0.9)
    bench.preset(**GRID)
    epochs = tuple(replace(one, train_loss=0.69) for one in stuck.epochs)
    replace(stuck, epochs=epochs).write(bench.results / "records" / "quickstart")
    found = bench.table()
    assert [found.notes[i] for i in entry(found, "uora", "rte").notes] == [
        "UC13: no better than always the most frequent class (seeds 0)"
    ]
    assert entry(found, "lora", "rte").notes == ()
    (note,) = (found.notes[i] for i in entry(found, "vera", "rte").notes)
    assert note.startswith("UC12: did not learn")
    assert note.endswith("(seed 0: 0.690)")
    assert "Always the most frequent class: rte 70.00." in found.about
    kept(bench, "uora", (0.6, 0.4), 0.70)  # of other data
    assert "Always the most frequent class: rte 60.00 or 70.00." in bench.table().about
    # ln 2 of equal classes, 0.611 of 70 and 30 %; a large loss of sure answers that are mostly right has learnt
    for loss, score, learnt in ((0.606, 0.71, False), (0.60, 0.71, True), (0.9, 0.71, False), (0.9, 0.9, True)):
        kept(bench, "vera", (0.7, 0.3), score)
        path = bench.results / "records" / "quickstart"
        (run,) = (r for r in collect.collect(request.read_request(["experiment=quickstart"]), bench.results).runs
                  if r.row["method"] == "vera")  # fmt: skip
        replace(run.record, epochs=tuple(replace(e, train_loss=loss) for e in run.record.epochs)).write(path)
        found = bench.table()
        assert (entry(found, "vera", "rte").notes == ()) == learnt


def test_the_shares_of_a_small_or_narrow_part_tell_nothing_of_what_was_trained_on(bench: Bench) -> None:
    bench.preset(**GRID)
    for count, shares in ((100, (1.0, 0.0)), (4, (0.5, 0.5))):  # one class alone; few rows
        answers = np.repeat(np.arange(2), [round(share * count) for share in shares])
        part = EpochPredictions("dev", 2, np.arange(count, dtype=np.uint64), answers, answers, np.zeros((count, 3)))
        made = bench.record("method=vera task=glue/rte seed=0", 0.9)
        folder = bench.results / "records" / "quickstart"
        file = write_predictions(predictions_path(folder, made.cell_id), [part], 10**6)
        # of three classes: a loss of 0.7 has learnt, ln 3 = 1.099 has not
        for loss, learnt in ((0.7, True), (1.099, False)):
            epochs = tuple(replace(one, train_loss=loss) for one in made.epochs)
            provenance = replace(made.provenance, predictions=file)
            replace(made, epochs=epochs, provenance=provenance).write(folder)
            found = bench.table()
            noted = [found.notes[i] for i in entry(found, "vera", "rte").notes]
            assert any(text.startswith("UC12") for text in noted) != learnt


def test_a_row_that_stopped_early_has_not_seen_the_same(bench: Bench) -> None:
    made = odd_one(bench)
    stopped = replace(made, provenance=replace(made.provenance, stopped_early=10))
    stopped.write(bench.results / "records" / "quickstart")
    found = bench.table()
    (note,) = [text for text in found.notes if text.startswith("UC01")]
    assert note.startswith("UC01: stopped early, after 10 steps; most rows: trained for ")


def test_a_verdict_says_which_of_its_rows_did_not_learn(bench: Bench) -> None:
    table = {
        "reference": "UORA",
        "rows": [{"label": name, "when": {"method": name.lower()}} for name in ("LoRA", "VeRA", "UORA")],
    }
    bench.preset(axes={**GRID["axes"], "seed": [0, 1, 2]}, table=table)
    for method, losses in (("lora", (0.3, 0.3, 0.3)), ("vera", (0.3, 0.69, 0.3)), ("uora", (0.69, 0.69, 0.3))):
        for seed, loss in enumerate(losses):
            made = bench.record(f"method={method} task=glue/rte seed={seed}", 0.7 + seed / 100)
            epochs = tuple(replace(one, train_loss=loss) for one in made.epochs)
            replace(made, epochs=epochs).write(bench.results / "records" / "quickstart")
    (sheet, *_) = bench.table().sheets
    verdicts = {row[0]: row[-1].partition(" (")[2] for row in sheet.rows}
    assert verdicts == {
        "LoRA": "UC12: reference did not learn on rte)",
        "VeRA": "UC12: row and reference did not learn on rte)",
    }


def test_what_holds_for_the_whole_table_is_a_line_or_a_refusal(bench: Bench) -> None:
    made = odd_one(bench)
    lines = bench.table().about
    assert any("UC11: 3 of 3 cells have no predictions (made before predictions were kept)" in line for line in lines)
    assert any(line.startswith("UC08: Whether the cells had their machine to themselves") for line in lines)
    off = replace(made.provenance, predictions=PredictionsFile(left_out="predictions.keep=false"))
    replace(made, provenance=off).write(bench.results / "records" / "quickstart")
    for rule in ("UC08", "UC11"):
        bench.preset(**GRID, table={"comparability": {rule: "refuse"}})
        with pytest.raises(UserError, match=f"refused by rule {rule}"):
            bench.table()


def test_an_average_over_unlike_numbers_of_seeds_is_noted_or_refused(bench: Bench) -> None:
    axes = {"method": ["lora"], "task": ["glue/rte", "glue/mrpc"], "seed": [0, 1]}
    bench.preset(axes=axes, table={"average": True})
    for task, seeds in (("rte", (0, 1)), ("mrpc", (0,))):
        for seed in seeds:
            bench.record(f"method=lora task=glue/{task} seed={seed}", 0.6)
    assert "UC14: the columns of an average have from 1 to 2 seeds." in bench.table().about
    bench.preset(axes=axes, table={"average": True, "comparability": {"UC14": "refuse"}})
    with pytest.raises(UserError, match="refused by rule UC14"):
        bench.table()

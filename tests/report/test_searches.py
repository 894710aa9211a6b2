"""What reports say of searches: the expected best of k trials, and the committed search."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest

from uora_bench.grid.search import read_search
from uora_bench.records.record import read_records
from uora_bench.report import searches
from uora_bench.report.collect import Run
from uora_bench.report.searches import behind, budget, costs, expected_best, render_search

RESULTS = Path(__file__).parents[2] / "results"


def test_the_expected_best_of_k_is_the_mean_over_all_draws_with_replacement() -> None:
    scores = [3.0, 1.0, 2.0, 2.0]
    for k, (mean, low, high) in enumerate(expected_best(scores), start=1):
        every = [max(draw) for draw in itertools.product(scores, repeat=k)]
        assert mean == pytest.approx(sum(every) / len(every))
        assert 1 <= low <= mean <= high <= 3
    lowest = expected_best(scores, higher_is_better=False)
    assert lowest[0][0] == 2
    assert lowest[3][0] < lowest[0][0]


def test_the_committed_search_is_what_the_records_give_and_says_that_trials_are_unequal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uora_bench.cli.main import main

    (tmp_path / "records").symlink_to(RESULTS / "records")
    words = ["experiment=minilm_search", "launcher=print", f"results.dir={tmp_path}", f"runs.dir={tmp_path}"]
    assert main(["search", *words]) == 0
    assert "UC02: unequal numbers of trials: UORA" in capsys.readouterr().out
    for name in ("minilm_search.json", "minilm_search.md"):
        assert (tmp_path / "searches" / name).read_bytes() == (RESULTS / "searches" / name).read_bytes()
    found = read_search(RESULTS / "searches" / "minilm_search.json")
    assert {row.method: len(row.trials) for row in found.rows} == {
        "lora": 3, "vera": 3, "uora": 6, "tied_lora": 3, "alpha_lora": 3, "full": 3, "head_only": 3
    }  # fmt: skip
    assert "**UC02**" in render_search(found)
    assert main(["tables", "experiment=minilm_glue", f"results.dir={tmp_path}"]) == 0
    assert (
        "UC02: rate chosen from 6 trials with trainer.epochs=3; most rows: rate chosen from 3 trials with"
        in capsys.readouterr().out
    )


def test_the_cost_of_the_search_is_the_sum_over_its_trials_or_unknown(tmp_path: Path) -> None:
    for name in ("records/smollm2_search", "searches"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to(RESULTS / name)
    record = next(r for r in read_records(RESULTS / "records" / "smollm2_tasks") if r.cell["method"]["name"] == "vera")
    folder = tmp_path / "records" / "smollm2_tasks"
    run = Run("instruct/alpaca_1000", 0, {}, record.metric, {}, "done", recorded=record, folder=folder)
    trials = [r for r in read_records(RESULTS / "records" / "smollm2_search") if r.cell["method"]["name"] == "vera"]
    assert len(trials) == 3
    found = costs([run])
    assert found.searched == sum(r.seconds.train + r.seconds.eval for r in trials)
    assert found.searched_flops is None  # older than FLOPs in records
    (tmp_path / "records" / "smollm2_search").unlink()
    gone = costs([run])
    assert (gone.searched, gone.searched_flops) == (None, None)
    assert gone.seconds == found.seconds
    assert costs([replace(run, recorded=replace(record, sources={}))]).searched is None  # no search chose its rate


def test_a_search_that_chose_a_setting_of_the_method_is_found_behind_its_cells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = read_search(RESULTS / "searches" / "smollm2_search.json")
    record = next(r for r in read_records(RESULTS / "records" / "smollm2_tasks") if r.cell["method"]["name"] == "lora")
    (row,) = (row for row in known.rows if row.recipe == record.recipe["name"])
    record = replace(record, sources={"method.rank": known.source})
    run = Run("instruct/alpaca_1000", 0, {}, record.metric, {}, "done", recorded=record, folder=tmp_path)
    for rank, chosen in ((record.cell["method"]["options"]["rank"], True), (3, False)):
        made = replace(known, rows=(replace(row, chosen={"method.rank": rank}),))
        monkeypatch.setattr(searches, "of_results", lambda runs, made=made: [made])
        assert (behind(run) is not None) == chosen


def test_a_rate_that_its_search_did_not_choose_is_not_called_searched(tmp_path: Path) -> None:
    for name in ("records", "searches"):
        (tmp_path / name).symlink_to(RESULTS / name)
    folder = tmp_path / "records" / "smollm2_tasks"
    record = next(r for r in read_records(folder) if r.sources.get("trainer.lr_adapter") == "search")
    source = read_search(RESULTS / "searches" / "smollm2_search.json").source
    record = replace(record, sources={**record.sources, "trainer.lr_adapter": source})  # as freeze= writes it
    run = Run("instruct/alpaca_1000", 0, {}, record.metric, {}, "done", recorded=record, folder=folder)
    assert budget(run) == {"": "rate chosen from 3 trials with trainer.max_steps=100"}
    # `auto` is another precision on another processor
    elsewhere = replace(run, recorded=replace(record, precision="float32"))
    assert budget(elsewhere)[""].endswith(f"with trainer.max_steps=100, trainer.precision={record.precision}")
    # its rate was fixed in its trials, and something else searched
    sources = {"trainer.lr_adapter": f"fixed in {source}", "trainer.weight_decay_adapter": source}
    apart = replace(run, recorded=replace(record, sources=sources))
    assert budget(apart) == {"": "rate set by hand in its search"}
    other = {**record.cell, "trainer": {**record.cell["trainer"], "lr_adapter": 0.5}}
    run = replace(run, recorded=replace(record, cell=other))
    assert budget(run) == {"": "rate that its search did not choose"}
    assert behind(run) is None


def test_a_rate_from_a_search_on_another_backbone_or_task_says_so(tmp_path: Path) -> None:
    for name in ("records", "searches"):
        (tmp_path / name).symlink_to(RESULTS / name)
    folder = tmp_path / "records" / "smollm2_tasks"
    record = next(r for r in read_records(folder) if r.sources.get("trainer.lr_adapter") == "search"
                  and r.cell["task"]["name"] == "instruct/alpaca_1000")  # fmt: skip
    run = Run("instruct/alpaca_1000", 0, {}, record.metric, {}, "done", recorded=record, folder=folder)
    other = {**record.cell, "backbone": {**record.cell["backbone"], "name": "another"}}
    moved = replace(run, recorded=replace(record, cell=other))
    assert budget(moved) == {"": "rate chosen from 3 trials on the backbone smollm2_135m with trainer.max_steps=100"}
    assert "3 trials on instruct/alpaca_1000 with" in budget(replace(run, task="math/gsm8k"))[""]


def test_variants_of_a_method_that_share_a_recipe_have_their_own_rows_of_the_search(tmp_path: Path) -> None:
    for name in ("records", "searches"):
        (tmp_path / name).symlink_to(RESULTS / name)
    folder = tmp_path / "records" / "smollm2_tasks"
    for record in read_records(folder):
        if record.cell["method"]["name"] == "tied_lora" and record.cell["task"]["name"] == "instruct/alpaca_1000":
            run = Run("instruct/alpaca_1000", 0, {}, record.metric, {}, "done", recorded=record, folder=folder)
            found = behind(run)
            assert found is not None
            assert found[1].row["method.variant"] == record.cell["method"]["options"]["variant"]

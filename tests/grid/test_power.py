"""What a grid can see is what simulated rows show; a declared margin is part of the plan and of no cell."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.table_bench import Bench, kept
from uora_bench.config.cell import MetricSpec
from uora_bench.errors import UserError
from uora_bench.grid import build, request, show
from uora_bench.grid.launch.attempt import Running
from uora_bench.grid.power import PRIOR_DIFFER, smallest_seen
from uora_bench.records.provenance import DeclaredMargin, Launch
from uora_bench.records.record import Split
from uora_bench.report import markdown
from uora_bench.report.items import crossed

MARGIN = {"points": 1.0, "reference": "lora"}


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    monkeypatch.chdir(tmp_path)
    return Bench(tmp_path, monkeypatch)


def plan(*words: str) -> build.Plan:
    return build.build(request.read_request(["experiment=quickstart", *words]))[0]


def test_of_items_alone_it_is_the_closed_form_of_the_normal_law() -> None:
    assert smallest_seen(0.0, 3, 10_000) == pytest.approx((1.95996 + 0.84162) * math.sqrt(1000 / 10_000), rel=1e-3)


@pytest.mark.parametrize(("spread", "seeds", "items"), [(1.0, 3, 400), (0.5, 5, 1000), (2.0, 8, 300)])
def test_four_of_five_simulated_differences_of_that_size_are_found(spread: float, seeds: int, items: int) -> None:
    draws = np.random.default_rng(0)
    seen = smallest_seen(spread, seeds, items)
    found = []
    for _ in range(400):
        of_item = draws.normal(0, 100 * math.sqrt(PRIOR_DIFFER), items)  # the same items under every seed
        of_seed = draws.normal(0, spread * math.sqrt(2), (seeds, 1))
        found.append(crossed(seen + of_seed + of_item).p <= 0.05)
    assert 0.7 < np.mean(found) < 0.92  # on the safe side where seeds are few


def test_a_plan_says_what_it_can_see_where_a_reference_is_declared(bench: Bench) -> None:
    for seed, score in enumerate((0.60, 0.62, 0.64)):
        bench.record(f"method=lora task=glue/rte seed={seed}", score, splits={"dev": Split("validation", 277)})
    bench.preset()
    assert plan().power == ()
    bench.preset(table={"reference": "lora", "columns": [{"task": "glue/rte", "label": "RTE"}]})
    (found,) = plan().power
    assert (found.column, found.seeds, found.items, found.family, found.delta) == ("RTE", 3, 277, 2, 1.0)
    assert found.spread == pytest.approx(2 / (8 / 9) ** 1.5)
    assert found.seen == pytest.approx(smallest_seen(found.spread, 3, 277))
    assert found.seen < found.in_family
    assert found.seeds_needed is None
    assert "to find 1 point: no number of seeds is enough on these items" in found.text
    assert plan("task.splits.dev=validation[:40]").power == ()  # nobody knows how many items that has
    (wide,) = plan("seed=range(0,6)").power
    assert wide.seeds == 6
    assert wide.seen < found.seen
    bench.preset(table={"margin": {"points": 12.0, "reference": "lora"}})
    (found,) = plan().power
    assert found.delta == 12.0
    assert found.seeds_needed is not None
    assert smallest_seen(found.spread, found.seeds_needed, 277) <= 12 < found.seen * 2
    lines = show.power(plan())
    assert len(lines) == 2
    assert f"to find 12 points: {found.seeds_needed} seeds are enough" in lines[1]


def test_a_reference_that_will_be_no_row_is_refused_before_anything_runs(bench: Bench) -> None:
    bench.preset(table={"margin": {"points": 1.0, "reference": "LoRA"}})
    with pytest.raises(UserError, match=r"reference 'LoRA' is no row of it; valid: lora, uora; give the label"):
        plan()
    rows = [{"label": "LoRA", "when": {"method": "lora"}}]
    bench.preset(table={"margin": {"points": 1.0, "reference": "LoRA"}, "rows": rows})
    assert show.power(plan())[0].startswith("power against the reference row is not known: no record says")


def test_a_margin_is_part_of_the_plan_and_of_no_cell(bench: Bench, tmp_path: Path) -> None:
    bench.preset(table={"reference": "lora"})
    without = plan()
    bench.preset(table={"margin": MARGIN})
    declared = plan()
    assert declared.digest != without.digest
    assert [item.key for item in declared.items] == [item.key for item in without.items]
    path = declared.write(tmp_path / "plan.json")
    assert build.model.read_plan(path).digest == declared.digest  # what a job of Slurm reads
    running = Running(declared, declared.items[0], policy=None)  # type: ignore[arg-type]
    assert running.launch_facts()["plan"] == declared.digest
    assert running.launch_facts()["margin"] == {**MARGIN, "row": {}, "rule": "last"}


def test_a_table_says_which_cells_were_made_before_the_margin_was_declared(bench: Bench) -> None:
    declared = {0: DeclaredMargin(1.0, "lora"), 1: DeclaredMargin(2.0, "lora"), 2: None}
    for method in ("lora", "uora"):
        for seed, margin in declared.items():
            kept(bench, method, seed, np.arange(60) % 3 != seed)
            folder = bench.results / "records" / "quickstart"
            for record in build.read_records(folder):
                if record.cell["seed"] == seed:
                    launch = Launch("local", False, plan="0" * 16, margin=margin)
                    replace(record, provenance=replace(record.provenance, launch=launch)).write(folder)
    bench.preset(axes={"method": ["lora", "uora"], "task": ["glue/rte"], "seed": [0]}, table={"margin": MARGIN})
    assert "declared before" not in markdown.render(bench.table())
    bench.preset(axes={"method": ["lora", "uora"], "task": ["glue/rte"], "seed": [0, 1, 2]}, table={"margin": MARGIN})
    expected = (
        "not declared before all results: of 6 cells, 2 ran with a margin of 2 points against lora, "
        "2 ran without a declared margin"
    )
    assert expected in markdown.render(bench.table())


def test_the_reference_row_may_be_called_otherwise_later(bench: Bench) -> None:
    declared = DeclaredMargin(1.0, "lora", {"method": "lora"}, "last")
    for method in ("lora", "uora"):
        kept(bench, method, 0, np.arange(60) % 3 != 0)
    folder = bench.results / "records" / "quickstart"
    for record in build.read_records(folder):
        launch = Launch("local", False, plan="0" * 16, margin=declared)
        replace(record, provenance=replace(record.provenance, launch=launch)).write(folder)
    for label, method, said in (("base", "lora", False), ("lora", "uora", True)):
        rows = [{"label": label, "when": {"method": method}}]
        rows += [{"label": "other", "when": {"method": "uora" if method == "lora" else "lora"}}]
        margin = {"points": 1.0, "reference": label}
        axes = {"method": ["lora", "uora"], "task": ["glue/rte"], "seed": [0]}
        bench.preset(axes=axes, table={"margin": margin, "rows": rows})
        assert ("not declared before all results" in markdown.render(bench.table())) == said


def test_seeds_that_all_score_the_same_say_nothing_of_the_spread(bench: Bench) -> None:
    for seed in range(3):
        bench.record(f"method=lora task=glue/rte seed={seed}", 0.5, splits={"dev": Split("validation", 277)})
    bench.preset(table={"reference": "lora"})
    found = next(one for one in plan().power if "rte" in one.column)
    assert (found.spread, found.basis) == (1.0, "a prior; no like records with seeds that differ")
    bench.preset(axes={"method": ["lora", "uora"], "task": ["glue/rte"], "seed": [0]}, table={"margin": MARGIN})
    assert "one seed does not show how far seeds lie apart" in show.power(plan())[0]


@pytest.mark.parametrize(
    ("declared", "said"),
    [
        (DeclaredMargin(1.0, "lora", {}, "last"), ""),
        (DeclaredMargin(1.0, "lora", {"method": "vera"}, "last"), "of 2 cells, 2 ran with another row as lora"),
        (DeclaredMargin(1.0, "lora", {}, "best_dev"), "of 2 cells, 2 ran with rule best_dev"),
    ],
)
def test_another_reference_row_or_rule_is_another_margin(bench: Bench, declared: DeclaredMargin, said: str) -> None:
    launch = Launch("local", False, plan="0" * 16, margin=declared)
    for method in ("lora", "uora"):
        kept(bench, method, 0, np.arange(60) % 3 != 0)
    for record in build.read_records(bench.results / "records" / "quickstart"):
        own = replace(record, provenance=replace(record.provenance, launch=launch))
        own.write(bench.results / "records" / "quickstart")
    bench.preset(axes={"method": ["lora", "uora"], "task": ["glue/rte"], "seed": [0]}, table={"margin": MARGIN})
    shown = markdown.render(bench.table())
    assert ("not declared before all results" in shown) == bool(said)
    assert said in shown


def test_drawn_rows_of_ones_own_are_known_by_their_task(bench: Bench, tmp_path: Path) -> None:
    (tmp_path / "films.csv").write_text("text,label\na,0\nb,1\n" * 20)
    own = {"task": "text/local", "task.path": "films.csv", "backbone": "tiny_roberta"}
    words = " ".join(f"{key}={value}" for key, value in own.items())
    test = {"dev": Split("a random 10 % of films.csv (split seed 0)", 40)}
    test["test"] = Split("a random 10 % of films.csv, apart from dev (split seed 0)", 40)
    for seed, score in enumerate((0.6, 0.7)):
        bench.record(
            f"method=lora {words} seed={seed}", score, splits=test, metric=MetricSpec("text/classes", "accuracy")
        )
    bench.preset(axes={"method": ["lora", "vera"], "seed": [0, 1]}, set=own, table={"reference": "lora"})
    (found,) = plan().power
    assert found.items == 40

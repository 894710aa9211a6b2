"""Races: verdicts from records alone, what is needed next, and that the looks together spend α and no more."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.support.paths import ROOT
from tests.support.records import finished_record
from tests.support.scripts import script
from uora_bench.cli.main import main
from uora_bench.config.cell import MetricSpec
from uora_bench.grid import expand
from uora_bench.grid.launch import local
from uora_bench.grid.race import RaceSpec, look, race_of, read_race, spent
from uora_bench.records.record import CellRecord, RuleScore, Split, read_records

TEXT = """
name: raced
title: Raced
note: Made up.
axes: {method: [lora, vera, uora], task: tiny/nli, seed: [0, 1, 2, 3, 4, 5]}
set: {trainer.max_steps: 5}
"""
LUCK = [0.0, 0.3, -0.2, 0.1, 0.25, -0.1]


def points(method: str, seed: int) -> float:
    """vera is 20 points worse in every seed; uora is like lora, but for luck of its own."""
    shared = 70 + 3 * LUCK[seed]
    return {"lora": shared, "vera": shared - 20 + LUCK[-seed], "uora": shared + 4 * LUCK[(seed + 2) % 6] - 0.2}[method]


def made(item: expand.Planned) -> CellRecord:
    assert item.cell is not None
    metric = item.cell.task.metric
    scores = {part: {metric.primary: points(item.cell.method.name, item.cell.seed) / 100} for part in ("dev", "test")}
    rules = {rule: RuleScore(scores, 1, "") for rule in ("last", "best_dev")}
    return finished_record(item.cell, item.cell.cell_id("data"), "raced", scores=rules)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.yaml").write_text(TEXT)
    return tmp_path


def test_all_looks_together_spend_alpha() -> None:
    for planned in (2, 5, 10):
        assert sum(spent(0.05, n, planned) for n in range(2, planned + 1)) == pytest.approx(0.05)


def test_a_look_decides_by_t_tests_and_without_any_spread_of_its_own_kind() -> None:
    rng = np.random.default_rng(0)
    small = rng.normal(0, 0.1, (3, 6)) + np.array([[5.0], [-5.0], [0.0]])
    assert look(small, 0.01, 1.0).tolist() == [1.0, -1.0, 0.0]
    assert np.isnan(look(small[2], 0.01, None))
    for equal in (np.zeros(4), np.ones(2), np.array([70.3 - 69.3, 1.0])):  # the same number of items in every seed
        assert np.isnan(look(equal, 0.05, None))
        assert np.isnan(look(equal, 0.05, 2.0))
    wide = rng.normal(0, 20, (1000, 3))
    assert np.mean(~np.isnan(look(wide, 0.05, 1.0))) == pytest.approx(0.05, abs=0.02)


def test_seeds_are_added_until_the_verdict_and_the_records_alone_say_which(here: Path) -> None:
    grid = expand.expand(["experiment=./grid.yaml"])
    spec = RaceSpec({"method": "lora"}, 0.05, 0.5)
    by_key = {item.key: made(item) for item in grid.items}
    there: list[CellRecord] = []
    rounds = 0
    while True:
        race, needed = race_of(grid, spec, there)
        if not needed:
            break
        rounds += 1
        there += [by_key[key] for key in needed if by_key[key] not in there]
    vera, uora = race.lanes
    assert (vera.verdict, uora.verdict) == ("worse", "undecided")
    assert vera.seeds < uora.seeds == 6
    assert len(there) == 12 + vera.seeds
    assert rounds == 5
    assert race_of(grid, spec, list(by_key.values()))[0] == race  # further seeds change no verdict


def test_a_raced_sweep_runs_only_what_the_verdicts_need_and_goes_on_to_the_same_file(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = {item.key: item for item in expand.expand(["experiment=./grid.yaml"]).items}
    folder = here / "results" / "records" / "raced"
    started = list[str]()

    def run(plan: object, options: object, console: object, most: int = 99) -> int:
        for item in plan.to_run():  # type: ignore[attr-defined]
            if len(started) == most:
                raise KeyboardInterrupt
            started.append(item.key)
            made(grid[item.key]).write(folder)
        return 0

    words = ["sweep", "experiment=./grid.yaml", "launcher.race.reference.method=lora", "launcher.race.margin=0.5"]
    monkeypatch.setattr(local, "run", lambda *given: run(*given, most=7))
    assert main(words) == 130
    (path,) = (here / "results" / "races").iterdir()
    assert [lane.verdict for lane in read_race(path).lanes] == ["worse", "racing"]
    monkeypatch.setattr(local, "run", run)
    capsys.readouterr()
    assert main(words) == 0
    race, whole = read_race(path), path.read_bytes()
    assert "race: vera tiny_roberta method=vera" not in capsys.readouterr().out
    assert [lane.verdict for lane in race.lanes] == ["worse", "undecided"]
    assert len(started) == len(set(started)) == 12 + race.lanes[0].seeds == len(read_records(folder))
    assert main(words) == 0
    assert path.read_bytes() == whole
    capsys.readouterr()
    assert main(["tables", "experiment=./grid.yaml"]) == 0
    said = capsys.readouterr().out
    stopped = f"raced against method=lora (α 0.05, margin 0.5): worse after {race.lanes[0].seeds} of 6 seeds; "
    assert f"{stopped}this verdict counts" in said
    assert main(["plan", "experiment=./grid.yaml"]) == 0
    lane = race.lanes[0]
    assert f"race: {lane.row} on tiny/nli: worse after {lane.seeds} of 6 seeds (" in capsys.readouterr().out
    (folder / f"{lane.reference[0]}.json").unlink()  # a verdict follows from records of both rows
    assert main(["tables", "experiment=./grid.yaml"]) == 0
    assert f"{stopped}1 record behind it missing, so that it does not count until" in capsys.readouterr().out


def test_scores_of_few_items_do_not_decide_more_often_than_alpha() -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2.0, (4000, 6, 5))  # points; a test set of 66 items, as small ones are
    scores = np.round(true * 0.66) / 0.66
    decided = np.zeros((4000, 6), dtype=bool)
    for n in range(2, 6):
        decided |= ~np.isnan(look(scores[..., :n], spent(0.05, n, 5) / 6, None))
    assert (
        decided.any(1).mean() <= 0.05 + 3 * 0.0035
    )  # three standard errors; it was 0.55 where equal differences decided


def test_a_race_is_not_changed_once_it_began_and_its_file_is_not_edited(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["sweep", "experiment=./grid.yaml", "launcher.race.reference.method=lora"]
    monkeypatch.setattr(local, "run", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt()))
    assert main(words) == 130
    path = here / "results" / "races" / "raced.json"
    whole = path.read_text()
    capsys.readouterr()
    for more, said in (
        (["launcher.race.alpha=0.5"], "began with alpha 0.05, not 0.5"),
        (["launcher.race.margin=2"], "began with margin None, not 2.0"),
        (["seed=0,1,2"], "began with seeds 0 1 2 3 4 5, not 0 1 2;"),
        (["seed=6,7,8,9,10,11"], "began with seeds 0 1 2 3 4 5, not 6 7 8 9 10 11;"),
        (["method=lora,vera"], "began with rows"),
        (["launcher.race.reference.method=vera"], "began with reference method=lora, not method=vera"),
        (["trainer.max_steps=6"], "began with settings of the rows"),
    ):
        assert main([*words[: 2 if "reference" in more[0] else 3], *more]) == 2
        error = capsys.readouterr().err
        assert said in error
        assert error.count("\n") == 1
    (here / "grid.yaml").write_text(TEXT + "table: {rule: heldout_dev}\n")
    assert main(words) == 2
    assert "began with rule last, not heldout_dev" in capsys.readouterr().err
    (here / "grid.yaml").write_text(TEXT)
    assert path.read_text() == whole
    path.write_text(whole.replace('"racing"', '"better"'))
    assert main(words) == 2
    assert "is not as it was written; delete it and sweep again" in capsys.readouterr().err
    path.unlink()
    assert main([*words, "seed=5,3,4,1,2,0"]) == 130  # in whatever order they are given
    assert path.read_text() == whole


def test_a_row_with_a_failed_cell_is_raced_again_by_the_next_call(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = {item.key: item for item in expand.expand(["experiment=./grid.yaml"]).items}
    broken = {"lora": 1}

    def run(plan: object, options: object, console: object) -> int:
        for item in plan.to_run():  # type: ignore[attr-defined]
            cell = grid[item.key].cell
            assert cell is not None
            record = made(grid[item.key])
            if broken.get(cell.method.name) == cell.seed:
                record = replace(record, status="failed", reason="the disk is full", scores={}, epochs=())
            record.write(here / "results" / "records" / "raced")
        return 0

    monkeypatch.setattr(local, "run", run)
    words = ["sweep", "experiment=./grid.yaml", "launcher.race.reference.method=lora"]
    path = here / "results" / "races" / "raced.json"
    for more in ([], ["launcher.rerun_failed=false"]):
        assert main([*words, *more]) == 1
        assert {lane.verdict for lane in read_race(path).lanes} == {"failed"}
    broken.clear()
    assert main(words) == 0
    assert [lane.verdict for lane in read_race(path).lanes] == ["worse", "undecided"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            ["launcher.race.reference.method=bitfit"],
            "no row has method=bitfit; valid: lora, uora, vera; write launcher",
        ),
        (["launcher.race.reference.method=lorra"], "no row has method=lorra; did you mean 'lora'?"),
        (["launcher.race.reference=lora"], "on a command line write launcher.race.reference.<key>=<value>"),
        (["launcher.race.reference.task=tiny/nli"], "names several rows"),
        (["launcher.race.reference.method=lora", "seed=0"], "shares 2 seeds or more"),
        (["launcher.race.reference.method=lora", "launcher.race.alpha=2"], "alpha"),
    ],
)
def test_a_race_that_cannot_be_is_refused_in_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], said: str
) -> None:
    assert main(["sweep", "experiment=./grid.yaml", *words]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_simulated_races_keep_their_error_and_the_committed_simulation_says_so() -> None:
    simulate = script("simulate_races")
    for seeds in (3, 5):
        found = simulate.simulate(np.random.default_rng(1), (0.0,) * 6, seeds, "normal", 2000)
        assert found["race_error"] <= 0.05 + 3 * 0.005  # three standard errors of 2,000 grids
    committed = json.loads((ROOT / "results" / "bench" / "simulated_races.json").read_text("utf-8"))
    assert committed["grids"] >= 10_000
    normal = [one["race_error"] for one in committed["settings"] if one["luck"].startswith("normal")]
    assert max(normal) <= 0.05


def test_a_reference_may_be_named_by_several_keys_dots_and_all(here: Path) -> None:
    (here / "grid.yaml").write_text(TEXT.replace("method: [lora, vera, uora]", "method: [lora], method.rank: [4, 8]"))
    words = {"race.reference.method": "lora", "race.reference.method.rank": 8, "race.reference.task": "tiny/nli"}
    spec = local.read_options(words).race
    assert spec is not None
    assert spec.reference == {"method": "lora", "method.rank": 8, "task": "tiny/nli"}
    race, needed = race_of(expand.expand(["experiment=./grid.yaml"]), spec, [])
    assert [lane.row for lane in race.lanes] == ["lora tiny_roberta method.rank=4"]
    assert needed


def test_rows_of_ones_own_without_a_test_part_race_on_dev(here: Path) -> None:
    (here / "films.csv").write_text("text,label\na,0\nb,1\n" * 20)
    own = "max_steps: 5, task.path: films.csv, task.split.test: 0, backbone: tiny_roberta"
    (here / "grid.yaml").write_text(TEXT.replace("task: tiny/nli", "task: text/local").replace("max_steps: 5", own))
    grid = expand.expand(["experiment=./grid.yaml"])
    dev = {"dev": Split("a random 10 % of films.csv (split seed 0)", 4)}
    there = []
    for item in grid.items:
        assert item.cell is not None
        scores = {"dev": {"accuracy": points(item.cell.method.name, item.cell.seed) / 100}}
        rules = {rule: RuleScore(scores, 1, "") for rule in ("last", "best_dev")}
        metric = MetricSpec("text/classes", "accuracy")
        there.append(
            finished_record(item.cell, item.cell.cell_id("d"), "raced", scores=rules, splits=dev, metric=metric)
        )
    race, _ = race_of(grid, RaceSpec({"method": "lora"}), there)
    assert [lane.verdict for lane in race.lanes] == ["worse", "undecided"]

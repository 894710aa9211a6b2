"""A search: what it refuses, what it draws, what it keeps, what it chooses, and the recipe that it freezes."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path

import pytest

from tests.support.records import finished_record
from tests.support.searches import SEVEN, SPLIT, SURFACE, judge, record, record_all, search, surface, write
from uora_bench.cli.main import main
from uora_bench.config import compose
from uora_bench.errors import UserError
from uora_bench.grid import expand, preset, search_spec
from uora_bench.grid.search import read_search


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("rows", "spec", "split", "said"),
    [
        ({"lora": "[0.1, 1]", "vera": "[0.1]"}, "{trials: 2}", SPLIT, "vera on tiny/nli has 1 trials, not 2"),
        ({"lora": "[0.1, 1]"}, "{trials: 2, unequal: because}", SPLIT, "all have 2; drop it"),
        ({"lora": "[0.1, 1]"}, "{trials: 6, unequal: because}", SPLIT, "has 2 trials, not 6; correct search.trials"),
        ({"lora": "{loguniform: [0.1, 1]}"}, "{trials: 2}", SPLIT, "no such range; did you mean 'log_uniform'?"),
        ({"lora": "[0.1]"}, "{trials: 1}", "task.splits.dev: 'train[80%:]'", "which train trains on"),
        ({"lora": "[0.1, 1]"}, "{trials: 2, steps: 9}", SPLIT, "lora on tiny/nli takes 10 steps; search.steps is 9"),
        ({"lora": "{log_uniform: [1, 0.1]}"}, "{trials: 2}", SPLIT, "the lower one first"),
        ({"lora": "[0.1]"}, "null", SPLIT, "has no `search:`"),
        (
            {"lora": "[0.1]"},
            "{trials: 1}",
            judge("train[70%:]"),
            "train[70%:] of tiny/nli, which train[:80%] trains on",
        ),
        ({"lora": "[0.1]"}, "{trials: 1}", judge("train"), "train of tiny/nli, which train[:80%] trains on"),
        ({"lora": "[0.1]"}, "{trials: 1}", judge("train[9000:]"), "both in % or both in rows"),
        ({"lora": "[0.1]"}, "{trials: 1}", judge("train[80%:]+test"), "which tables report"),
        ({"lora": "[0.1]"}, "{trials: 1}", judge("validation[:9]") + ", task.splits.test: validation", "tables report"),
        ({"lora": "[0.1]"}, "{trials: 1}", judge("train[80%"), "is not of the form name or name[a:b]"),
        ({"lora": "[1]", "vera": "[1]"}, "{trials: 2, row: [methd]}", SPLIT, "no row of rates has 'methd'"),
        ({"lora": "[1]", "vera": "[1]"}, "{trials: 2, row: []}", SPLIT, "search.row has no 'method'"),
        ({"lora": "[0.1]"}, "{trials: 1, recipe: ../../../../own}", SPLIT, "'../../../../own' is no name of a recipe"),
        ({"lora": "[0.1]"}, "{trials: 1, recipe: 'own_{peft.type}'}", SPLIT, "of the row's keys {method}"),
        ({"lora": "{uniform: [0, 1]}"}, "{trials: 1000000000}", SPLIT, "at most 10000"),
        ({"lora": "{uniform: '12'}"}, "{trials: 2}", SPLIT, "{uniform: [low, high]}"),
        ({"lora": "{log_uniform: [1.0e-300, 1.0e+300]}"}, "{trials: 2}", SPLIT, "{log_uniform: [low, high]}"),
    ],
)
def test_a_search_that_would_not_be_fair_is_refused_in_one_line(
    here: Path, capsys: pytest.CaptureFixture[str], rows: dict[str, str], spec: str, split: str, said: str
) -> None:
    write(here, rows, spec, split)
    assert search() == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_drawn_points_are_the_same_shares_of_every_range_and_one_in_each_part() -> None:
    spec = search_spec.SearchSpec(trials=8)
    axes = {"a": [{"log_uniform": ["1e-4", "1e-1"]}], "b": [{"uniform": [0, 8]}]}
    points = list(search_spec.combinations(axes, spec))
    assert points == list(search_spec.combinations(axes, spec))
    assert sorted(int(p["b"]) for p in points) == list(range(8))
    assert sorted(int((math.log10(p["a"]) + 4) / 3 * 8) for p in points) == list(range(8))
    wider = list(search_spec.combinations({**axes, "b": [{"uniform": [0, 80]}]}, spec))
    assert [p["b"] for p in wider] == pytest.approx([10 * p["b"] for p in points], rel=0.01)


def test_a_list_beside_a_range_shares_the_trials() -> None:
    spec = search_spec.SearchSpec(trials=8)
    axes = {"a": [{"uniform": [0, 1]}], "b": [1, 2], "task": ["x", "y"], "method": ["lora"]}
    points = list(search_spec.combinations(axes, spec))
    assert len(points) == 2 * 8
    assert len({point["a"] for point in points}) == 4
    with pytest.raises(UserError, match="make it a multiple of 3"):
        list(search_spec.combinations({**axes, "b": [1, 2, 3]}, spec))


def test_the_search_keeps_every_trial_waits_for_all_and_gives_the_same_bytes_again(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(here, dict.fromkeys(SURFACE, SEVEN))
    path = here / "results" / "searches" / "rates.json"
    record_all(here, but=lambda method, rate: method == "uora" and rate == 10)
    assert search() == 0
    assert "1 trial still to run" in capsys.readouterr().out
    assert not path.exists()
    record_all(here)
    assert search() == 0
    first = path.read_bytes()
    assert search() == 0
    assert path.read_bytes() == first
    found = read_search(path)
    assert [len(row.trials) for row in found.rows] == [7, 7, 7]
    assert all(len(trial.cells) == 1 and trial.status == "done" for row in found.rows for trial in row.trials)
    lora, vera, uora = found.rows
    assert lora.chosen == {"trainer.lr_adapter": 1e-3}
    assert lora.best == pytest.approx(90)
    assert lora.edge == ()
    assert vera.plateau == {"trainer.lr_adapter": (1e-2, 1.0)}
    assert lora.plateau == {"trainer.lr_adapter": (1e-3, 1e-3)}
    assert uora.steps == 35
    changed = json.loads(first)
    changed["rows"][0]["best"] = 99.0
    path.write_text(json.dumps(changed))
    with pytest.raises(Exception, match="not as it was written"):
        read_search(path)


def test_a_failed_trial_counts_as_a_trial(here: Path) -> None:
    write(here, {"lora": SEVEN})
    record_all(here, but=lambda method, rate: rate == 1e-3)
    item = next(
        i for i in expand.expand(["experiment=./rates.yaml"]).items if i.cell and i.cell.trainer.lr_adapter == 1e-3
    )
    assert item.cell is not None
    failed = finished_record(
        item.cell, item.cell.cell_id("data"), "rates", status="failed", reason="loss is NaN", scores={}, epochs=()
    )
    failed.write(here / "results" / "records" / "rates")
    assert search() == 0
    (row,) = read_search(here / "results" / "searches" / "rates.json").rows
    assert [t.status for t in row.trials].count("failed") == 1
    assert len(row.trials) == 7
    assert row.chosen == {"trainer.lr_adapter": 1e-4}


def test_unequal_budgets_are_refused_and_equal_ones_recover_the_true_order(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def order(name: str) -> list[str]:
        """The methods by the score of their frozen recipes, best first; every step through the command line."""
        record_all(here)
        assert search("freeze=uora_plugins") == 0
        grid = f"name: final_{name}\ntitle: t\nnote: n\naxes: {{method: [lora, vera, uora], task: tiny/nli}}\n"
        grid += "set: {trainer.max_steps: 5}\n"
        (here / "final.yaml").write_text(
            grid
            + "rules:\n"
            + "".join(f"  - {{when: {{method: {m}}}, set: {{recipe: {m}/{name}}}}}\n" for m in SURFACE)
            + "table: {comparability: {UC02: refuse}}\n"
        )
        scores = {}
        for item in expand.expand(["experiment=./final.yaml"]).items:
            assert item.cell is not None
            assert item.cell.recipe.status == "searched"
            method = item.cell.method.name
            scores[method] = surface(method, item.cell.trainer.lr_adapter)
            sources = compose.compose(list(item.overrides)).sources
            assert sources["trainer.lr_adapter"].startswith(f"search {name} ")
            record(here, item, scores[method], sources=sources)
        return sorted(scores, key=lambda m: -scores[m])

    few = dict.fromkeys(SURFACE, SEVEN) | {"lora": "[1.0e-2, 1.0e-1]"}
    write(here, few)
    assert search() == 2  # silently unequal: no search at all
    assert "lora on tiny/nli has 2 trials, not 7" in capsys.readouterr().err
    write(here, few, "{trials: 7, unequal: 'two rates of LoRA alone'}")
    assert order("rates") == ["vera", "uora", "lora"]  # wrong: lora is the best at its own rate
    capsys.readouterr()
    assert main(["tables", "experiment=./final.yaml"]) == 2
    assert "refused by rule UC02" in capsys.readouterr().err
    write(here, dict.fromkeys(SURFACE, SEVEN), name="fair")
    assert order("fair") == ["lora", "vera", "uora"]
    capsys.readouterr()
    assert main(["tables", "experiment=./final.yaml"]) == 0
    assert "UC02, all rows: rate chosen from 7 trials." in capsys.readouterr().out


@pytest.mark.parametrize("status", ["own", "searched"])
def test_a_recipe_of_someone_else_is_not_written_over(
    here: Path, capsys: pytest.CaptureFixture[str], status: str
) -> None:
    write(here, {"lora": "[0.1]"}, "{trials: 1}")
    own = here / "uora_plugins" / "configs" / "recipe" / "lora" / "rates.yaml"
    own.parent.mkdir(parents=True)
    own.write_text(f"# rates of the search rates\nname: lora/rates\nstatus: {status}\nnote: mine\ncommon: {{}}\n")
    assert search("freeze=uora_plugins") == 2  # before any trial is run
    assert "is no recipe of search rates" in capsys.readouterr().err
    assert "mine" in own.read_text()
    own.write_bytes(b"\xff\xfe")
    assert search("freeze=uora_plugins") == 2
    assert own.read_bytes() == b"\xff\xfe"
    capsys.readouterr()
    assert search("freeze=") == 2
    assert "freeze= has no value" in capsys.readouterr().err


def test_a_recipe_that_stands_elsewhere_is_not_frozen_twice(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, {"lora": "[0.1]"}, "{trials: 1, recipe: minilm}")
    record_all(here)
    assert search("freeze=uora_plugins") == 2
    assert "recipe lora/minilm is already in" in capsys.readouterr().err
    write(here, {"lora": "[0.1]"}, "{trials: 1, recipe: mine}")
    assert [search("freeze=uora_plugins") for _ in range(2)] == [0, 0]


def test_a_search_that_is_another_one_than_before_says_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, {"lora": "[0.1, 1]"}, "{trials: 2}")
    record_all(here)
    assert [search(), search()] == [0, 0]
    assert "has changed (before" not in capsys.readouterr().out
    write(here, {"lora": "[0.1]"}, "{trials: 1}")
    assert search() == 0
    assert "search rates has changed (before" in capsys.readouterr().out


def test_a_search_of_48_trials_is_planned_in_a_second_without_torch(here: Path) -> None:
    write(here, dict.fromkeys(SURFACE, "{log_uniform: [1.0e-4, 1.0]}"), "{trials: 16}")
    torch = "torch" in sys.modules
    preset.load_experiment("./rates.yaml")
    begun = time.process_time()
    assert len(expand.expand(["experiment=./rates.yaml"]).items) == 48
    assert time.process_time() - begun < 1
    assert ("torch" in sys.modules) == torch

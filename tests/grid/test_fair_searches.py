"""What a search compares is alike, what judges is not reported, and what is frozen is what won."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.records import finished_record
from tests.support.searches import HEAD, SPLIT, record, record_all, search, write
from uora_bench.cli.main import main
from uora_bench.config.cell import MetricSpec
from uora_bench.grid import expand
from uora_bench.grid.search import read_search
from uora_bench.records.provenance import Provenance
from uora_bench.records.record import EpochScores, RuleScore


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


ONE, NO_TEST = {"films.csv": "all"}, {"films/train.csv": "train", "films/dev.csv": "dev"}


@pytest.mark.parametrize(
    ("task", "files", "splits", "said"),
    [
        ("glue/mrpc", {}, {"dev": "validation", "test": "train[80%:]"}, "which tables report"),
        ("glue/mrpc", {}, {"train": "validation[:50%]", "dev": "validation[50%:]"}, "which tables report"),
        ("glue/mrpc", {}, {"train": "train+validation[:50%]", "dev": "validation[50%:]"}, "which tables report"),
        ("glue/mrpc", {}, {"dev": "validation[:50%]", "test": "validation[50%:]"}, ""),
        ("instruct/alpaca_1000", {}, {}, "judged by train[90%:] of instruct/alpaca_1000, which tables report"),
        ("instruct/alpaca_1000", {}, {"train": "train[:80%]", "dev": "train[80%:90%]"}, ""),
        ("text/local", ONE, {}, ""),
        ("text/local", ONE, {"train": "all[:80%]", "dev": "all[80%:]"}, "leave task.splits.dev and task.splits.test"),
        ("text/local", ONE, {"share": 0}, "set task.split.test above 0"),
        ("text/local", NO_TEST, {}, "set task.splits.train='train[:80%]'"),
        ("text/local", NO_TEST, {"train": "train[:80%]", "dev": "train[80%:]"}, ""),
        ("text/local", {"films/train.csv": "train"}, {}, "add a file with the test rows"),
        ("text/local", {"films/train.csv": "train", "films/test.csv": "test"}, {}, ""),
    ],
)
def test_what_tables_report_does_not_judge(
    here: Path, capsys: pytest.CaptureFixture[str], task: str, files: dict[str, str], splits: dict[str, Any], said: str
) -> None:
    for name in files:
        (here / name).parent.mkdir(exist_ok=True)
        (here / name).write_text("text,label\na,0\nb,1\n" * 20)
    share = splits.pop("share", None)
    own = {f"task.splits.{role}": part for role, part in splits.items()}
    own |= {"task.path": next(iter(files)).split("/")[0]} if files else {}
    own |= {"task.split.test": share} if share is not None else {}
    backbone = "tiny_llama" if task.startswith("instruct") else "tiny_roberta"
    grid = {"name": "rates", "title": "t", "note": "n", "search": {"trials": 1}, "axes": {"trainer.lr_adapter": [0.1]}}
    grid["set"] = {"task": task, "method": "lora", "backbone": backbone, "recipe": "none", **own}
    (here / "rates.yaml").write_text(json.dumps(grid))
    assert search() == (2 if said else 0)
    assert said in capsys.readouterr().err


def recipe(folder: Path, name: str = "rates") -> dict[str, Any]:
    path = folder / "uora_plugins" / "configs" / "recipe" / "lora" / f"{name}.yaml"
    return dict(yaml.safe_load(path.read_text("utf-8")))


def included(folder: Path, *rows: str, search: str = "{trials: 2}", more: str = "") -> None:
    """A search whose rows of LoRA are those of ``include``."""
    text = HEAD.format(name="rates", search=search, split=SPLIT + more)
    (folder / "rates.yaml").write_text(text + "".join(f"  - {{method: lora, {row}}}\n" for row in rows))


def score_in_order(folder: Path, *points: float) -> None:
    for item, score in zip(expand.expand(["experiment=./rates.yaml"]).items, points, strict=True):
        record(folder, item, score)


def test_the_trial_that_won_is_frozen_where_it_has_a_default(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    included(here, "method.rank: 4, trainer.lr_adapter: 1.0e-3", "trainer.lr_adapter: 1.0e-3")
    score_in_order(here, 50.0, 90.0)
    assert search("freeze=uora_plugins") == 0
    assert "method.rank=8 (accuracy 90.00, chosen from 2 trials" in capsys.readouterr().out
    assert recipe(here)["per_task"]["tiny/nli"]["method.rank"]["value"] == 8


def test_the_smallest_near_the_best_is_shown_with_its_own_score(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    included(here, "trainer.lr_adapter: [0.01, 0.1, 1]", search="{trials: 3, choose: smallest_within, within: 2}")
    score_in_order(here, 60.0, 88.5, 90.0)
    assert search() == 0
    assert "trainer.lr_adapter=0.1 (accuracy 88.50, chosen from 3 trials; the best trial has 90.00)" in (
        capsys.readouterr().out
    )


def test_equal_scores_choose_nothing_and_say_so(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    included(here, "trainer.lr_adapter: [0.01, 0.1]")
    score_in_order(here, 50.0, 50.0)
    assert search() == 0
    said = capsys.readouterr().out
    assert "all 2 scores are equal, the smallest values were taken" in said
    assert "at the edge of what was tried: lowest trainer.lr_adapter" in said
    assert "lowest trainer.lr_adapter" in (here / "results" / "searches" / "rates.md").read_text("utf-8")


def test_a_failed_trial_ends_what_is_near_the_best(here: Path) -> None:
    included(here, "trainer.lr_adapter: [0.01, 0.1, 1]", search="{trials: 3}")
    items = expand.expand(["experiment=./rates.yaml"]).items
    record(here, items[0], 70.0)
    record(here, items[2], 70.0)
    cell = items[1].cell
    assert cell is not None
    made = finished_record(cell, cell.cell_id("data"), "rates", status="failed", reason="NaN", scores={}, epochs=())
    made.write(here / "results" / "records" / "rates")
    assert search() == 0
    (row,) = read_search(here / "results" / "searches" / "rates.json").rows
    assert row.plateau == {"trainer.lr_adapter": (0.01, 0.01)}


@pytest.mark.parametrize(
    ("rows", "more", "said"),
    [
        (("trainer.lr_adapter: 0.1, task.splits.dev: ['train[80%:90%]', 'train[90%:]']",), "", "holds task.splits.dev"),
        (("recipe: [none, lora/tiny_roberta]",), "", "does not choose among recipes"),
        (("task.split_seed: [1, 2]",), ", task: text/local, task.path: films.csv", "no recipe holds task.split_seed"),
        (("trainer.lr_adapter: 0.1, seed: [0, 1]", "trainer.lr_adapter: 1, seed: 0"), "", "1 and 2 seeds"),
    ],
)
def test_what_would_compare_unlike_trials_is_refused_before_they_run(
    here: Path, capsys: pytest.CaptureFixture[str], rows: tuple[str, ...], more: str, said: str
) -> None:
    (here / "films.csv").write_text("text,label\na,0\nb,1\n" * 20)
    text = HEAD.format(name="rates", search="{trials: 2}", split=SPLIT)
    text = text.replace("task: tiny/nli, ", "").replace(SPLIT, more[2:] or f"task: tiny/nli, {SPLIT}")
    (here / "rates.yaml").write_text(text + "".join(f"  - {{method: lora, {row}}}\n" for row in rows))
    assert search() == 2
    assert said in capsys.readouterr().err


def test_points_of_a_loss_are_said_by_the_search(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grid = {"name": "rates", "title": "t", "note": "n", "axes": {"trainer.lr_adapter": [0.1, 0.2]}}
    split = {"task.splits.train": "train[:80%]", "task.splits.dev": "train[80%:90%]"}
    grid["set"] = {"method": "lora", "task": "instruct/alpaca_1000", "backbone": "tiny_gpt2", "recipe": "none", **split}
    for more, said in (({}, "by loss, which is no percentage; say with search.within"), ({"within": 0.01}, "")):
        grid["search"] = {"trials": 2, "choose": "smallest_within", **more}
        (here / "rates.yaml").write_text(json.dumps(grid))
        assert search() == (2 if said else 0)
        assert said in capsys.readouterr().err


def test_words_that_make_other_cells_are_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, {"lora": "[0.1]", "vera": "[0.1]"}, "{trials: 1}")
    assert search("method=lora") == 0
    assert search("trainer.max_steps=7") == 2
    assert "is no trial of search rates with these words" in capsys.readouterr().err


def test_a_search_on_a_file_of_ones_own_is_frozen_without_the_file_and_follows_the_metric(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "films.csv").write_text("text,stars\na,0.5\nb,1.5\n" * 20)
    grid = {"name": "rates", "title": "t", "note": "n", "search": {"trials": 2}, "axes": {"trainer.lr_adapter": [1, 2]}}
    own = {"task.path": "films.csv", "task.label": "stars", "task.target": "regression", "task.metric.primary": "mse"}
    grid["set"] = {"task": "text/local", "method": "lora", "backbone": "tiny_roberta", "trainer.max_steps": 5, **own}
    (here / "rates.yaml").write_text(json.dumps(grid))
    for item, error in zip(expand.expand(["experiment=./rates.yaml"]).items, (0.1, 0.9), strict=True):
        assert item.cell is not None
        scores = {"dev": {"mse": error}}
        made = finished_record(
            item.cell,
            item.cell.cell_id("data"),
            "rates",
            metric=MetricSpec("text/regression", "mse", False, 1.0),
            scores={rule: RuleScore(scores, 1, "") for rule in ("last", "best_dev")},
            epochs=(EpochScores(1, 5, 0.1, scores, 1.0),),
        )
        made.write(here / "results" / "records" / "rates")
    assert search("freeze=uora_plugins") == 0
    assert "trainer.lr_adapter=1 (mse 0.10, chosen from 2 trials" in capsys.readouterr().out
    (row,) = read_search(here / "results" / "searches" / "rates.json").rows
    assert (row.metric, row.higher_is_better) == ("mse", False)
    held = recipe(here)["per_task"]["text/local"]
    assert held["trainer.lr_adapter"]["value"] == 1
    assert held["trainer.max_steps"]["value"] == 5
    assert not {key for key in held if key.startswith(("task.path", "task.label", "task.target", "task.metric"))}


def test_a_frozen_recipe_that_was_changed_is_not_written_over(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(here, {"lora": "[0.1]"}, "{trials: 1, recipe: shared}", name="rates extra")
    record_all(here)
    assert search("freeze=uora_plugins") == 0
    path = here / "uora_plugins" / "configs" / "recipe" / "lora" / "shared.yaml"
    path.write_text(path.read_text().replace("value: 0.1", "value: 0.2"))
    assert search("freeze=uora_plugins") == 2
    assert "was frozen by this search and changed since" in capsys.readouterr().err
    write(here, {"lora": "[0.1]"}, "{trials: 1, recipe: shared}", name="rates")
    record_all(here)
    assert search("freeze=uora_plugins") == 2  # its name begins like that of the other search
    assert "is no recipe of search rates" in capsys.readouterr().err


def test_records_of_other_data_are_no_trials(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "films.csv").write_text("text,label\na,0\nb,1\n" * 20)
    grid = {"name": "rates", "title": "t", "note": "n", "search": {"trials": 1}, "axes": {"trainer.lr_adapter": [1]}}
    grid["set"] = {"task": "text/local", "method": "lora", "backbone": "tiny_roberta", "task.path": "films.csv"}
    (here / "rates.yaml").write_text(json.dumps(grid))
    (item,) = expand.expand(["experiment=./rates.yaml"]).items
    assert item.cell is not None
    record(here, item, 70.0, provenance=Provenance(data={"train": "0"}, data_files={"films.csv": "0" * 16}))
    assert search() == 0
    assert "1 trial still to run" in capsys.readouterr().out


@pytest.mark.slow
def test_one_file_of_ones_own_from_the_search_to_the_table(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "films.csv").write_text(
        "text,label\n" + "".join(f"film {i},{'good' if i % 2 else 'bad'}\n" for i in range(200))
    )
    own = {"task": "text/local", "task.path": "films.csv", "backbone": "tiny_roberta", "tracker": "none"}
    grid = {"name": "rates", "title": "t", "note": "n", "search": {"trials": 2}, "set": {**own, "trainer.max_steps": 2}}
    grid["axes"] = {"method": ["lora", "vera"], "trainer.lr_adapter": [{"log_uniform": [0.001, 0.1]}]}
    (here / "rates.yaml").write_text(json.dumps(grid))
    assert main(["search", "experiment=./rates.yaml", "launcher.cpu_slots=1", "freeze=uora_plugins"]) == 0
    rules = [{"when": {"method": m}, "set": {"recipe": f"{m}/rates"}} for m in ("lora", "vera")]
    final = {"name": "final", "title": "t", "note": "n", "set": own, "rules": rules}
    final["axes"] = {"method": ["lora", "vera"], "seed": [0, 1]}
    (here / "final.yaml").write_text(json.dumps(final))
    assert main(["sweep", "experiment=./final.yaml", "launcher.cpu_slots=1"]) == 0
    capsys.readouterr()
    assert main(["tables", "experiment=./final.yaml"]) == 0
    said = capsys.readouterr().out
    assert "UC02, all rows: rate chosen from 2 trials." in said
    assert "UC16" not in said  # other rows judged
    # dev is reported, and had judged
    final["table"] = {"columns": [{"task": "text/local", "label": "films", "split": "dev"}]}
    (here / "final.yaml").write_text(json.dumps(final))
    assert main(["tables", "experiment=./final.yaml"]) == 0
    assert "UC16: 20 of the 20 rows scored here had judged the search of its rate" in capsys.readouterr().out
    words = [f"{key}={value}" for key, value in own.items()]
    assert main(["method=lora", *words, "recipe=lora/rates", "trainer.epochs=5"]) == 0
    assert "note: trainer.max_steps=2 (fixed in search rates" in capsys.readouterr().err

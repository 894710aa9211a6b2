"""Metrics that are not built in: from a file, a folder or by name, and a cell that is scored by one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uora_bench import metrics
from uora_bench.config import plugins
from uora_bench.config.cell import Cell, MetricSpec, key_of
from uora_bench.config.compose import compose
from uora_bench.config.preflight import preflight
from uora_bench.errors import CellError, UserError
from uora_bench.tasks import create_task

FILE = """
import datasets
import evaluate

class Mine(evaluate.Metric):
    def _info(self):
        features = datasets.Features({features})
        return evaluate.MetricInfo(description="", citation="", inputs_description="", features=features)

    def _compute(self, predictions, references):
        return {values}
"""
NUMBERS = '{"predictions": datasets.Value("float64"), "references": datasets.Value("float64")}'
TEXTS = '{"predictions": datasets.Value("string"), "references": datasets.List(datasets.Value("string"))}'
RIGHT = "sum(p == r for p, r in zip(predictions, references)) / len(references)"


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """`evaluate` copies a file into its cache before it imports it: not into that of whoever runs the tests."""
    import evaluate

    for name in ("HF_MODULES_CACHE", "HF_METRICS_CACHE"):
        setattr(evaluate.config, name, tmp_path_factory.mktemp("evaluate"))


def metric_file(path: Path, values: str, features: str = NUMBERS) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(FILE.format(features=features, values=values), "utf-8")
    return path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def cell_of(name: str, primary: str, task: str = "tiny/nli") -> Cell:
    words = ["method=lora", f"task={task}", f"task.metric.name={name}", f"task.metric.primary={primary}"]
    return compose(words).cell


def task_of(name: str, primary: str, task: str = "tiny/nli") -> Any:
    return create_task(cell_of(name, primary, task).task)


@pytest.mark.parametrize("dtype", ["int64", "float32", "float64"])
def test_a_metric_in_a_file_scores_what_a_task_predicts(dtype: str, here: Path) -> None:
    metric_file(here / "mine.py", f'{{"right": {RIGHT}, "types": sorted({{type(p).__name__ for p in predictions}})}}')
    task = task_of("./mine.py", "right")
    predictions, references = np.array([0, 1, 2, 0], dtype), np.array([0, 1, 2, 3], dtype)
    assert task.score(predictions, references) == {"right": 0.75, "types": ["float"]}
    assert task.primary(predictions[:2], references[:2]) == 1.0


def test_a_metric_in_a_folder_scores_texts(here: Path) -> None:
    values = '{"copied": sum(p in group for p, group in zip(predictions, references)) / len(predictions)}'
    metric_file(here / "copies" / "copies.py", values, TEXTS)
    task = task_of("./copies", "copied", "tiny/restaurants")
    task.lines = lambda predictions: ["a pub" for _ in predictions]
    references = np.empty(2, dtype=object)
    references[:] = [["a pub", "the pub"], ["a bar"]]
    assert task.score(np.zeros((2, 3)), references) == {"copied": 0.5}
    assert task.primary(np.zeros((2, 3)), references) == 0.5


def test_values_are_kept_as_a_record_can_hold_them() -> None:
    metric = MetricSpec("mine", "f1")
    found = {"f1": np.float32(0.5), "each": np.array([1.0, 2.0]), "std": float("nan"), "odd": object}
    found |= {"text": "\ud800", "\ud800": 1.0, 3: 1.0, "many": 10**5000}
    scores = metrics.checked_scores(metric, found)
    assert scores.pop("absent").keys() == {"std", "odd", "text", "\\ud800", "3", "many"}
    assert json.dumps(scores) == '{"f1": 0.5, "each": [1.0, 2.0]}'
    with pytest.raises(CellError, match="mine gave 1e\\+308 for 'f1'"):
        metrics.checked_scores(replace(metric, scale=100.0), {"f1": 1e308})
    with pytest.raises(CellError, match="mine gave nan for 'std'"):
        metrics.checked_scores(replace(metric, primary="std"), found)
    with pytest.raises(UserError, match=r"gave no number 'each'; those it gave: f1, std, .*3"):
        metrics.checked_scores(replace(metric, primary="each"), found)
    with pytest.raises(UserError, match="gave a list, not values by name"):
        metrics.checked_scores(metric, [1.0])


def test_a_plug_in_brings_a_metric(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = here / "uora_plugins" / "metrics"
    folder.mkdir(parents=True)
    (folder / "near.py").write_text("def compute(predictions, references):\n    return {'n': len(predictions)}\n")
    (folder / "empty.py").write_text("")
    monkeypatch.setenv(plugins.VARIABLE, "")
    assert metrics.load_metric("near").compute(predictions=[1, 2], references=[1, 2]) == {"n": 2}
    (folder / "sorts.py").write_text(
        "def compute(predictions, references):\n    references[:] = 0\n    return {'n': 1}\n"
    )
    references = np.array([1, 2])
    metrics.load_metric("sorts").compute(predictions=np.array([1, 2]), references=references)
    assert references.tolist() == [1, 2]
    (folder / "ends.py").write_text("raise SystemExit(0)\n")
    with pytest.raises(UserError, match=r"ends\.py cannot be imported: SystemExit: 0"):
        metrics.load_metric("ends")
    with pytest.raises(UserError, match=r"metrics/empty.py of plug-in 'uora_plugins' has no function compute"):
        metrics.load_metric("empty")
    with pytest.raises(UserError, match=r"no metric 'nera' built in, in a plug-in.*did you mean 'near'"):
        metrics.load_metric("nera")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("./none.py", r"cannot be loaded: FileNotFoundError: .*none\.py"),
        ("./broken.py", "cannot be loaded: SyntaxError"),
        ("./needs.py", r"cannot be loaded: ImportError: .*no_such_library"),
        ("./plain.py", r"it defines no evaluate\.Metric; a plain function compute belongs into a plug-in"),
        ("./sourced.py", "computed from predictions, sources; a task has predictions and references only"),
        ("shadow", r"'shadow' is a folder here, too; write '\./shadow'"),
        ("rte", r"no metric 'rte' .*did you mean 'glue/rte'\?"),
        ("someone/metric", "no metric 'someone/metric' built in, in a plug-in, in the cache or on the Hub"),
    ],
)
def test_a_metric_that_cannot_be_loaded_is_one_line(name: str, message: str, here: Path) -> None:
    metric_file(here / "broken.py", "{")
    (here / "needs.py").write_text("import no_such_library\n", "utf-8")
    (here / "plain.py").write_text("def compute(predictions, references):\n    return {'x': 1}\n", "utf-8")
    metric_file(here / "sourced.py", "{}", NUMBERS.replace("references", "sources"))
    metric_file(here / "shadow" / "shadow.py", "{}")
    task = task_of(name, "x")  # no library is asked, so that plans and dry runs are quick
    with pytest.raises(UserError, match=message) as caught:
        _ = task.scorer
    assert "\n" not in str(caught.value)


def test_only_a_metric_of_ones_own_leaves_a_trace_in_the_id(here: Path) -> None:
    metric_file(here / "mine.py", "{}")
    given = cell_of("./mine.py", "x")
    absolute = replace(given, task=replace(given.task, metric=MetricSpec(str(here / "mine.py"), "x")))
    assert given.canonical() == absolute.canonical()
    assert given.canonical()["task"]["metric"]["name"] == "local/mine"
    one, other = (replace(given, metric=digest) for digest in ("a" * 64, "b" * 64))
    assert one.cell_id("data") != other.cell_id("data") != given.cell_id("data")
    assert one.key == given.key == key_of(other.canonical())
    assert "metric" not in compose(["method=lora", "task=tiny/nli"]).cell.canonical()


@pytest.mark.parametrize(
    ("name", "primary", "message"),
    [
        ("glue/rtx", "accuracy", r"no metric 'glue/rtx'; did you mean 'glue/rte'\?"),
        ("glue/mrpc", "f2", r"glue/mrpc has no 'f2'; (did you mean 'f1'\?|valid: accuracy, f1)"),
        ("./none.py", "f1", r"no file 'none\.py'"),
        ("./none", "f1", r"no file 'none/none\.py'"),
    ],
)
def test_a_mistake_is_found_before_anything_is_loaded(name: str, primary: str, message: str, here: Path) -> None:
    with pytest.raises(UserError, match=message):
        preflight(cell_of(name, primary))


def run(folder: Path, root: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [
        *(sys.executable, "-m", "uora_bench", "method=lora", "task=tiny/nli", "tracker=none", "trainer.max_steps=2"),
        *("trainer.eval_batch_size=256", "task.metric.name=./mine.py", *words),
    ]
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("WANDB_", "UORA_", "RANK", "WORLD_SIZE"))}
    variables = kept | {"HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "hf"), "PYTHONPATH": str(root / "src")}
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
def test_a_cell_is_scored_by_a_metric_from_a_file(tmp_path: Path, root: Path) -> None:
    metric_file(tmp_path / "mine.py", f'{{"my_score": {RIGHT}, "number": len(predictions)}}')
    assert run(tmp_path, root, "task.metric.primary=my_score", "dry_run=true").returncode == 0
    done = run(tmp_path, root, "task.metric.primary=my_score")
    assert done.returncode == 0, done.stderr
    (path,) = tmp_path.glob("results/records/*/*.json")
    record = json.loads(path.read_text("utf-8"))
    scores = record["scores"]["last"]["scores"]["dev"]
    assert scores["number"] == record["splits"]["dev"]["rows"]
    assert record["metric"]["name"] == "local/mine"
    right = scores["my_score"] * scores["number"]
    assert right == pytest.approx(round(right))
    assert 0.1 < scores["my_score"] < 0.9
    assert str(tmp_path) not in path.read_text("utf-8")

    metric_file(tmp_path / "mine.py", '{"your_score": 0.5, "number": len(predictions)}')  # so this is another cell
    wrong = run(tmp_path, root, "task.metric.primary=my_score")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert wrong.stderr.splitlines()[-1] == (
        "error: task.metric.primary: ./mine.py gave no number 'my_score'; those it gave: your_score, number"
    )
    (tmp_path / "mine.py").unlink()
    missing = run(tmp_path, root, "task.metric.primary=my_score", "dry_run=true")
    assert (missing.returncode, len(missing.stderr.splitlines())) == (2, 1)
    assert "no file 'mine.py'" in missing.stderr

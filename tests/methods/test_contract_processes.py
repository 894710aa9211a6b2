"""The contract, part 5: two processes with the same global batch do what one does."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import contract_worker
from tests.support.contract_harness import METHODS, every_method, having, having_option, train
from tests.support.gloo import Group
from tests.support.paths import ROOT
from uora_bench.training import evaluation

TORCHRUN = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
# of the real command line; a rank these 96 wide layers can take, whatever the default
WORDS = (
    "task=tiny/nli", "recipe=none", "task.splits.train=train[:76]", "task.splits.dev=validation[:51]",
    "task.splits.test=null", "trainer.epochs=2", "trainer.batch_size=15", "trainer.precision=float32",
    "trainer.lr_adapter=2e-3", "tracker=none",
)  # fmt: skip


def call(command: list[str], folder: Path) -> str:
    """Run ``command`` on one core per process; returns what it said on stderr."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300)
    return done.stderr if done.returncode else ""


@pytest.fixture(scope="module")
def by_two(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], str]:
    """What two processes did with every method that is asked for here, and what went wrong."""
    here = [i for i in request.session.items if i.path == request.path and "by_two" in getattr(i, "fixturenames", ())]
    names = {i.callspec.params["name"] for i in here if hasattr(i, "callspec")}
    folder = tmp_path_factory.mktemp("two")
    command = [*TORCHRUN, "-m", "tests.support.contract_worker", str(folder / "result.json")]
    error = call([*command, *(n for n in METHODS if n in names)], folder)
    result = folder / "result.json"
    return (json.loads(result.read_text()) if result.is_file() else {}), error


@every_method
def test_two_processes_train_like_one(name, by_two, tmp_path):
    answers, error = by_two
    assert name in answers, error[-3000:]
    two, one = (
        answers[name],
        json.loads(json.dumps(contract_worker.facts(train(name, tmp_path, **contract_worker.SETTINGS)))),
    )
    assert two["processes"] == 2  # launchers are known to run one process in silence
    assert len(set(two["digests"])) == 1, "the processes end with different weights"
    assert two["losses"] == pytest.approx(one["losses"], rel=1e-5)
    for a, b in zip(one["epochs"], two["epochs"], strict=True):
        assert (b["epoch"], b["step"]) == (a["epoch"], a["step"])
        assert b["scores"]["dev"]["accuracy"] == pytest.approx(a["scores"]["dev"]["accuracy"], abs=1 / 21 + 1e-9)
        alike(b["method"], a["method"])
    alike(two["report"], one["report"])
    # where a method acts beside the optimizer, it did so here
    assert two["report"].get("refreshes", 1) > 0
    assert two["epochs"][-1]["method"].get("auxiliary_steps", 3) >= 3


def alike(left: Any, right: Any) -> None:
    """Nested plain values, equal up to the rounding of floats."""
    if isinstance(left, dict):
        assert left.keys() == right.keys()
        for key in left:
            alike(left[key], right[key])
    elif isinstance(left, list):
        assert len(left) == len(right)
        for a, b in zip(left, right, strict=True):
            alike(a, b)
    elif isinstance(left, float):
        assert left == pytest.approx(right, rel=1e-3, abs=1e-5)
    else:
        assert left == right


@pytest.fixture(scope="module")
def two():
    group = Group(2, "spawn")  # backward passes: no fork
    yield group
    group.close()


def losses(name: str, **chosen: Any) -> tuple[list[float], list[int]]:
    """Every step's loss, and how many dev rows were scored in each epoch."""
    scored: list[int] = []
    score = evaluation.split_scores

    def counted(task: Any, predictions: Any, *rest: Any, **more: Any) -> Any:
        scored.append(len(predictions))
        return score(task, predictions, *rest, **more)

    evaluation.split_scores = counted
    try:
        with tempfile.TemporaryDirectory() as folder:
            return train(name, Path(folder), **{**contract_worker.SETTINGS, **chosen}).losses, scored
    finally:
        evaluation.split_scores = score


def losses_of(name: str, chosen: dict[str, Any]) -> tuple[list[float], list[int]]:
    return losses(name, **chosen)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(METHODS), st.integers(1, 41), st.none() | st.integers(1, 21), st.integers(1, 30), st.integers(0, 8)
)
def test_any_batch_size_gives_the_losses_of_one_process(two, name, batch_size, micro, evaluated, window):
    chosen = {"batch_size": batch_size, "micro_batch_size": micro, "eval_batch_size": evaluated, "max_steps": 6}
    chosen |= {"length_bucket": window}
    alone, scored = losses(name, **chosen)
    for each, counted in two(losses_of, name, chosen):
        assert each == pytest.approx(alone, rel=1e-5)
        assert counted == scored
        assert set(scored) == {21}


@pytest.mark.slow
@having_option("forward")
@pytest.mark.parametrize("forward", ["merged_weight", "delta_weight", "auto"])
def test_every_kernel_gives_the_losses_of_the_plain_one_in_two_processes(two, name, forward):
    options = {**contract_worker.SETTINGS["options"], "forward": "factored"}
    alone, _ = losses(name, options=options, max_steps=6)
    for each, _ in two(losses_of, name, {"options": {**options, "forward": forward}, "max_steps": 6}):
        assert each == pytest.approx(alone, rel=1e-4)


@pytest.mark.slow
@every_method
def test_the_command_line_does_the_same_under_torchrun(name, tmp_path):
    records = []
    for launcher in ([sys.executable], [*TORCHRUN]):
        folder = tmp_path / str(len(records))
        folder.mkdir()
        rank = [f"method.{k}={v}" for k, v in having(name, rank=8).items()]
        error = call([*launcher, "-m", "uora_bench", f"method={name}", *rank, *WORDS], folder)
        assert not error, error[-3000:]
        (path,) = folder.glob("results/records/scratch/*.json")
        records.append(json.loads(path.read_text()))
    one, two = records
    assert (one["processes"], two["processes"]) == (1, 2)
    assert two["cell_id"] == one["cell_id"]
    assert two["counts"] == one["counts"]
    for a, b in zip(one["epochs"], two["epochs"], strict=True):
        assert b["train_loss"] == pytest.approx(a["train_loss"], rel=1e-5)
        assert b["scores"]["dev"]["accuracy"] == pytest.approx(a["scores"]["dev"]["accuracy"], abs=1 / 51 + 1e-9)
    alike(two["method"], one["method"])

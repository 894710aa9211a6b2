"""A run that was killed, or told to stop, ends with the scores and the adapter bytes of an undisturbed one."""

from __future__ import annotations

import hashlib
import json
import signal
import sys
import time
from pathlib import Path

import pytest

from tests.support import warm
from tests.support.paths import ROOT

KILLER = ROOT / "tests" / "support" / "killer.py"
# τ is large, so that refreshes happen and the rewritten matrices and counters have to survive; dropout, so that the
# random streams have to
WORDS = [
    "method=uora", "method.rank=16", "method.tau=0.05", "method.dropout=0.1", "task=tiny/nli", "recipe=none",
    "task.splits.train=train[:192]", "task.splits.dev=validation[:96]", "task.splits.test=null",
    "trainer.batch_size=16", "trainer.epochs=2", "trainer.lr_adapter=2e-2", "trainer.checkpoint_every=5",
    "trainer.eval_batch_size=32", "tracker=none", "experiment_name=resume",
]  # fmt: skip
STEPS = 24


def start(folder: Path, *before: str) -> warm.Process:
    command = [sys.executable, *(before or ("-m", "uora_bench")), *WORDS]
    command += [f"results.dir={folder / 'results'}", f"runs.dir={folder / 'runs'}"]
    return warm.start(command)


def finish(process: warm.Process) -> tuple[int, str]:
    out, err = process.communicate(timeout=240)
    return process.returncode, out + err


def outcome(folder: Path) -> dict[str, object]:
    """What must not depend on interruptions: every epoch's scores, the method's report, the bytes of the weights
    and of the predictions."""
    (path,) = (folder / "results" / "records" / "resume").glob("*.json")
    record = json.loads(path.read_text())
    assert record["status"] == "done"
    run = folder / "runs" / "resume" / record["cell_id"]
    digest = {
        n: hashlib.sha256((run / n).read_bytes()).hexdigest() for n in ("adapter.safetensors", "head.safetensors")
    }
    epochs = [{k: e[k] for k in ("epoch", "step", "train_loss", "scores", "halves")} for e in record["epochs"]]
    predictions = record["provenance"]["predictions"]
    beside = path.with_suffix(".predictions.parquet")
    assert hashlib.sha256(beside.read_bytes()).hexdigest() == predictions["sha256"]
    assert not (run / "predictions").exists()
    found = {"epochs": epochs, "scores": record["scores"], "method": record["method"], "files": digest}
    return {**found, "predictions": predictions}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    code, text = finish(start(folder))
    assert code == 0, text
    result = outcome(folder)
    assert result["epochs"][-1]["step"] == STEPS
    assert result["method"]["refreshes"] > 0
    return result


@pytest.mark.parametrize(
    ("place", "nth"),
    [
        ("step", 9),  # in the middle of the first epoch, between two checkpoints
        pytest.param("step", 18, marks=pytest.mark.slow),
        pytest.param("evaluation", 2, marks=pytest.mark.slow),  # in the first epoch's evaluation
        pytest.param("evaluation", 5, marks=pytest.mark.slow),
        ("checkpoint", 2),  # half of a checkpoint written
        pytest.param("checkpoint", 4, marks=pytest.mark.slow),
        pytest.param("adapter", 1, marks=pytest.mark.slow),  # everything trained, nothing saved
        pytest.param("predictions", 2, marks=pytest.mark.slow),  # of the last epoch, those of the first being there
        ("record", 1),
    ],
)
def test_a_killed_run_ends_as_if_nothing_had_happened(place, nth, undisturbed, tmp_path):
    code, text = finish(start(tmp_path, str(KILLER), place, str(nth)))
    assert code == -signal.SIGKILL, text
    assert not list((tmp_path / "results").rglob("*.json"))
    code, text = finish(start(tmp_path))
    assert code == 0, text
    assert outcome(tmp_path) == undisturbed


@pytest.mark.parametrize("signum", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_signal_saves_and_leaves_and_the_same_command_goes_on(signum, undisturbed, tmp_path):
    process = start(tmp_path)
    runs = tmp_path / "runs"
    deadline = time.monotonic() + 120
    while not list(runs.rglob("last.pt")) and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(signum)
    code, text = finish(process)
    if code == 0:
        pytest.fail("the run ended before the signal arrived: make it longer")
    assert code == 128 + signum, text
    assert "Traceback" not in text
    code, text = finish(start(tmp_path))
    assert code == 0, text
    assert outcome(tmp_path) == undisturbed


@pytest.mark.parametrize(
    "nth", [1, pytest.param(6, marks=pytest.mark.slow)]
)  # in the first and in the last epoch's evaluation
def test_a_signal_in_an_evaluation_loses_neither_training_nor_the_evaluation(nth, undisturbed, tmp_path):
    code, text = finish(start(tmp_path, str(KILLER), "signal", str(nth)))
    assert code == 128 + signal.SIGTERM, text
    code, text = finish(start(tmp_path))
    assert code == 0, text
    assert outcome(tmp_path) == undisturbed


def test_resuming_does_not_repeat_what_was_finished(tmp_path):
    code, _ = finish(start(tmp_path, str(KILLER), "step", "18"))
    assert code == -signal.SIGKILL
    code, text = finish(start(tmp_path))
    assert code == 0, text
    (path,) = (tmp_path / "results" / "records" / "resume").glob("*.json")
    assert json.loads(path.read_text())["restarts"] == 1
    assert "epoch 1:" not in text
    assert "epoch 2:" in text

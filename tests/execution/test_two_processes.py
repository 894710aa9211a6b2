"""Two processes (gloo, CPU) with the same global batch do what one does: same losses, same number of predictions; and
when one of them or their launcher is told to stop, all leave, and the same command resumes."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys

import pytest

from tests.support.paths import ROOT
from uora_bench.records.frame import load_predictions

TELLER = str(ROOT / "tests" / "support" / "teller.py")
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
WORDS = [
    "task=tiny/nli", "recipe=none", "task.splits.train=train[:76]", "task.splits.dev=validation[:51]",
    "task.splits.test=null", "trainer.epochs=2", "trainer.batch_size=15", "trainer.precision=float32",
    "trainer.lr_adapter=2e-2", "tracker=none",
    "trainer.eval_batch_size=3",  # of all starts: logits, which are kept, are rounded otherwise in other batches
]  # fmt: skip
UORA = ["method=uora", "method.tau=0.03"]  # refreshes fire


def launch(folder, launcher, words):
    command = [*launcher, *WORDS, *words, f"results.dir={folder}", f"runs.dir={folder / 'runs'}"]
    # no copies: what torchrun does with signals is a part of what is looked at
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, capture_output=True, text=True, timeout=240, env=environment, check=False)


def record_of(folder):
    (path,) = (folder / "records" / "scratch").glob("*.json")
    return json.loads(path.read_text())


def run(folder, launcher, words):
    done = launch(folder, [*launcher, "-m", "uora_bench"], words)
    assert done.returncode == 0, done.stderr
    return record_of(folder)


def outcome(folder):
    """What must not depend on interruptions."""
    record = record_of(folder)
    run_folder = folder / "runs" / "scratch" / record["cell_id"]
    files = {n: hashlib.sha256((run_folder / f"{n}.safetensors").read_bytes()).hexdigest() for n in ("adapter", "head")}
    epochs = [{k: v for k, v in e.items() if k != "seconds"} for e in record["epochs"]]
    same = {k: record[k] for k in ("status", "scores", "method", "processes")}
    return {"epochs": epochs, "files": files, "predictions": record["provenance"]["predictions"], **same}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    run(folder, TORCHRUN, UORA)
    return folder


@pytest.mark.slow  # the quick one is of the trainer alone: tests/methods/test_contract_processes.py
@pytest.mark.parametrize("words", [[], ["trainer.micro_batch_size=3"]])
def test_two_processes_train_like_one(words, undisturbed, tmp_path):
    one = run(tmp_path / "one", [sys.executable], [*UORA, *words])
    two = run(tmp_path / "two", TORCHRUN, [*UORA, *words]) if words else record_of(undisturbed)
    assert (one["processes"], two["processes"]) == (1, 2)  # launchers are known to run one process in silence
    assert two["cell_id"] == one["cell_id"]
    for a, b in zip(one["epochs"], two["epochs"], strict=True):
        assert b["train_loss"] == pytest.approx(a["train_loss"], rel=1e-5)
        assert b["scores"]["dev"]["accuracy"] == pytest.approx(a["scores"]["dev"]["accuracy"], abs=1 / 51 + 1e-9)
    folders = (tmp_path / "one", tmp_path / "two" if words else undisturbed)
    ours, theirs = (load_predictions(f / "records" / "scratch") for f in folders)
    assert theirs[["item", "reference", "split"]].equals(ours[["item", "reference", "split"]])
    assert len(ours) == 51 * ours.epoch.nunique()
    assert (ours.prediction != theirs.prediction).mean() <= 1 / 51 + 1e-9
    assert one["method"]["refreshes"] > 0
    assert two["method"] == one["method"]


def stopped(folder, place, nth, rank, to, words=()):
    """A run that is told to stop at that moment; returns the step its checkpoint is of."""
    import torch

    done = launch(folder, [*TORCHRUN, TELLER, place, str(nth), str(rank), to], [*UORA, *words])
    assert "telling" in done.stderr
    assert done.returncode != 0, "the run ended before the signal was heard"
    said = "stopped by signal 15; run the same command again to resume from the checkpoint"
    assert done.stderr.count(said) == 2, done.stderr
    assert not list((folder / "records").rglob("*.json"))
    (last,) = (folder / "runs").rglob("last.pt")
    return torch.load(last, weights_only=True)["history"]["steps"]


@pytest.mark.slow
def test_two_processes_leave_together_and_go_on(undisturbed, tmp_path):
    # in the third of six steps of an epoch, told to one of the two; they look at the next step's end
    assert stopped(tmp_path, "step", 3, 1, "itself", ["trainer.log_every=1000"]) in (3, 4)
    # then between two of the first epoch's evaluation batches, told to torchrun
    assert stopped(tmp_path, "evaluation", 2, 0, "launcher", ["trainer.eval_batch_size=3"]) == 6
    run(tmp_path, TORCHRUN, UORA)
    assert record_of(tmp_path)["restarts"] == 2
    assert outcome(tmp_path) == outcome(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("place", "nth", "rank", "to"),
    [
        ("step", 1, 0, "launcher"),
        ("step", 6, 1, "itself"),  # the last of an epoch: seen in the evaluation
        ("step", 11, 0, "itself"),
        ("evaluation", 1, 1, "itself"),
        ("evaluation", 12, 0, "launcher"),  # in the last epoch's
    ],
)
def test_two_processes_leave_together_wherever_they_are_told(place, nth, rank, to, undisturbed, tmp_path):
    stopped(tmp_path, place, nth, rank, to, ["trainer.eval_batch_size=3"])
    run(tmp_path, TORCHRUN, UORA)
    assert outcome(tmp_path) == outcome(undisturbed)


def test_a_cell_refuses_to_train_with_fewer_processes_than_asked_for(tmp_path, monkeypatch):
    monkeypatch.setenv("UORA_PROCESSES", "2")
    done = launch(tmp_path, [sys.executable, "-m", "uora_bench"], UORA)
    assert done.returncode == 1
    assert "asked for 2 processes, 1 run" in done.stderr
    assert record_of(tmp_path)["status"] == "failed"
    assert not list(tmp_path.rglob("last.pt"))

"""Rows held out of the training set: the same ones for every method, named in the record, and used by α-LoRA alone."""

from __future__ import annotations

import json
import sys

import pytest

from tests.support import warm

WORDS = [
    "task=tiny/nli", "recipe=none", "task.splits.train=train[:120]", "task.splits.dev=validation[:48]",
    "task.splits.test=null", "trainer.epochs=1", "trainer.batch_size=12", "trainer.precision=float32", "tracker=none",
]  # fmt: skip


def cell(folder, *words, code=0):
    command = [sys.executable, "-m", "uora_bench", *WORDS, *words, f"results.dir={folder}", f"runs.dir={folder}/runs"]
    done = warm.run(command)
    assert done.returncode == code, done.stderr
    if code:
        return done.stderr
    (path,) = (folder / "records" / "scratch").glob("*.json")
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    return cell(tmp_path_factory.mktemp("alpha"), "method=alpha_lora", "method.alpha_every=2")


def test_the_record_says_what_was_held_out(held_out):
    splits = held_out["splits"]
    assert splits["held_out"] == {"name": "a random 0.2 of train[:120] (drawn with the seed)", "rows": 24}
    assert splits["train"]["rows"] == 96
    assert splits["train"]["name"].startswith("train[:120] without")
    assert set(held_out["scores"]["last"]["scores"]) == {"dev"}, "rows that train α are no evaluation split"
    assert held_out["epochs"][0]["step"] == 8
    spreads = held_out["epochs"][0]["method"]["alpha"]
    assert len(spreads) == 8  # query and value of four blocks
    assert all(s["min"] < s["q50"] < s["max"] for s in spreads.values())
    assert held_out["method"]["alpha"] == spreads


def test_another_method_can_be_given_the_same_rows(held_out, tmp_path):
    lora = cell(tmp_path, "method=lora", "trainer.holdout=0.2")
    assert lora["provenance"]["data"] == held_out["provenance"]["data"]
    assert lora["splits"] == held_out["splits"]
    assert lora["cell"]["trainer"] == held_out["cell"]["trainer"]


def test_as_released_trains_on_everything(tmp_path):
    released = cell(tmp_path, "method=alpha_lora", "method.mode=as_released")
    assert released["splits"]["train"] == {"name": "train[:120]", "rows": 120}
    assert released["splits"]["held_out"]["rows"] == 24


def test_without_rows_there_is_no_alpha_step(tmp_path):
    assert "method.holdout" in cell(tmp_path, "method=alpha_lora", "trainer.holdout=0", code=2)
    assert "no row to train on" in cell(tmp_path, "method=lora", "trainer.holdout=1", code=2)
    assert "at most 1" in cell(tmp_path, "method=lora", "trainer.holdout=2", code=2)

"""The tracker: never prompts, never hangs, never takes a cell down, and can be read back offline."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
import textwrap
import time

import pytest

from uora_bench.config.cell import TrackerConfig
from uora_bench.errors import UserError
from uora_bench.execution import trackers
from uora_bench.execution.trackers.wandb_run import WandbTracker

SCRIPT = """
import sys
from pathlib import Path
from uora_bench.config.cell import TrackerConfig
from tests.support.wandb_files import read_offline
from uora_bench.execution.trackers import RunFacts, start
folder = Path(sys.argv[1])
for first, last in ((2, 4), (3, 6)):  # a start of which a row was lost, and a resume that repeats a step
    facts = RunFacts("abc123", "label", "experiment", "lora", "glue/rte", "minilm", {"seed": 0})
    run = start(TrackerConfig(sys.argv[2], timeout=3.0), facts, folder, first > 2)
    run.log_again([(1, {"train/loss": 0.5}), (2, {"train/loss": 1.0})] if first > 2 else [])
    for step in range(first, last):
        run.log({"train/loss": step / 2}, step)
    run.summary({"dev/last/accuracy": 0.5})
    run.finish()
if sys.argv[2] == "wandb":
    print([(r["_step"], float(r["train/loss"])) for r in read_offline(folder)])
"""
FACTS = trackers.RunFacts("id", "label", "experiment", "lora", "glue/rte", "minilm", {"seed": 0})


def start_in_a_process(folder, tracker="wandb", **environment):
    began = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(folder), tracker],
        capture_output=True,
        text=True,
        timeout=200,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **environment},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip(), done.stderr, time.monotonic() - began


EXPECTED = str([(step, step / 2) for step in range(1, 6)])


def test_without_a_key_the_history_is_offline_and_readable_across_a_resume(tmp_path):
    out, err, _ = start_in_a_process(tmp_path, NETRC=str(tmp_path / "none"))
    assert out == EXPECTED
    lines = err.splitlines()
    assert len(lines) == 2  # one of each start
    for line in lines:
        assert line.startswith("W&B: recording offline, as no key is configured")
        assert line.endswith(f"wandb sync --yes {tmp_path}/wandb/offline-run-*")


@pytest.mark.slow
def test_a_key_without_a_server_goes_on_offline_after_a_bounded_wait(tmp_path):
    # nothing listens on port 9 of the loopback
    out, err, seconds = start_in_a_process(tmp_path, WANDB_API_KEY="0" * 40, WANDB_BASE_URL="http://127.0.0.1:9")
    assert out == EXPECTED
    assert "recording offline" in err
    assert seconds < 120


def test_tensorboard_holds_each_step_once_across_a_resume(tmp_path):
    out, _, _ = start_in_a_process(tmp_path, "tensorboard")
    assert out == ""  # standard output is for results
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(s, s / 2) for s in range(1, 6)]
    assert events.Scalars("summary/dev/last/accuracy")[-1].value == 0.5
    assert "config/text_summary" in events.Tags()["tensors"]


def test_trackio_holds_each_step_once_across_a_resume(tmp_path):
    folder = tmp_path / "trackio"
    out, _, _ = start_in_a_process(tmp_path, "trackio", TRACKIO_DIR=str(folder), HF_HUB_OFFLINE="1")
    assert out == ""  # standard output is for results
    with sqlite3.connect(folder / "uora_bench.db") as database:
        rows = database.execute("select run_name, step, metrics from metrics order by step").fetchall()
        (config,) = {c for (c,) in database.execute("select config from configs")}
    assert {name for name, _, _ in rows} == {"label abc123"}
    told = [(step, json.loads(metrics)) for _, step, metrics in rows]
    assert [(s, m["train/loss"]) for s, m in told if "train/loss" in m] == [(s, s / 2) for s in range(1, 6)]
    assert [m["summary/dev/last/accuracy"] for _, m in told if "summary/dev/last/accuracy" in m] == [0.5, 0.5]
    assert json.loads(config)["tags"] == ["lora", "glue/rte", "minilm", "experiment"]


@pytest.mark.parametrize("name", ["trackio", "tensorboard"])
def test_a_tracker_that_is_not_installed_is_one_line_with_the_extra(name, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda module: None)
    with pytest.raises(UserError, match=rf"pip install 'uora_bench\[{name}\]'"):
        trackers.start(TrackerConfig(name), FACTS, tmp_path)


def test_online_without_a_key_is_the_users_mistake(tmp_path, monkeypatch):
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(UserError, match="wandb login"):
        trackers.start(TrackerConfig("wandb", mode="online"), FACTS, tmp_path)


def test_what_wandb_refuses_is_the_users_mistake_before_training(tmp_path, monkeypatch):
    (tmp_path / "netrc").write_bytes(b"machine \xe9 login x password y\n")  # not UTF-8: it holds no key of ours
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("WANDB_MODE", "foo")
    with pytest.raises(UserError, match=r"W&B does not start: .*WANDB_… variables"):
        trackers.start(TrackerConfig("wandb"), FACTS, tmp_path)


@pytest.mark.parametrize(("name", "mode"), [("none", None), ("wandb", "disabled")])
def test_no_tracker_writes_nothing(name, mode, tmp_path, monkeypatch):
    if mode:
        monkeypatch.setenv("WANDB_MODE", mode)
    run = trackers.start(TrackerConfig(name), FACTS, tmp_path)
    run.log({"a": 1.0}, 1)
    run.finish()
    assert not list(tmp_path.iterdir())


def test_a_tracker_that_breaks_is_told_once_and_then_left_alone(capsys):
    class Broken:
        calls = 0

        def log(self, *args, **kwargs):
            self.calls += 1
            raise ConnectionError("gone")

        def finish(self, **kwargs):
            raise AssertionError("not to be called any more")

    broken = Broken()
    run = WandbTracker(broken)
    run.log({"a": 1.0}, 1)
    run.log({"a": 1.0}, 2)
    run.finish()
    assert broken.calls == 1
    assert capsys.readouterr().err.count("gone") == 1


FULL = """
import resource, sys
from pathlib import Path
from tests.execution.test_trackers import FACTS
from uora_bench.config.cell import TrackerConfig
from uora_bench.execution.trackers import start
run = start(TrackerConfig("tensorboard"), FACTS, Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))  # a disk that is full from now on
for step in range(int(sys.argv[2])):
    run.log({"train/loss": 0.5}, step)
run.finish()
"""


@pytest.mark.parametrize("rows", [100, 2000])  # all still in memory when it ends; and not
def test_tensorboard_on_a_full_disk_says_so_in_one_line_and_ends_nothing(tmp_path, rows):
    command = [sys.executable, "-c", FULL, str(tmp_path), str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "TensorBoard stopped recording: [Errno 27] File too large\n"


def test_tensorboard_that_cannot_start_is_a_mistake_in_one_line(tmp_path):
    (tmp_path / "tensorboard").write_text("")
    with pytest.raises(UserError, match=r"TensorBoard does not start: .*use tracker=none"):
        trackers.start(TrackerConfig("tensorboard"), FACTS, tmp_path)

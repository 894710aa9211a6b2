"""The real command line in processes of its own: what it prints, what it leaves, and how it ends."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import HEAVY, Result, environment, finish, one_line, only_record, start, start_cold
from tests.support.wandb_files import read_offline
from uora_bench.config import registry
from uora_bench.records.record import read_record

SHORT = ("tracker=none", "trainer.max_steps=4", "trainer.eval_batch_size=256")
DIVERGING = ("trainer.lr_adapter=1e30", "trainer.lr_head=1e30", "trainer.precision=float32")

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, root: Path) -> Run:
    """Run a command line in the test's folder; no traceback may show."""
    return lambda *words: finish(start(tmp_path, root, *words))


# --- light: nothing of torch is needed ----------------------------------------------------------------------------


def test_help_lists_every_choice_and_imports_nothing_heavy(tmp_path: Path, root: Path) -> None:
    code = (
        "import sys; from uora_bench.cli.main import main; code = main(['run', '--help']); "
        f"print('HEAVY', sorted(set({HEAVY}) & set(sys.modules))); sys.exit(code)"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env=environment(root), capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.splitlines()[-1] == "HEAVY []"
    words = result.stdout.split()
    for group in ("method", "task", "backbone"):
        assert set(registry.choices(group)) <= set(words)
    keys = "seed data.root results.dir runs.dir trainer.epochs trainer.precision tracker experiment_name force dry_run"
    assert all(f"{key}=" in result.stdout for key in keys.split())


def test_help_into_a_closed_pipe_is_quiet(tmp_path: Path, root: Path) -> None:
    process = start_cold(tmp_path, root, "--help")
    assert process.stdout is not None
    process.stdout.close()
    process.stdout = None
    assert finish(process).stderr == ""


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("methd=lora",), ["did you mean 'method'?"]),
        (("method=lroa",), ["did you mean 'lora'?"]),
        (("--dry_rnu=true",), ["dry_rnu", "did you mean 'dry_run'?"]),
        (("task=glue/rte", "backbone=vit_base"), ["glue/rte", "vit_base"]),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(words: tuple[str, ...], parts: list[str], run: Run) -> None:
    message = one_line(run(*words))
    assert message.startswith("error: ")
    assert all(part in message for part in parts)


# --- without weights or data --------------------------------------------------------------------------------------


def test_a_dry_run_counts_roberta_large_exactly_and_offline(run: Run, tmp_path: Path) -> None:
    result = run("method=uora", "task=glue/rte", "backbone=roberta_large", "dry_run=true")
    assert (result.returncode, result.stderr) == (0, "")
    # 48 (1024 + 64); dense 1024² + 1024, output 2 · 1024 + 2; published size of the encoder with that head
    assert "adapter 52,224 · head 1,051,650 · total 355,414,018" in result.stdout
    assert "targets: 48 in 24 blocks" in result.stdout
    for line in ("method.rank 64 [own]", "method.alpha 0.5 [fork]", "method.gain 1 default"):
        assert line in " ".join(result.stdout.split())
    assert "[fork] UORA authors' fork" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_glue_without_data_says_the_three_ways_out_within_15_seconds(run: Run, tmp_path: Path) -> None:
    run("--version")  # what is copied is there now
    began = time.monotonic()
    message = one_line(run("task=glue/rte", "tracker=none"))
    assert time.monotonic() - began < 15
    assert all(part in message for part in ("data.root", "uora-bench prefetch", "tiny"))
    assert list(tmp_path.iterdir()) == []


def test_a_text_longer_than_the_backbone_can_take_is_the_users_mistake(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "data" / "glue" / "rte"
    folder.mkdir(parents=True)
    row = json.dumps({"sentence1": "the red dog sleeps . " * 20, "sentence2": "the dog sleeps", "label": 0, "idx": 0})
    for split in ("train", "validation"):
        (folder / f"{split}.jsonl").write_text((row + "\n") * 8)
    message = one_line(run("task=glue/rte", "backbone=tiny_roberta", f"data.root={tmp_path / 'data'}", *SHORT))
    assert "task.max_length" in message


# --- real cells ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, root: Path) -> tuple[Path, Result]:
    """A folder with one finished cell, and what the command said; from a process that imported everything itself."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, finish(start_cold(folder, root, *SHORT))


def test_a_cell_leaves_a_valid_record_and_its_weights(finished: tuple[Path, Result]) -> None:
    folder, result = finished
    assert result.returncode == 0, result.stderr
    path = only_record(folder)
    made = read_record(path)
    assert path == folder / "results" / "records" / "scratch" / f"{made.cell_id}.json"
    assert made.status == "done"
    assert (made.cell["method"]["name"], made.cell["task"]["name"]) == ("uora", "tiny/nli")
    assert set(made.scores) == {"last", "best_dev", "heldout_dev"}
    assert {k: v.rows for k, v in made.splits.items()} == {"train": 2001, "dev": 501, "test": 501}
    assert made.counts is not None
    assert made.counts.adapter == 8 * (96 + made.cell["method"]["options"]["rank"])
    assert made.counts.head == 96 * 96 + 96 + 3 * 96 + 3
    assert made.epochs[-1].step == 4
    assert 0 <= made.merge_error < 1e-3
    assert str(folder) not in path.read_text()
    home = folder / "runs" / "scratch" / made.cell_id
    assert made.bytes.adapter_file == (home / "adapter.safetensors").stat().st_size
    assert made.bytes.head_file == (home / "head.safetensors").stat().st_size
    assert not (home / "wandb").exists()
    assert made.cell_id in result.stdout
    assert f"{100 * made.scores['last'].scores['dev']['accuracy']:.2f}" in result.stdout


def test_the_second_call_shows_the_score_and_trains_nothing(finished: tuple[Path, Result], root: Path) -> None:
    folder, first = finished
    before = {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()}
    result = finish(start(folder, root, *SHORT))
    assert result.returncode == 0
    assert result.stdout.startswith("already done: ")
    assert first.stdout.splitlines()[0] in result.stdout
    assert result.stderr == ""
    assert {p: p.stat().st_mtime_ns for p in folder.rglob("*") if p.is_file()} == before


def test_force_runs_again_and_gives_the_same_scores_and_bytes(
    finished: tuple[Path, Result], tmp_path: Path, root: Path
) -> None:
    folder, _ = finished
    first = read_record(only_record(folder))
    adapter = folder / "runs" / "scratch" / first.cell_id / "adapter.safetensors"
    before, stamp = adapter.read_bytes(), adapter.stat().st_mtime_ns
    result = finish(start(folder, root, *SHORT, "force=true"))  # a copy: the bytes are the same both ways
    assert result.returncode == 0, result.stderr
    again = read_record(only_record(folder))
    assert again.provenance.finished >= first.provenance.finished
    assert adapter.stat().st_mtime_ns > stamp
    assert adapter.read_bytes() == before
    assert again.scores == first.scores
    assert [e.train_loss for e in again.epochs] == [e.train_loss for e in first.epochs]
    assert again.restarts == 0


def test_a_start_from_another_cell_is_another_cell(finished: tuple[Path, Result], root: Path, tmp_path: Path) -> None:
    folder, _ = finished
    cell_id = read_record(only_record(folder)).cell_id
    where = f"results.dir={tmp_path / 'results'}"
    result = finish(start(folder, root, *SHORT, where, f"init_from={cell_id}"))
    assert result.returncode == 0, result.stderr
    made = read_record(only_record(tmp_path))
    assert made.cell_id != cell_id
    assert len(made.cell["init_from"]) == 64
    assert made.epochs[0].train_loss != read_record(only_record(folder)).epochs[0].train_loss
    message = one_line(finish(start(folder, root, *SHORT, where, f"init_from={cell_id}", "method=lora")))
    assert "same method" in message
    assert len(list(tmp_path.rglob("*.json"))) == 1
    assert "nowhere" in one_line(finish(start(folder, root, *SHORT, where, "init_from=nowhere")))


def test_a_diverging_cell_leaves_a_failed_record_and_is_run_again(run: Run, tmp_path: Path) -> None:
    stamps = []
    for _ in range(2):
        result = run(*SHORT, *DIVERGING)
        assert result.returncode == 1
        made = read_record(only_record(tmp_path))
        assert made.status == "failed"
        assert "not finite" in str(made.reason)
        assert str(made.reason) in result.stderr
        assert made.scores == {}
        stamps.append(only_record(tmp_path).stat().st_mtime_ns)
    assert stamps[0] < stamps[1]


@pytest.mark.parametrize("second", [(), pytest.param(("runs.dir=elsewhere",), marks=pytest.mark.slow)])
def test_two_processes_on_one_cell_train_it_once(second: tuple[str, ...], tmp_path: Path, root: Path) -> None:
    processes = [start(tmp_path, root, *SHORT, *words) for words in ((), second)]
    results = [finish(p) for p in processes]
    trained = [r for r in results if "epoch 1:" in r.stderr]
    assert len(trained) == 1
    assert trained[0].returncode == 0
    (other,) = (r for r in results if r is not trained[0])
    if other.returncode == 0:
        assert "already done" in other.stdout
    else:
        assert other.returncode == 75
        assert re.fullmatch("error: [^\n]*another process[^\n]*", other.stderr.strip())
    assert read_record(only_record(tmp_path)).status == "done"


def test_an_offline_history_is_readable_back(run: Run, tmp_path: Path) -> None:
    result = run("tracker=wandb", *SHORT[1:], "trainer.log_every=1", "method=head_only")
    assert result.returncode == 0, result.stderr
    made = read_record(only_record(tmp_path))
    rows = read_offline(tmp_path / "runs" / "scratch" / made.cell_id)
    losses = {row["_step"]: row["train/loss"] for row in rows if "train/loss" in row}
    assert sorted(losses) == [1, 2, 3, 4]
    assert sum(losses.values()) / 4 == pytest.approx(made.epochs[0].train_loss, rel=1e-5)
    assert rows[-1]["dev/accuracy"] == made.epochs[0].scores["dev"]["accuracy"]
    assert not list(tmp_path.glob("wandb"))


def test_tensorboard_shows_what_the_record_holds(run: Run, tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = run("tracker=tensorboard", *SHORT[1:], "trainer.log_every=1", "method=head_only")
    assert result.returncode == 0, result.stderr
    made = read_record(only_record(tmp_path))
    events = EventAccumulator(str(tmp_path / "runs" / "scratch" / made.cell_id / "tensorboard"))
    events.Reload()
    assert [e.step for e in events.Scalars("train/loss")] == [1, 2, 3, 4]
    score = made.scores["last"].scores["dev"]["accuracy"]
    assert events.Scalars("summary/dev/last/accuracy")[-1].value == pytest.approx(score)
    assert events.Scalars("summary/adapter_parameters")[-1].value == 0


@pytest.mark.parametrize("key", ["results.dir", "runs.dir"])
def test_a_folder_that_cannot_be_written_is_one_line_before_any_training(key: str, run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # a folder cannot be made below a file, not even by root
    result = run(*SHORT, f"{key}={tmp_path / 'file'}")
    assert result.returncode in (1, 2)
    assert "epoch 1:" not in result.stderr
    message = one_line(result, result.returncode)
    assert key in message or str(tmp_path / "file") in message

"""`uora-bench mt-bench answer` on a cell of the real command line: answers, kills, what the judge reads."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.command_line import HEAVY, environment, finish, start
from tests.support.teller import after
from uora_bench.cli.main import main
from uora_bench.config.compose import compose
from uora_bench.mt_bench.judge import answers
from uora_bench.util.signals import StopRequest

INSTALL = StopRequest.install
WORDS = [
    "method=lora", "task=tiny/instruct", "recipe=none", "task.splits.train=train[:32]", "task.splits.test=null",
    "task.splits.dev=validation[:8]", "trainer.epochs=1", "trainer.batch_size=8", "trainer.lr_adapter=1e-2",
    "trainer.precision=float32", "tracker=none",
]  # fmt: skip
QUESTIONS = [
    {"question_id": 81, "category": "writing", "turns": ["Describe a lighthouse at night.", "Now in five words."]},
    {"question_id": 111, "category": "math", "turns": ["Add 2 and 5.", "Double it."], "reference": ["7", "14"]},
    {"question_id": 141, "category": "stem", "turns": ["Why does ice float on water?", "And iron?"]},
    {"question_id": 91, "category": "roleplay", "turns": ["You are a clock. Greet me.", "Say goodbye."]},
]
QUICK = ("max_new_tokens=12", "batch_size=1", "temperature.math=0.5")
# the command line, but in its third batch the process is killed
KILLER = """
import os, sys
from tests.support.teller import after
from uora_bench.mt_bench import generate
generate.Writer.answer = after(3, generate.Writer.answer, lambda: os.kill(os.getpid(), 9))
from uora_bench.cli.main import main
sys.exit(main(["mt-bench", "answer", *sys.argv[1:]]))
"""
Call = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, root: Path) -> Path:
    """A folder with one trained cell under runs/ and a few questions under data/."""
    folder = tmp_path_factory.mktemp("trained")
    result = finish(start(folder, root, *WORDS))
    assert result.returncode == 0, result.stderr
    place = folder / "data" / "mt_bench" / "question"
    place.mkdir(parents=True)
    (place / "test.jsonl").write_text("".join(json.dumps(q) + "\n" for q in QUESTIONS), "utf-8")
    return folder


@pytest.fixture(scope="module")
def run_folder(trained: Path) -> Path:
    (path,) = (trained / "runs" / "scratch").glob("*/cell.json")
    return path.parent


@pytest.fixture
def call(trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run the command in this process, in the folder of the run: (exit code, stdout, stderr)."""
    monkeypatch.chdir(trained)
    monkeypatch.delenv("UORA_DATA_DIR", raising=False)
    monkeypatch.setattr("uora_bench.util.signals.StopRequest.install", lambda self: None)

    def run(*words: str | Path) -> tuple[int, str, str]:
        capsys.readouterr()
        code = main(["mt-bench", "answer", *map(str, words), *QUICK, "data.root=data"])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def mistake(outcome: tuple[int, str, str], *parts: str) -> None:
    code, out, err = outcome
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1, err
    assert err.startswith("error: ")
    assert all(part in err for part in parts), err


def test_answers_survive_a_kill_and_a_signal_and_the_judge_reads_them(
    call: Call, trained: Path, run_folder: Path, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = tmp_path / "whole.jsonl"
    code, out, err = call(run_folder.name, f"output={whole}")
    assert code == 0, err
    assert "4 questions (MT-Bench has 80), both turns" in out
    assert "adapter merged into the weights" in err
    said = answers.read_answers(whole)
    assert [a.question_id for a in said] == [81, 111, 141, 91]
    assert [a.temperature for a in said] == [0.7, 0.5, 0.1, 0.7]
    assert all(len(a.answers) == 2 for a in said)
    assert all(0 < sum(a.generation["tokens"]) <= 24 for a in said)
    assert said[0].generation["cell_id"] == run_folder.name
    assert not any(str(folder) in whole.read_text() for folder in (trained, tmp_path, root))

    output, partial = run_folder / answers.FILE_NAME, run_folder / f"{answers.FILE_NAME}.partial"
    command = [sys.executable, "-c", KILLER, run_folder.name, *QUICK, "data.root=data"]
    surroundings = environment(root)
    surroundings["PYTHONPATH"] += f":{root}"
    result = subprocess.run(command, cwd=trained, env=surroundings, capture_output=True, text=True, timeout=120)
    assert result.returncode == -signal.SIGKILL, result.stderr
    left = answers.read_answers(partial)
    assert (len(left), output.exists()) == (2, False)
    assert all(answer in said for answer in left)
    code, out, _ = call(run_folder)
    assert code == 0
    assert "2 answers are already there" in out
    assert output.read_bytes() == whole.read_bytes()
    assert not partial.exists()

    assert main(["mt-bench", "judge", str(run_folder), "judge.model=x", "judge.references=none", "dry_run=true"]) == 0
    assert "8 judgements: 0 stored, 8 to ask for now" in capsys.readouterr().out


def test_a_signal_leaves_what_was_answered(
    call: Call, trained: Path, run_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uora_bench.mt_bench.generate import Writer

    interrupted = after(3, Writer.answer, lambda: os.kill(os.getpid(), signal.SIGTERM))
    before = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}
    with monkeypatch.context() as patch:
        patch.setattr(Writer, "answer", interrupted)
        patch.setattr("uora_bench.util.signals.StopRequest.install", INSTALL)
        try:
            code, _, err = call(run_folder, f"output={tmp_path / 'a.jsonl'}")
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)
    assert code == 128 + signal.SIGTERM
    assert err.splitlines()[-1] == ("stopped by signal 15; answers are kept; run the same command again to resume")
    assert not (tmp_path / "a.jsonl").exists()
    code, out, _ = call(run_folder, f"output={tmp_path / 'a.jsonl'}")
    assert (code, "2 answers are already there" in out) == (0, True)
    assert len(answers.read_answers(tmp_path / "a.jsonl")) == 4


def test_what_is_there_is_not_made_again_and_not_mixed(call: Call, run_folder: Path, tmp_path: Path) -> None:
    words = (run_folder, f"output={tmp_path / 'a.jsonl'}", "limit=2")
    code, out, _ = call(*words)
    assert (code, "2 of 4 questions" in out) == (0, True)
    before = (tmp_path / "a.jsonl").read_bytes()
    code, out, err = call(*words)
    assert (code, err) == (0, "")
    assert "already done" in out
    mistake(call(*words, "seed=5"), "seed is 0 there, not 5", "force=true")
    mistake(call(*words[:2]), "lacks question 141 (2 in all)")
    mistake(call(*words, "template=plain"), "template is alpaca there, not plain")
    assert (tmp_path / "a.jsonl").read_bytes() == before
    code, _, err = call(*words, "turns=1", "seed=5", "force=true")
    assert code == 0, err
    made = answers.read_answers(tmp_path / "a.jsonl")
    assert [(len(a.answers), a.generation["seed"]) for a in made] == [(1, 5), (1, 5)]


def test_mistakes_are_one_line(call: Call, run_folder: Path, tmp_path: Path) -> None:
    near = run_folder.name[:-1] + ("0" if run_folder.name[-1] != "0" else "1")
    mistake(call(near), f"did you mean '{run_folder.name}'?")
    mistake(call("x", "runs.dir=nowhere"), "set runs.dir=<folder>")
    copied = Path(shutil.copytree(run_folder, tmp_path / "copied"))
    (copied / "adapter.safetensors").unlink()
    mistake(call(copied), "has not finished")
    values = compose(["method=lora", "task=tiny/nli", "recipe=none"]).values
    (copied / "cell.json").write_text(json.dumps({"cell_id": "0" * 16, "values": values}))
    mistake(call(copied), "task=tiny/nli", "task=instruct/")


def test_another_backbone_than_the_runs_is_refused(call: Call, trained: Path, run_folder: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    import uora_bench

    bundled = Path(uora_bench.__file__).parent / "assets" / "tiny_llama"
    other = Path(shutil.copytree(bundled, tmp_path / "backbone"))
    same = call(
        run_folder, f"output={tmp_path / 'a.jsonl'}", "limit=1", f"backbone.path={other}", "results.dir=nowhere"
    )
    assert same[0] == 0
    assert "no record of the cell in 'nowhere/records/scratch'" in same[2]
    tensors = load_file(other / "model.safetensors")
    save_file({k: v + torch.ones_like(v) for k, v in tensors.items()}, other / "model.safetensors", {"format": "pt"})
    code, _, err = call(run_folder, f"output={tmp_path / 'b.jsonl'}", f"backbone.path={other}")
    assert code == 2
    assert "other weights now than the run had" in err
    assert not (tmp_path / "b.jsonl").exists()


def test_help_imports_nothing_heavy(tmp_path: Path, root: Path) -> None:
    code = (
        "import sys; from uora_bench.cli.main import main; main(['mt-bench', 'answer', '--help']); "
        f"print('HEAVY', sorted(set({HEAVY}) & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    result = subprocess.run(command, cwd=tmp_path, env=environment(root), capture_output=True, text=True, timeout=60)
    assert result.stdout.splitlines()[-1] == "HEAVY []", result.stderr

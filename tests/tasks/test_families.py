"""A cell of every task family by the real command line: whole, killed and resumed, and in two processes."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support import own_files, warm
from tests.support.paths import ROOT

KILLER = ROOT / "tests" / "support" / "killer.py"
COMMON = [
    "recipe=none", "trainer.epochs=2", "trainer.batch_size=16", "trainer.checkpoint_every=3", "trainer.lr_adapter=5e-3",
    "trainer.precision=float32", "tracker=none", "experiment_name=family",
]  # fmt: skip
# dropout where the method has it, refreshes, a second optimizer: what a resume could lose, one method per family
FAMILIES = {
    "tiny/restaurants": [
        "method=lora", "method.dropout=0.1", "task.splits.train=train[:96]", "task.splits.dev=validation[:60]",
        "task.splits.test=null", "task.beams=2", "task.max_new_tokens=12", "trainer.eval_batch_size=8",
    ],
    "tiny/instruct": [
        "method=uora", "method.rank=8", "method.tau=0.05", "task.splits.train=train[:96]",
        "task.splits.dev=validation[:40]", "task.splits.test=null", "trainer.eval_batch_size=8",
    ],
    "tiny/digits": [
        "method=alpha_lora", "task.augmentation=crop_flip", "method.alpha_every=2", "trainer.max_steps=20",
        "trainer.eval_batch_size=64",
    ],
    "tiny/answers": [
        "method=tied_lora", "task.sample_train=96", "task.sample_dev=40", "task.splits.test=null",
        "task.max_new_tokens=8", "task.stop=[a]", "trainer.eval_batch_size=8",
    ],
    "tiny/choices": [
        "method=lora", "task.splits.train=train[:96]", "task.splits.dev=validation[:40]", "task.splits.test=null",
        "trainer.eval_batch_size=8", "trainer.patience=2", "trainer.patience_every=2",
    ],
}  # fmt: skip
# of rows that `run` writes
OWN = {"text/local": own_files.reviews(120), "text/generate": own_files.quiz(80)}
FAMILIES["text/local"] = [
    "method=lora", "backbone=tiny_roberta", "task.max_length=40", "task.columns=[text]", "trainer.eval_batch_size=8",
]  # fmt: skip
FAMILIES["text/generate"] = [
    "method=vera", "method.rank=8", "backbone=tiny_gpt2", "task.max_length=64", "task.choices=options",
    "trainer.eval_batch_size=4",
]  # fmt: skip
WRITES = ("tiny/restaurants", "tiny/answers")  # their texts lie beside the record


def run(folder: Path, task: str, *before: str, launcher: tuple[str, ...] = ()) -> warm.Result:
    command = [sys.executable, *launcher, *(before or ("-m", "uora_bench")), f"task={task}", *FAMILIES[task], *COMMON]
    command += [f"results.dir={folder / 'results'}", f"runs.dir={folder / 'runs'}"]
    if task in OWN:
        command.append(f"task.path={own_files.write(folder / 'rows.jsonl', OWN[task])}")
    return warm.run(command)


def record(folder: Path) -> dict[str, Any]:
    (path,) = (folder / "results" / "records" / "family").glob("*.json")
    found: dict[str, Any] = json.loads(path.read_text())
    assert found["status"] == "done"
    return found


def outcome(folder: Path) -> dict[str, Any]:
    """What must not depend on interruptions: scores, the method's report, weights, and the texts that were scored."""
    found = record(folder)
    home = folder / "runs" / "family" / found["cell_id"]
    files = [home / n for n in ("adapter.safetensors", "head.safetensors")]
    files += sorted((folder / "results" / "records" / "family").glob("*.txt"))
    digests = {f.name: hashlib.sha256(f.read_bytes()).hexdigest() for f in files}
    epochs = [{k: e[k] for k in ("epoch", "step", "train_loss", "scores")} for e in found["epochs"]]
    return {"epochs": epochs, "scores": found["scores"], "method": found["method"], "files": digests}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Any:
    made: dict[str, Path] = {}

    def folder(task: str) -> Path:
        if task not in made:
            made[task] = tmp_path_factory.mktemp("whole")
            done = run(made[task], task)
            assert done.returncode == 0, done.stderr
        return made[task]

    return folder


@pytest.mark.slow
@pytest.mark.parametrize("task", FAMILIES)
def test_a_cell_that_was_killed_ends_as_if_nothing_had_happened(task: str, undisturbed: Any, tmp_path: Path) -> None:
    expected = outcome(undisturbed(task))
    steps = expected["epochs"][-1]["step"]
    for place, nth in (("step", steps // 2 + 2), ("evaluation", 2)):
        done = run(tmp_path / place, task, str(KILLER), place, str(nth))
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert not list((tmp_path / place / "results").rglob("*.json"))
        done = run(tmp_path / place, task)
        assert done.returncode == 0, done.stderr
        assert outcome(tmp_path / place) == expected


def test_what_was_generated_lies_beside_the_record_in_the_order_of_the_meanings(undisturbed: Any) -> None:
    folder = undisturbed("tiny/restaurants")
    found = record(folder)
    assert found["provenance"]["outputs"] == {"dev": f"{found['cell_id']}.dev.txt"}
    text = (folder / "results" / "records" / "family" / f"{found['cell_id']}.dev.txt").read_text()
    from uora_bench.data.generated import restaurants

    meanings = list(dict.fromkeys(row["meaning_representation"] for row in restaurants.rows("validation")[:60]))
    assert len(text.splitlines()) == len(meanings)


@pytest.mark.parametrize(
    "task", ["tiny/restaurants", *(pytest.param(t, marks=pytest.mark.slow) for t in ("tiny/instruct", "tiny/choices"))]
)
def test_a_family_without_such_texts_names_none(task: str, undisturbed: Any) -> None:
    named = record(undisturbed(task))["provenance"].get("outputs")
    assert (named is not None) == (task in WRITES)


@pytest.mark.parametrize(
    ("task", "form"),
    [
        ("tiny/restaurants", "peft"),
        pytest.param("tiny/instruct", "merged", marks=pytest.mark.slow),
        pytest.param("tiny/digits", "merged", marks=pytest.mark.slow),
        pytest.param("tiny/answers", "merged", marks=pytest.mark.slow),
        pytest.param("tiny/choices", "peft", marks=pytest.mark.slow),
    ],
)
def test_an_export_is_loaded_by_the_code_on_its_card(task: str, form: str, undisturbed: Any, tmp_path: Path) -> None:
    folder = undisturbed(task)
    run_folder = folder / "runs" / "family" / record(folder)["cell_id"]
    command = [sys.executable, "-m", "uora_bench", "export", str(run_folder), "--format", form]
    command += ["--output", str(tmp_path / "exported")]
    done = warm.run(command)
    assert done.returncode == 0, done.stderr
    card = (tmp_path / "exported" / "README.md").read_text()
    code = card.split("```python\n")[1].split("```")[0]
    here = os.getcwd()
    os.chdir(tmp_path / "exported")
    try:
        made: dict[str, Any] = {}
        exec(code, made)
    finally:
        os.chdir(here)
    assert made["model"].main_input_name == ("pixel_values" if task == "tiny/digits" else "input_ids")
    assert made["processor" if task == "tiny/digits" else "tokenizer"] is not None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task.max_new_tokens=250"], "set task.max_new_tokens="),
        (["method=head_only"], "trains nothing on backbone=tiny_gpt2"),
    ],
)
def test_what_cannot_work_is_said_in_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    method = [] if any(word.startswith("method=") for word in words) else ["method=lora"]
    base = ["task=tiny/restaurants", "trainer.max_steps=1", "tracker=none", "recipe=none"]
    command = [
        sys.executable,
        "-m",
        "uora_bench",
        *method,
        *base,
        *words,
        f"results.dir={tmp_path}",
        f"runs.dir={tmp_path}",
    ]
    done = warm.run(command)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("task", FAMILIES)
def test_two_processes_do_what_one_does(task: str, undisturbed: Any, tmp_path: Path) -> None:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    done = run(tmp_path, task, launcher=torchrun)
    assert done.returncode == 0, done.stderr
    one, two = record(undisturbed(task)), record(tmp_path)
    assert (one["processes"], two["processes"]) == (1, 2)
    assert one["cell_id"] == two["cell_id"]
    primary = one["metric"]["primary"]
    for a, b in zip(one["epochs"], two["epochs"], strict=True):
        # dropout draws other numbers in each process: the first family only comes near
        assert b["train_loss"] == pytest.approx(a["train_loss"], rel=0.1 if task == "tiny/restaurants" else 1e-4)
        if task != "tiny/restaurants":
            assert b["scores"]["dev"][primary] == pytest.approx(a["scores"]["dev"][primary], rel=1e-2)

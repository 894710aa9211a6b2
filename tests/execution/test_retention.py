"""What a cell says of the backbone's other abilities, before and after, with the adapter on and off."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
import torch

import uora_bench
from tests.support import own_files
from uora_bench.cli.main import main
from uora_bench.contract.models import gpt2, inject, make_method, roberta
from uora_bench.errors import UserError
from uora_bench.records.record import CellRecord, Retention, read_records
from uora_bench.training import retention

SHORT = ["recipe=none", "trainer.batch_size=8", "trainer.epochs=2", "trainer.precision=float32", "tracker=none"]
ASKED = [*SHORT, "retention.measure=true"]
NLI = ["task=tiny/nli", "task.splits.train=train[:16]", "task.splits.dev=validation[:40]", "task.splits.test=null"]
TEXT = ["task=text/generate", "task.path=quiz.jsonl", "backbone=tiny_gpt2", "task.max_length=96",
        "task.max_new_tokens=4", "task.template='{question}?'"]  # fmt: skip
DIGITS = ["task=tiny/digits", "task.splits.train=train[:16]", "task.splits.dev=test[:30]"]
LORA = "method=lora"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    own_files.write(tmp_path / "quiz.jsonl", own_files.quiz())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def record_of(results: Path) -> CellRecord:
    (record,) = read_records(results / "records" / "scratch")
    return record


def measured(folder: Path) -> Retention:
    found = record_of(folder / "results").retention
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("words", "measure"),
    [(NLI, "drift"), (TEXT, "loss"), pytest.param(DIGITS, "drift", marks=pytest.mark.slow)],
    ids=["encoder", "language model", "pictures"],
)
def test_turned_off_the_adapter_leaves_nothing_behind(words: list[str], measure: str, here: Path) -> None:
    assert main([LORA, *ASKED, *words]) == 0
    found = measured(here)
    assert (found.measure, found.problem, found.off_difference) == (measure, None, 0.0)
    assert found.off == found.pristine
    assert found.adapted != found.pristine
    assert found.pristine == 0.0 if measure == "drift" else found.pristine > 1
    assert found.count > 10


def test_measuring_changes_no_score(here: Path) -> None:
    assert main([LORA, *ASKED, *NLI]) == 0
    assert main([LORA, *SHORT, *NLI, "results.dir=other", "runs.dir=others"]) == 0
    asked, plain = record_of(here / "results"), record_of(here / "other")
    assert asked.cell_id == plain.cell_id
    for one, other in zip(asked.epochs, plain.epochs, strict=True):
        assert (one.train_loss, one.scores, one.halves) == (other.train_loss, other.scores, other.halves)
    assert plain.retention is None
    frame = uora_bench.load_records("results")
    assert frame["retention.adapted"].iloc[0] == asked.retention.adapted


def test_a_record_without_it_says_how_to_get_it(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([LORA, *SHORT, *NLI]) == 0
    assert main([LORA, *ASKED, *NLI]) == 0
    assert "this record has no retention; force=true" in capsys.readouterr().err


def test_what_trains_the_backbone_has_no_off(here: Path) -> None:
    assert main(["method=bitfit", *ASKED, *NLI]) == 0
    found = measured(here)
    assert found.off is None
    assert found.problem == "method=bitfit trains tensors of the backbone, which cannot be turned off"
    assert found.adapted > 0


def test_virtual_tokens_are_not_measured(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["method=peft", "peft.type=prompt_tuning", "peft.num_virtual_tokens=4"]
    assert main([*words, *ASKED, *NLI]) == 0
    assert measured(here).adapted is None
    assert "note: retention: not measured: virtual tokens" in capsys.readouterr().err


def test_a_text_of_ones_own(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "mine.txt").write_text("A first passage, of some words.\n\nA second one.\n")
    assert main([LORA, *ASKED, *NLI, "retention.text=mine.txt"]) == 0
    found = measured(here)
    assert found.count == 2
    assert found.inputs == f"text, sha256 {hashlib.sha256((here / 'mine.txt').read_bytes()).hexdigest()}"


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "No such file"), (b"\xff\xfe", "it is not UTF-8"), (b"\n \n", "no passage of two tokens")],
)
def test_a_text_that_cannot_be_used_is_one_line(
    content: bytes | None, message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (here / "mine.txt").write_bytes(content)
    assert main([LORA, *ASKED, *NLI, "retention.text=mine.txt"]) == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


class Letters:
    """A tokenizer of letters."""

    model_input_names = ("input_ids",)

    def __call__(self, text: str, truncation: bool, max_length: int) -> dict[str, list[int]]:
        return {"input_ids": [5 + ord(letter) % 40 for letter in text][:max_length]}


@pytest.mark.parametrize("make", [roberta, gpt2])
def test_a_frozen_weight_that_training_changed_is_seen(make) -> None:
    model, method = make(), make_method("lora", rank=2)
    probe = retention.Probe(model, Letters(), "cpu", None)
    inject(method, model, ("qkv",) if make is gpt2 else None)
    probe.start(model, method)
    assert probe.finish(model, method).off_difference == 0.0
    with torch.no_grad():
        next(iter(method.layers.values())).base.weight[0, 0] += 0.1
    assert probe.finish(model, method).off_difference > 0


@pytest.mark.parametrize("make", [roberta, gpt2])
def test_a_weight_that_putting_the_adapter_in_changed_is_seen_whatever_passes_follow(make) -> None:
    model, method = make(), make_method("lora", rank=2)
    probe = retention.Probe(model, Letters(), "cpu", None)
    inject(method, model, ("qkv",) if make is gpt2 else None)
    with torch.no_grad():
        next(iter(method.layers.values())).base.weight[0, 0] += 0.1
    probe.start(model, method)
    probe.start(model, method, rounding=True)
    assert probe.finish(model, method).off_difference > 0


def test_an_adapter_that_takes_its_start_out_of_the_weights_has_no_off() -> None:
    pissa = make_method("peft", type="lora", fields={"init_lora_weights": "pissa"})
    inject(pissa, roberta(torch.float32))
    with pytest.raises(UserError, match="lora changes tensors of the backbone"), pissa.turned_off():
        pass

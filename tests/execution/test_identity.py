"""What is not the named model or data set never carries its name: in the id, the record, the label or the card."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

import uora_bench
from uora_bench.cli.main import main
from uora_bench.config.compose import compose
from uora_bench.data.offline import Entry, Manifest
from uora_bench.data.sources import Source
from uora_bench.errors import UserError
from uora_bench.models import backbones
from uora_bench.records.record import read_record
from uora_bench.report import explain
from uora_bench.report.collect import Run

BUNDLED = Path(uora_bench.__file__).parent / "assets" / "tiny_roberta"
SHORT = (
    "method=head_only", "trainer.precision=float32",
    "task=tiny/nli", "recipe=none", "tracker=none", "trainer.max_steps=1", "trainer.batch_size=4",
    "task.splits.train=train[:8]", "task.splits.dev=validation[:8]", "task.splits.test=null",
)  # fmt: skip


@pytest.fixture
def mine(tmp_path: Path) -> Path:
    """The bundled model with a number changed: weights that no YAML names."""
    folder = Path(shutil.copytree(BUNDLED, tmp_path / "mine"))
    tensors = load_file(folder / "model.safetensors")
    next(iter(tensors.values())).view(-1)[0] += 1
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder


def test_a_copy_of_the_bundled_weights_is_the_named_model(tmp_path: Path) -> None:
    folder = shutil.copytree(BUNDLED, tmp_path / "copy")
    assert cell_of(f"backbone.path={folder}").backbone.identity == cell_of().backbone.identity


def test_a_secret_that_is_a_word_of_the_record_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_TOKEN", "accuracy")  # hidden, the score would have no name
    assert main([*SHORT]) == 2
    assert "text of the record's 'cell'" in capsys.readouterr().err
    monkeypatch.setenv("HF_TOKEN", "hf_of_nobody")
    assert main([*SHORT, "experiment_name=by-hf_of_nobody"]) == 2
    assert not list(tmp_path.rglob("*.json"))


def test_a_metric_that_ends_the_program_leaves_a_failed_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "uora_plugins" / "metrics").mkdir(parents=True)
    (tmp_path / "uora_plugins" / "metrics" / "ends.py").write_text(
        "def compute(predictions, references):\n    raise SystemExit(0)\n"
    )
    assert main([*SHORT, "task.metric.name=ends", "task.metric.primary=n"]) == 1
    (path,) = tmp_path.glob("results/records/scratch/*.json")
    assert read_record(path).reason == "SystemExit: 0 (ends.py:2)"


def cell_of(*words: str):
    return compose([*SHORT, *words]).cell


def test_a_model_from_a_folder_is_a_local_one_whatever_yaml_describes_it(mine: Path) -> None:
    cell = cell_of("backbone=minilm", f"backbone.path={mine}")
    assert cell.canonical()["backbone"]["name"] == "local/mine"
    assert cell.canonical()["backbone"]["id"] is None
    assert "local/mine" in cell.label
    assert "minilm" not in json.dumps(cell.canonical())


def test_the_named_weights_keep_their_name_in_any_folder(mine: Path) -> None:
    digest = hashlib.sha256((mine / "model.safetensors").read_bytes()).hexdigest()
    backbone = cell_of(f"backbone.path={mine}").backbone
    assert replace(backbone, sha256=digest).identity == cell_of().backbone.identity
    assert replace(backbone, sha256="0" * 64).public_name == "local/mine"
    with pytest.raises(UserError, match="can only be set there"):
        cell_of(f"backbone.path={mine}", f"backbone.sha256={digest}")


@pytest.mark.parametrize("name", ["tokenizer.json", "config.json", "chat_template.jinja"])
def test_two_folders_that_differ_in_any_file_that_decides_are_two_cells(name: str, mine: Path) -> None:
    def id_now() -> str:
        cell = cell_of(f"backbone.path={mine}")
        files = backbones.files_sha256(cell.backbone)
        return replace(cell, weights=backbones.weights_sha256(cell.backbone), files=files).cell_id("data")

    before = id_now()
    (mine / "README.md").write_text("decides nothing")
    assert id_now() == before
    with open(mine / name, "a") as handle:
        handle.write(" ")
    assert id_now() != before


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (("task.source.dataset=mine",), "local/glue/mine"),
        (("task.source.benchmark=own",), "local/own/sst2"),
        (("task.source.hub.id=me/reviews",), "me/reviews/sst2"),
        (("task.source.hub.revision=abc",), "glue/sst2"),
        ((), "glue/sst2"),
    ],
)
def test_rows_of_another_source_are_not_called_by_the_tasks_name(words: tuple[str, ...], name: str) -> None:
    composed = compose(["task=glue/sst2", "method=lora", "recipe=none", *words])
    assert composed.cell.task.name == name
    assert composed.cell.canonical()["task"]["name"] == name


def test_only_what_the_manifest_vouches_for_is_the_named_set(tmp_path: Path) -> None:
    source = compose(["task=glue/sst2"]).cell.task.source
    path = tmp_path / "glue" / "sst2" / "train.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text('{"sentence": "a", "label": 0}\n')
    place = Source(tmp_path)
    assert place.origin(source, ["train[:3]"]) == "files"
    assert place.origin(source, ["train", "validation"]) == "files+hub"
    assert source.hub is not None
    manifest = Manifest(tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    manifest.add("glue/sst2/train.jsonl", Entry(path.stat().st_size, digest, "dataset", source.hub.id, (), "0" * 40))
    manifest.write()
    assert place.origin(source, ["train"]) == "mirror"
    path.write_text('{"sentence": "b", "label": 0}\n')  # of the same size
    assert place.origin(source, ["train"]) == "files"


def test_record_and_printed_command_name_the_folder_and_another_one_is_refused(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("uora_bench.util.signals.StopRequest.install", lambda self: None)
    words = (*SHORT, f"backbone.path={mine}")
    assert main(list(words)) == 0
    (path,) = tmp_path.glob("results/records/scratch/*.json")
    record = read_record(path)
    assert record.provenance.backbone["name"] == record.cell["backbone"]["name"] == "local/mine"
    assert record.cell["weights"] == record.provenance.backbone["weights_sha256"]
    assert record.provenance.rows_from == "generated"
    run = Run("tiny/nli", 0, {}, record.metric, {}, overrides=record.provenance.command, recorded=record)
    command = explain.command(run)
    assert f"backbone.path=<folder with the weights of sha256 {record.cell['weights']}>" in command
    assert f"expect_cell_id={record.cell_id}" in command
    capsys.readouterr()
    assert main([*words, f"expect_cell_id={record.cell_id}"]) == 0
    assert "already done" in capsys.readouterr().out
    with open(mine / "tokenizer.json", "a") as handle:
        handle.write(" ")
    assert main([*words, f"expect_cell_id={record.cell_id}"]) == 2
    assert f"not {record.cell_id} (expect_cell_id)" in capsys.readouterr().err

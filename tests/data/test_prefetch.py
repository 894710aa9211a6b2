"""Prefetching for real, from a Hub on the loopback: what is fetched, what is checked, and cells without the Hub."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import last_of_each
from tests.support.hub_server import Hub, Repository
from tests.support.tiny_hub import COUNTS, connected, fetched, glue, model, rows, table, words
from uora_bench.cli import main as program
from uora_bench.config.compose import compose
from uora_bench.data import offline, prefetch


def main(words: list[str]) -> int:
    return program.main(["prefetch", *words])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with connected(monkeypatch) as running:
        yield running


# --- what is fetched ----------------------------------------------------------------------------------------------


def test_one_folder_holds_rows_model_and_a_manifest_and_nothing_else(hub: Hub, tmp_path: Path) -> None:
    net = hub.repositories[0]
    assert main(words(hub, f"data.root={tmp_path}")) == 0
    held = fetched(tmp_path)
    snapshot = f"hub/models--test--tiny/snapshots/{net.commit}"
    kept = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors",
            "additional_chat_templates/tool.jinja")  # fmt: skip
    assert {f"{snapshot}/{name}": net.files[name] for name in kept} == {
        name: content for name, content in held.items() if name.startswith("hub/")
    }
    for split in ("train", "validation"):
        lines = gzip.decompress(held[f"glue/rte/{split}.jsonl.gz"]).decode().splitlines()
        assert [json.loads(line) for line in lines] == rows(COUNTS[split])
    manifest = offline.Manifest.read(tmp_path)
    assert {*manifest.files, "manifest.json"} == {*held}
    weights = manifest.files[f"{snapshot}/model.safetensors"]
    assert (weights.repo, weights.revisions, weights.commit) == ("test/tiny", (net.commit,), net.commit)
    assert weights.size == len(net.files["model.safetensors"])
    assert manifest.files["glue/rte/train.jsonl.gz"].repo == "test/glue"
    assert all(manifest.wrong(name, full=True) is None for name in manifest.files)
    # neither what the cell does not read nor splits nobody asked for
    assert hub.asked(r"resolve.*(\.bin|onnx|Pooling|mrpc|test-)") == []
    assert not (tmp_path / prefetch.PARTIAL).exists()


def test_a_repository_without_a_card_is_read_by_the_folder_of_its_files(hub: Hub, tmp_path: Path) -> None:
    # as refs/convert/parquet is laid out: <configuration>/<split>/0000.parquet
    folders = ("iwslt2017-de-en", "iwslt2017-en-de")
    made = {f"{name}/{split}/0000.parquet": table(COUNTS[split]) for name in folders for split in COUNTS}
    hub.repositories.append(Repository("dataset", "test/iwslt", made))
    places = ["task.source.hub.id=test/iwslt", "task.source.hub.revision=main", f"data.root={tmp_path}"]
    assert main(["task=translation/iwslt2017_de_en", "backbone=tiny_llama", "method=lora", "recipe=none", *places]) == 0
    held = fetched(tmp_path)
    for split, count in COUNTS.items():
        lines = gzip.decompress(held[f"iwslt2017/de_en/{split}.jsonl.gz"]).decode().splitlines()
        assert [json.loads(line) for line in lines] == rows(count)
    assert hub.asked("resolve.*en-de") == []


def test_a_second_call_asks_nothing_and_a_second_cell_is_added(hub: Hub, tmp_path: Path) -> None:
    root = f"data.root={tmp_path}"
    assert main(words(hub, root)) == 0
    before, asked = fetched(tmp_path), len(hub.log)
    assert main(words(hub, root)) == 0
    assert len(hub.log) == asked
    assert fetched(tmp_path) == before
    assert main(["task=glue/mrpc", *words(hub, root)[1:]]) == 0
    assert not hub.asked("model.safetensors")[2:]  # the answer and the file it leads to, once
    files = offline.Manifest.read(tmp_path).files
    assert len(files["glue/rte/train.jsonl.gz"].needed_by) == 1
    assert len(files["glue/mrpc/train.jsonl.gz"].needed_by) == 1
    (config,) = (entry for name, entry in files.items() if name.endswith("/config.json"))
    assert [need.split()[0] for need in config.needed_by] == ["task=glue/mrpc", "task=glue/rte"]


def test_a_branch_is_kept_at_the_commit_it_was(hub: Hub, tmp_path: Path) -> None:
    given = [w for w in words(hub, f"data.root={tmp_path}") if not w.startswith("backbone.revision=")]
    given.append("backbone.revision=main")
    assert main(given) == 0
    first = hub.repositories[0].commit
    assert (tmp_path / "hub/models--test--tiny/refs/main").read_text() == first
    hub.repositories[0] = model({**hub.repositories[0].files, "config.json": b"{}"})
    assert main(given) == 0
    assert (tmp_path / "hub/models--test--tiny/refs/main").read_text() == first
    assert {entry.commit for name, entry in offline.Manifest.read(tmp_path).files.items() if "hub/" in name} == {first}


def test_shards_are_fetched_by_their_index_and_other_weights_are_not(hub: Hub, tmp_path: Path) -> None:
    index = json.dumps({"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}).encode()
    shards = {f"model-{i}-of-2.safetensors": bytes([i]) * 9 for i in (1, 2)}
    beside = {"consolidated.safetensors": b"x", "model.fp16.safetensors": b"y", "config.json": b"{}"}
    hub.repositories[0] = model({"model.safetensors.index.json": index, **shards, **beside})
    assert main(words(hub, f"data.root={tmp_path}")) == 0
    names = {name.rsplit("/", 1)[-1] for name in fetched(tmp_path) if name.startswith("hub/")}
    assert names == {"config.json", "model.safetensors.index.json", *shards}


def test_pictures_become_parquet_with_their_types(hub: Hub, tmp_path: Path) -> None:
    from datasets import ClassLabel, Dataset, Features, Image
    from PIL import Image as Pictures

    made = [{"img": Pictures.new("RGB", (4, 4), (i, 0, 0)), "label": i % 10} for i in range(4)]
    features = Features({"img": Image(), "label": ClassLabel(names=[str(i) for i in range(10)])})
    buffer = io.BytesIO()
    Dataset.from_list(made, features=features).to_parquet(buffer)
    files = {f"plain_text/{split}-0.parquet": buffer.getvalue() for split in ("train", "test")}
    card = "---\nconfigs:\n- config_name: plain_text\n  data_files:\n" + "".join(
        f"  - split: {split}\n    path: plain_text/{split}-*\n" for split in ("train", "test")
    )
    hub.repositories.append(Repository("dataset", "test/cifar", {"README.md": f"{card}---\n".encode(), **files}))
    given = ["task=vision/cifar10", "backbone=tiny_vit", "task.source.hub.id=test/cifar",
             "task.source.hub.revision=main", f"data.root={tmp_path}"]  # fmt: skip
    assert main(given) == 0
    from uora_bench.data.files import read_rows

    held = read_rows(tmp_path / "cifar10" / "plain_text" / "train.parquet")
    assert (held.features["img"], held.features["label"]) == (Image(), features["label"])
    assert [picture["img"].getpixel((0, 0))[0] for picture in held] == [0, 1, 2, 3]


def test_the_names_of_classes_come_along_and_codes_are_taken_by_them(hub: Hub, tmp_path: Path) -> None:
    """A repository that has RTE's two classes in the other order: by code every label would be the other one."""
    from datasets import ClassLabel, Dataset

    from uora_bench.data.sources import Source
    from uora_bench.tasks import create_task

    names = ("not_entailment", "entailment")
    made = Dataset.from_list(rows(8)).cast_column("label", ClassLabel(names=list(names)))
    buffer = io.BytesIO()
    made.to_parquet(buffer)
    files = {f"rte/{split}-0.parquet": buffer.getvalue() for split in ("train", "validation")}
    card = "---\nconfigs:\n- config_name: rte\n  data_files:\n" + "".join(
        f"  - split: {split}\n    path: rte/{split}-*\n" for split in ("train", "validation")
    )
    hub.repositories.append(Repository("dataset", "test/other", {"README.md": f"{card}---\n".encode(), **files}))
    other = ("task.source.hub.id=test/other", "task.source.hub.revision=main")
    given = last_of_each(*words(hub, f"data.root={tmp_path}"), *other)
    assert main(given) == 0
    entry = offline.Manifest.read(tmp_path).files["glue/rte/train.jsonl.gz"]
    assert entry.classes == {"label": names}
    task = create_task(compose(given).cell.task)
    loaded = task.splits(Source(tmp_path))["train"]
    assert loaded["label"][:] == [1 - row["label"] for row in rows(8)]
    # of a file that is another one than was fetched the manifest says nothing
    path = tmp_path / "glue" / "rte" / "train.jsonl.gz"
    path.write_bytes(gzip.compress("".join(json.dumps(row) + "\n" for row in rows(9)).encode()))
    assert task.splits(Source(tmp_path))["train"]["label"][:] == [row["label"] for row in rows(9)]


def test_rows_without_a_card_are_found_by_the_files_names(hub: Hub, tmp_path: Path) -> None:
    made = [{"instruction": f"say {i}", "input": "", "output": str(i)} for i in range(30)]
    files = {"alpaca_data_cleaned.json": json.dumps(made).encode(), "README.md": b"nothing of use"}
    hub.repositories.append(Repository("dataset", "test/alpaca", files))
    given = ["task=instruct/alpaca", "backbone=tiny_llama", "task.source.hub.id=test/alpaca",
             "task.source.hub.revision=main", f"data.root={tmp_path}"]  # fmt: skip
    assert main(given) == 0
    (path,) = tmp_path.glob("instruction/alpaca_cleaned/train.*")
    assert [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()] == made


def test_the_users_own_rows_are_kept_and_entered(hub: Hub, tmp_path: Path) -> None:
    own = tmp_path / "glue" / "rte" / "train.jsonl"
    own.parent.mkdir(parents=True)
    own.write_text(json.dumps(rows(1)[0]) + "\n")
    assert main(words(hub, f"data.root={tmp_path}")) == 0
    assert not (own.parent / "train.jsonl.gz").exists()
    files = offline.Manifest.read(tmp_path).files
    assert files["glue/rte/train.jsonl"].repo is None
    assert files["glue/rte/validation.jsonl.gz"].repo == "test/glue"


def test_rows_of_another_revision_are_fetched_anew(hub: Hub, tmp_path: Path) -> None:
    root = f"data.root={tmp_path}"
    assert main(words(hub, root)) == 0
    old = hub.repositories[1]
    hub.repositories[1] = Repository("dataset", old.id, {**old.files, "rte/train-00000-of-00001.parquet": table(7)})
    assert main(words(hub, root, "check=true")) == 1
    assert main(words(hub, root)) == 0
    assert len(gzip.decompress((tmp_path / "glue/rte/train.jsonl.gz").read_bytes()).splitlines()) == 7
    assert offline.Manifest.read(tmp_path).files["glue/rte/train.jsonl.gz"].commit == hub.repositories[1].commit


def test_an_experiment_is_fetched_whole(hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pinned = {name: compose([f"backbone={name}", "task=glue/rte"]).values for name in ("roberta_base", "roberta_large")}
    place = pinned["roberta_base"]["task"]["source"]["hub"]
    tasks = ("cola", "mrpc", "qnli", "rte", "sst2", "stsb")
    small = {name: hub.repositories[0].files[name] for name in ("config.json", "model.safetensors", "tokenizer.json")}
    hub.repositories[:] = [
        glue(*tasks, name=place["id"], commit=place["revision"]),
        *(model(small, v["backbone"]["id"], commit=v["backbone"]["revision"]) for v in pinned.values()),
    ]
    given = ["experiment=uora_glue", f"data.root={tmp_path}"]
    assert main([*given, "check=true"]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 * len(tasks) + 2
    assert all(f"uora-bench prefetch experiment=uora_glue data.root={tmp_path}" in line for line in lines)
    assert main(given) == 0
    assert main([*given, "check=full"]) == 0
    files = offline.Manifest.read(tmp_path).files
    assert {f"glue/{task}/{split}.jsonl.gz" for task in tasks for split in ("train", "validation")} <= {*files}
    assert {entry.needed_by for entry in files.values()} == {("experiment=uora_glue",)}
    assert {entry.repo for entry in files.values()} == {repository.id for repository in hub.repositories}


# --- the check ----------------------------------------------------------------------------------------------------


def test_check_names_what_is_missing_changed_or_of_other_bytes(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = words(hub, f"data.root={tmp_path}")
    assert main([*given, "check=true"]) == 1
    out = capsys.readouterr().out.splitlines()
    assert [re.split(r"[ ;]", line)[0] for line in out] == [
        "glue/rte/train.*", "glue/rte/validation.*", "hub/models--test--tiny"]  # fmt: skip
    assert hub.log == []
    assert list(tmp_path.iterdir()) == []
    assert main(given) == 0
    assert main([*given, "check=full"]) == 0
    (weights,) = tmp_path.rglob("model.safetensors")
    train = tmp_path / "glue/rte/train.jsonl.gz"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    train.write_bytes(train.read_bytes()[:-3])
    capsys.readouterr()
    assert main([*given, "check=true"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("glue/rte/train.jsonl.gz has ")
    assert main([*given, "check=full"]) == 1
    assert "sha256" in capsys.readouterr().out
    weights.unlink()
    assert main([*given, "check=true"]) == 1
    assert main(given) == 0
    assert main([*given, "check=full"]) == 0


def test_check_and_an_unknown_option_import_nothing_heavy(hub: Hub, tmp_path: Path, root: Path) -> None:
    code = (
        "import sys; from uora_bench.cli.main import main; "
        f"code = main(['prefetch', *{words(hub, f'data.root={tmp_path}')!r}, sys.argv[1]]); "
        "print(code, sorted({'torch', 'transformers', 'datasets', 'huggingface_hub'} & set(sys.modules)))"
    )
    for option, status in (("check=true", "1"), ("check=fully", "2")):
        result = subprocess.run(
            [sys.executable, "-c", code, option], env={**os.environ, "PYTHONPATH": str(root / "src")},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert result.stdout.splitlines()[-1] == f"{status} []", result.stderr


# --- two at once --------------------------------------------------------------------------------------------------


def test_two_prefetches_into_one_folder_fetch_every_file_once(hub: Hub, tmp_path: Path, root: Path) -> None:
    hub.spoil("model.safetensors", pause=1.5)  # the first to come holds the folder for so long
    command = [sys.executable, "-m", "uora_bench", "prefetch", *words(hub, f"data.root={tmp_path}")]
    surroundings = {**os.environ, "PYTHONPATH": str(root / "src")}
    both = [
        subprocess.Popen(command, env=surroundings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    assert sorted("waiting for it" in err for _, err in said) == [False, True]
    files = hub.asked("GET .*resolve")
    assert len(files) == len(set(files)) == 5 + 3
    manifest = offline.Manifest.read(tmp_path)
    assert all(manifest.wrong(name, full=True) is None for name in manifest.files)


# --- cells --------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_hub_may_go_once_a_cell_is_prefetched(hub: Hub, tmp_path: Path, root: Path) -> None:
    cell = words(hub, "method=lora", "tracker=none", "trainer.max_steps=2", "experiment_name=x")
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "UORA_"))}
    clean |= {"PYTHONPATH": str(root / "src"), "HOME": str(tmp_path / "home"), "OMP_NUM_THREADS": "1"}

    def record(name: str, *more: str, **surroundings: str) -> dict[str, Any]:
        places = [f"results.dir={tmp_path / name}", f"runs.dir={tmp_path / name / 'runs'}"]
        result = subprocess.run(
            [sys.executable, "-m", "uora_bench", *cell, *places, *more], env={**clean, **surroundings}, cwd=tmp_path,
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr
        (path,) = (tmp_path / name / "records" / "x").glob("*.json")
        found: dict[str, Any] = json.loads(path.read_text())
        for epoch in found["epochs"]:
            epoch.pop("seconds")
        kept = {
            key: found[key] for key in ("cell_id", "cell", "scores", "epochs", "counts", "splits", "bytes", "method")
        }
        return kept | {key: found["provenance"][key] for key in ("backbone", "data")}

    online = record("online", HF_ENDPOINT=hub.endpoint, HF_UPDATE_DOWNLOAD_COUNTS="0", HF_HOME=str(tmp_path / "hf"))
    assert online["backbone"]["commit"] == hub.repositories[0].commit
    folder = tmp_path / "data"
    assert main(words(hub, f"data.root={folder}")) == 0
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    asked = len(hub.log)
    # no variable of the Hub's libraries is set: nothing but data.root tells this process where to look
    began = time.monotonic()
    without = record("without", f"data.root={folder}")
    assert time.monotonic() - began < 60
    assert without == online
    assert len(hub.log) == asked
    # the cell only read: nothing is new, in the folder or in the user's own cache
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
    assert not [path for path in (tmp_path / "home").rglob("*") if path.is_file()]


def test_loading_from_the_folder_asks_nothing_of_a_hub_that_is_there(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uora_bench.data.sources import Source
    from uora_bench.models import backbones
    from uora_bench.models.heads import HeadSpec

    given = words(hub, f"data.root={tmp_path}")
    assert main(given) == 0
    asked = len(hub.log)
    monkeypatch.setattr("uora_bench.data.hub.reachable", lambda *_: pytest.fail("the Hub was looked for"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.endpoint)
    cell = compose(given).cell
    Source(tmp_path)
    head = HeadSpec("AutoModelForSequenceClassification", {"num_labels": 2})
    loaded = backbones.load_backbone(cell.backbone, head, 0)
    assert loaded.origin["commit"] == hub.repositories[0].commit
    assert backbones.skeleton(cell.backbone, head) is not None
    assert len(hub.log) == asked
    import huggingface_hub

    assert huggingface_hub.constants.HF_HUB_OFFLINE is False  # only while loading
    # UORA_DATA_DIR serves those that are given no root (exports); without either it is the Hub's own cache
    monkeypatch.setattr(offline, "_root", offline._ENVIRONMENT)
    monkeypatch.setenv("UORA_DATA_DIR", str(tmp_path))
    assert offline.cache() == tmp_path / "hub"
    monkeypatch.setenv("UORA_DATA_DIR", str(tmp_path / "glue"))
    assert offline.cache() is None


def test_an_incomplete_snapshot_is_not_taken_and_the_message_says_so(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uora_bench.data.sources import Source
    from uora_bench.errors import UserError
    from uora_bench.models import backbones
    from uora_bench.models.heads import HeadSpec

    given = words(hub, f"data.root={tmp_path}")
    assert main(given) == 0
    (weights,) = tmp_path.rglob("model.safetensors")
    weights.write_bytes(weights.read_bytes()[:1000])
    monkeypatch.setattr("uora_bench.data.hub.reachable", lambda *_: False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    Source(tmp_path)
    with pytest.raises(UserError, match=r"model\.safetensors has 1000 bytes, the manifest says \d+; set backbone.path"):
        backbones.load_backbone(compose(given).cell.backbone, HeadSpec("AutoModelForSequenceClassification", {}), 0)

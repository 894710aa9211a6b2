"""What goes wrong on the way from the Hub: it ends well after another try, or in one line, and never in half a file."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.command_line import last_of_each
from tests.support.hub_server import Hub, Repository
from tests.support.tiny_hub import connected, fetched, glue, model, net, one_line, words
from uora_bench.cli import main as program
from uora_bench.data import offline, prefetch

WEIGHTS = "GET .*model.safetensors"
STORED = "GET /storage/.*model.safetensors"


def main(words: list[str]) -> int:
    return program.main(["prefetch", *words])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with connected(monkeypatch) as running:
        yield running


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a prefetch that nothing disturbs leaves."""
    folder = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch, connected(patch) as running:
        assert main(words(running, f"data.root={folder}")) == 0
    return fetched(folder)


def of_model(held: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in held.items() if name.startswith("hub/")}


def of_rows(held: dict[str, bytes]) -> dict[str, bytes]:
    return {name: content for name, content in held.items() if name.startswith("glue/")}


# --- what ends well -----------------------------------------------------------------------------------------------

RECOVERS: dict[str, tuple[str, dict[str, Any]]] = {
    "closed in the middle": (STORED, {"keep": 500_000}),
    "closed again and again": (STORED, {"keep": 100_000, "times": 9}),
    "reset in the middle": (STORED, {"keep": 500_000, "reset": True}),
    "nothing came": (STORED, {"keep": 0, "times": 3}),
    "a small file ended early": ("GET .*tokenizer.json", {"keep": 100}),
    "a listing ended early": ("GET /api/models/", {"keep": 20}),
    "rows ended early": ("GET /storage/dataset.*train", {"keep": 30}),
    "another byte": (STORED, {"flip": True}),
    "another byte in a small file": ("GET .*resolve.*config.json", {"flip": True}),
    "429": (WEIGHTS, {"status": 429}),
    "429 with Retry-After": (WEIGHTS, {"status": 429, "headers": {"Retry-After": "0"}, "times": 3}),
    "429 with RateLimit": (WEIGHTS, {"status": 429, "headers": {"RateLimit": '"resolvers";r=0;t=0'}, "times": 2}),
    "429 of the API": ("GET /api/", {"status": 429, "times": 2}),
    "503": ("GET .*README.md", {"status": 503, "times": 4}),
}


@pytest.mark.parametrize("how", RECOVERS)
def test_what_passes_is_tried_again(how: str, hub: Hub, whole: dict[str, bytes], tmp_path: Path) -> None:
    pattern, fault = RECOVERS[how]
    hub.spoil(pattern, **fault)
    rows = "dataset" in pattern or "README" in pattern
    assert main((words if rows else net)(hub, f"data.root={tmp_path}")) == 0
    assert hub.faults[0].times == 0  # it did happen
    assert of_model(fetched(tmp_path)) == of_model(whole)
    assert of_rows(fetched(tmp_path)) == (of_rows(whole) if rows else {})
    assert not (tmp_path / prefetch.PARTIAL).exists()


def test_a_broken_transfer_goes_on_where_it_broke(hub: Hub, tmp_path: Path) -> None:
    hub.spoil(STORED, keep=500_000)
    assert main(net(hub, f"data.root={tmp_path}")) == 0
    first, second = hub.asked(STORED)
    assert "bytes=" not in first
    assert 400_000 < int(second.rsplit("bytes=", 1)[1].rstrip("-")) <= 500_000  # the last block may be lost


def test_a_server_that_knows_no_ranges_sends_it_anew(hub: Hub, whole: dict[str, bytes], tmp_path: Path) -> None:
    hub.spoil(STORED, keep=500_000)
    hub.spoil(STORED, ignore_range=True)
    assert main(net(hub, f"data.root={tmp_path}")) == 0
    assert of_model(fetched(tmp_path)) == of_model(whole)


# --- what ends in one line ----------------------------------------------------------------------------------------

ENDS: dict[str, tuple[str, dict[str, Any], str]] = {
    "closed for good": (STORED, {"keep": 0}, "failed 7 times"),
    "other bytes for good": (STORED, {"flip": True}, "other bytes than the Hub's checksum says"),
    "429 for good": (WEIGHTS, {"status": 429}, "failed 7 times (429"),
    "429 for an hour": (WEIGHTS, {"status": 429, "headers": {"Retry-After": "3600"}}, "asks to wait 3600 s"),
    "429 until the window ends": (WEIGHTS, {"status": 429, "headers": {"RateLimit": '"api";r=0;t=290'}}, "wait 290 s"),
    "500 for good": (WEIGHTS, {"status": 500}, "failed 7 times (500"),
    "a page of a proxy": ("GET /api/models", {"status": 200}, "does not answer as the Hub does"),
    "418": (WEIGHTS, {"status": 418}, "answered 418"),
}


@pytest.mark.parametrize("how", ENDS)
def test_what_does_not_pass_is_one_line_in_time_and_no_model(
    how: str, hub: Hub, whole: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pattern, fault, message = ENDS[how]
    hub.spoil(pattern, **fault, times=10**6)
    given = net(hub, f"data.root={tmp_path}")
    began = time.monotonic()
    assert main(given) == 2
    assert time.monotonic() - began < 10
    one_line(capsys, message)
    assert fetched(tmp_path) == {}  # nothing that a cell could take for a model
    assert main([*given, "check=true"]) == 1
    hub.faults.clear()
    assert main(given) == 0
    assert of_model(fetched(tmp_path)) == of_model(whole)


def test_a_later_call_goes_on_within_the_file(
    hub: Hub, whole: dict[str, bytes], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hub.spoil(STORED, keep=500_000)
    hub.spoil(STORED, status=429, headers={"Retry-After": "3600"}, times=10**6)
    given = words(hub, f"data.root={tmp_path}")
    assert main(given) == 2
    one_line(capsys, "run the same command again later to resume")
    assert of_rows(fetched(tmp_path)) == of_rows(whole)  # what came before stays
    assert of_model(fetched(tmp_path)) == {}
    (part,) = tmp_path.rglob("*.part")
    held = part.stat().st_size
    assert 0 < held <= 500_000
    assert part.parts[len(tmp_path.parts)] == prefetch.PARTIAL
    hub.faults.clear()
    before = len(hub.log)
    assert main(given) == 0
    assert fetched(tmp_path) == whole
    later = hub.log[before:]
    assert [line for line in later if f"bytes={held}-" in line]
    assert not [line for line in later if "tokenizer" in line or "datasets" in line]  # whole already


def test_a_process_killed_in_the_middle_is_gone_on_from(
    hub: Hub, whole: dict[str, bytes], tmp_path: Path, root: Path
) -> None:
    hub.spoil(STORED, keep=500_000)
    hub.spoil(STORED, pause=60)
    given = net(hub, f"data.root={tmp_path}")
    process = subprocess.Popen(
        [sys.executable, "-m", "uora_bench", "prefetch", *given], env={**os.environ, "PYTHONPATH": str(root / "src")},
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    limit = time.monotonic() + 60
    while len(hub.asked(STORED)) < 2 and time.monotonic() < limit:
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not [path for path in tmp_path.rglob("model.safetensors") if "hub" in path.parts]
    before = len(hub.log)
    assert main(given) == 0  # and the dead process's lock is none
    assert of_model(fetched(tmp_path)) == of_model(whole)
    assert [line for line in hub.log[before:] if "bytes=" in line]


REFUSED: dict[str, tuple[int, list[str]]] = {
    "gated": (0, ["gated", "accept its terms", "test/tiny", "HF_TOKEN"]),
    "private": (1, ["gated, private or not there", "test/nothing"]),
    "no such revision": (2, ["has no revision", "0" * 40]),
    "no safetensors": (3, ["has no safetensors weights"]),
    "no model": (4, ["no config.json"]),
    "a shard is not there": (5, ["lacks b.safetensors"]),
}


@pytest.mark.parametrize("how", REFUSED)
def test_a_model_that_cannot_be_had_is_one_line_and_the_rest_is_fetched(
    how: str, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    number, parts = REFUSED[how]
    index = json.dumps({"weight_map": {"x": "b.safetensors"}}).encode()
    small = {"config.json": b"{}"}
    changed: dict[int, Repository] = {
        0: model(gate=403), 3: model({**small, "pytorch_model.bin": b"1"}), 4: model({"model.safetensors": b"1"}),
        5: model({**small, "model.safetensors.index.json": index}),
    }  # fmt: skip
    hub.repositories[0] = changed.get(number, hub.repositories[0])
    more = {1: ["backbone.id=test/nothing"], 2: [f"backbone.revision={'0' * 40}"]}.get(number, [])
    more += ["task.splits.train=validation"]  # one split is enough
    assert main(last_of_each(*words(hub, f"data.root={tmp_path}", *more))) == 2
    one_line(capsys, *parts)
    assert (tmp_path / "glue/rte/validation.jsonl.gz").is_file()
    assert {entry.kind for entry in offline.Manifest.read(tmp_path).files.values()} == {"dataset"}


def test_a_data_set_that_lacks_the_split_or_config_is_one_line_and_the_model_is_fetched(
    hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words(hub, f"data.root={tmp_path}", "task.splits.dev=validaton")) == 2
    one_line(capsys, "has no split 'validaton'; did you mean 'validation'?")
    hub.repositories[1] = glue("mrpc")
    assert main(words(hub, f"data.root={tmp_path / 'two'}", "task.splits.dev=train")) == 2
    one_line(capsys, "datasets library", "rte")
    for folder in (tmp_path, tmp_path / "two"):
        assert [*folder.glob("hub/models--test--tiny/snapshots/*/model.safetensors")]


def test_without_the_hub_it_is_one_line_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with connected(monkeypatch) as hub:
        given = words(hub, f"data.root={tmp_path}")
    began = time.monotonic()
    assert main(given) == 2  # the server is gone: refused
    one_line(capsys, "the Hub, which cannot be reached from here", "on a connected machine")
    monkeypatch.setenv("HF_ENDPOINT", "no address")
    assert main(given) == 2
    one_line(capsys, "HF_ENDPOINT")
    monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert main(given) == 2
    one_line(capsys, "HF_HUB_OFFLINE=1 forbids")
    monkeypatch.setenv("UORA_HUB_WAIT", "long")
    assert main(given) == 2
    one_line(capsys, "UORA_HUB_WAIT=long must be a number of seconds")
    assert time.monotonic() - began < 10


def test_a_full_disk_is_one_line(
    hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("uora_bench.util.atomic.write_file", full)
    assert main(words(hub, f"data.root={tmp_path}")) == 2
    one_line(capsys, "No space left on device", f"data.root='{tmp_path}'")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"schema": 9, "files": {}}', '{"schema": 1, "files": {"a": {"size": "b"}}}']
)
def test_a_manifest_that_is_none_is_one_line(
    text: str, hub: Hub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / offline.MANIFEST).write_text(text)
    for more in ([], ["check=true"]):
        assert main(words(hub, f"data.root={tmp_path}", *more)) == 2
        one_line(capsys, offline.MANIFEST)


# --- cells that load from the Hub themselves ----------------------------------------------------------------------

LOADS = """
import sys, time
from uora_bench.models import backbones
from uora_bench.config.cell import Cell
from uora_bench.config.compose import compose
from uora_bench.data.sources import Source
from uora_bench.errors import UserError
from uora_bench.models.heads import HeadSpec
cell = compose(sys.argv[1:]).cell
began = time.monotonic()
try:
    print(len(Source().load(cell.task.source, "train")))
    head = HeadSpec("AutoModelForSequenceClassification", {"num_labels": 2})
    loaded = backbones.load_backbone(cell.backbone, head, 0)
    print(loaded.origin["commit"])
except UserError as error:
    print("error:", " ".join(str(error).split()))
print(time.monotonic() - began < 60)
"""


def loads(hub: Hub, folder: Path, root: Path, processes: int = 1) -> list[str]:
    """What each of ``processes`` prints that load rows and model from the Hub, all with the cache in ``folder``."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "UORA_")) and "proxy" not in k.lower()}
    own = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder), "HF_UPDATE_DOWNLOAD_COUNTS": "0", "UORA_HUB_WAIT": "1",
           "HF_HUB_DISABLE_PROGRESS_BARS": "1", "PYTHONPATH": str(root / "src"), "OMP_NUM_THREADS": "1"}  # fmt: skip
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, "-c", LOADS, *words(hub)]
    running = [subprocess.Popen(command, env={**kept, **own}, **pipes) for _ in range(processes)]
    said = [process.communicate(timeout=240) for process in running]
    assert all("Traceback" not in err for _, err in said), said
    return [line for out, _ in said for line in out.splitlines()]


@pytest.mark.slow
def test_a_cell_gets_its_files_over_a_bad_line(hub: Hub, tmp_path: Path, root: Path) -> None:
    hub.spoil(STORED, keep=500_000)
    hub.spoil("GET /storage/dataset.*train", keep=30)
    hub.spoil("GET .*resolve.*tokenizer.json", status=429, headers={"Retry-After": "3600"})
    assert loads(hub, tmp_path, root) == ["48", hub.repositories[0].commit, "True"]
    assert all(fault.times == 0 for fault in hub.faults)


@pytest.mark.slow
def test_a_busy_hub_ends_in_one_line_and_the_next_cell_has_the_model(hub: Hub, tmp_path: Path, root: Path) -> None:
    hub.spoil(STORED, status=429, headers={"Retry-After": "3600"}, times=10**6)
    rows, error, in_time = loads(hub, tmp_path, root)
    assert (rows, in_time) == ("48", "True")
    assert error.startswith("error: cannot load backbone=tiny_roberta")
    hub.faults.clear()
    hub.spoil(STORED, keep=500_000, times=1)
    assert loads(hub, tmp_path, root)[1] == hub.repositories[0].commit
    (blob,) = (path for path in tmp_path.rglob("blobs/*") if path.stat().st_size > 10**6)
    assert blob.read_bytes() == hub.repositories[0].files["model.safetensors"]


@pytest.mark.slow
def test_two_cells_that_share_a_cache_of_the_libraries_fetch_every_large_file_once(
    hub: Hub, tmp_path: Path, root: Path
) -> None:
    hub.spoil(STORED, pause=4)  # long enough for the other to want it too
    one = ["48", hub.repositories[0].commit, "True"]
    assert loads(hub, tmp_path, root, processes=2) == one * 2
    assert len(hub.asked(STORED)) == 1

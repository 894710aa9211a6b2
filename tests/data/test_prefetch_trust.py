"""A Hub that means harm: nothing is written outside the folder, and the token and passwords go to no one else."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.hub_server import Hub, Repository
from tests.support.tiny_hub import connected, glue, model, net, one_line, words
from uora_bench.cli import main as program
from uora_bench.data import hub as hub_module
from uora_bench.data import offline
from uora_bench.errors import UserError

OUT = (
    "../../../evil.json",
    "a/../../../../evil.json",
    "{outside}/evil.json",
    "..\\evil.json",
    "./evil.json",
    "a//evil.json",
)


def main(words: list[str]) -> int:
    return program.main(["prefetch", *words])


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with connected(monkeypatch) as running:
        yield running


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """The folder to fill, with room around it for what must not be written."""
    return tmp_path / "a" / "b" / "data"


def evil(tmp_path: Path) -> list[Path]:
    return [path for path in tmp_path.rglob("*evil*")]


# --- names --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", OUT)
def test_a_listed_name_that_leads_out_is_refused_before_any_file_is_asked_for(
    name: str, hub: Hub, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    name = name.format(outside=tmp_path)
    hub.repositories[0] = model({**hub.repositories[0].files, name: b"{}"})
    index = json.dumps({"weight_map": {"x": name.replace(".json", ".safetensors")}}).encode()
    beside = {"config.json": b"{}", "model.safetensors.index.json": index, name.replace(".json", ".safetensors"): b"1"}
    for files in (hub.repositories[0].files, beside):
        hub.repositories[0] = model(files)
        assert main(net(hub, f"data.root={data}")) == 2
        one_line(capsys, "model test/tiny is not to be trusted", "leads out of its folder")
    assert hub.asked("resolve|storage") == []
    assert evil(tmp_path) == []


@pytest.mark.parametrize(
    "name", ["%2e%2e/%2e%2e/evil.json", "..%2f..%2fevil.json", "~/evil.json", "config.json/evil.json"]
)
def test_a_listed_name_that_only_looks_as_if_it_led_out_stays_inside(
    name: str, hub: Hub, data: Path, tmp_path: Path
) -> None:
    hub.repositories[0] = model({**hub.repositories[0].files, name: b"{}"})
    assert main(net(hub, f"data.root={data}")) == 0
    assert all(data in path.parents for path in evil(tmp_path))


def test_an_index_that_names_a_file_outside_is_refused(
    hub: Hub, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    index = json.dumps({"weight_map": {"x": "../../../evil.safetensors"}}).encode()
    hub.repositories[0] = model({"config.json": b"{}", "model.safetensors.index.json": index})
    assert main(net(hub, f"data.root={data}")) == 2
    one_line(capsys, "lacks ../../../evil.safetensors")
    assert hub.asked("evil") == []
    assert evil(tmp_path) == []


@pytest.mark.parametrize("name", OUT)
def test_a_data_set_that_lists_a_name_that_leads_out_is_refused(
    name: str, hub: Hub, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = name.format(outside=tmp_path)
    hub.repositories[1] = Repository("dataset", "test/glue", {**glue("rte").files, named: b"{}"}, commit="1" * 40)
    assert main(words(hub, f"data.root={data}", "task.splits.train=validation")) == 2
    one_line(capsys, "dataset test/glue is not to be trusted")
    assert hub.asked("resolve.*(README|parquet)|storage/dataset") == []
    assert evil(tmp_path) == []
    assert [*data.glob("hub/models--test--tiny/snapshots/*/model.safetensors")]  # the model is fetched all the same


@pytest.mark.parametrize("path", ["../../../../../private.parquet", "{outside}/private.parquet"])
def test_a_card_that_takes_its_rows_from_a_file_of_this_machine_is_refused(
    path: str, hub: Hub, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    private = tmp_path / "private.parquet"
    private.write_bytes(glue("rte").files["rte/train-00000-of-00001.parquet"])
    card = "---\nconfigs:\n- config_name: rte\n  data_files:\n  - split: train\n    path: "
    card += f"{path.format(outside=tmp_path)}\n---\n"
    hub.repositories[1] = Repository(
        "dataset", "test/glue", {"README.md": card.encode(), "x.txt": b""}, commit="2" * 40
    )
    assert main(words(hub, f"data.root={data}", "task.splits.dev=train")) == 2
    one_line(capsys, "split train of glue/rte")
    assert not [*data.rglob("*.jsonl.gz")]


@pytest.mark.parametrize(
    "word",
    ["backbone.revision=../../../../evil", "task.source.dataset=../../evil", "task.source.benchmark={outside}/evil"],
)
def test_names_of_the_configuration_that_lead_out_are_refused(
    word: str, hub: Hub, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [w for w in words(hub, f"data.root={data}") if not w.startswith(word.split("=")[0])]
    assert main([*given, word.format(outside=tmp_path)]) == 2
    one_line(capsys, "leads out of its folder")
    assert evil(tmp_path) == []


def test_a_manifest_that_names_a_file_outside_is_refused(tmp_path: Path) -> None:
    entry = {"size": 1, "sha256": "0"}
    (tmp_path / offline.MANIFEST).write_text(json.dumps({"schema": 1, "files": {"../x": entry}}))
    with pytest.raises(UserError, match="leads out of its folder"):
        offline.Manifest.read(tmp_path)


# --- the token and passwords --------------------------------------------------------------------------------------


def test_the_token_goes_to_the_hub_and_not_to_where_it_sends(hub: Hub, tmp_path: Path) -> None:
    assert main(words(hub, f"data.root={tmp_path}")) == 0
    assert hub.tokens["127.0.0.1"] == {"Bearer hf_secret"}
    assert hub.tokens["localhost"] == {None}


def test_a_next_page_on_another_host_does_not_get_the_token(hub: Hub) -> None:
    from huggingface_hub import HfApi

    hub_module.set_client()
    elsewhere = f"{hub.storage}/api/models/test/tiny/tree/main?recursive=true&cursor=4"
    hub.spoil("tree/main", headers={"Link": f'<{elsewhere}>; rel="next"'}, relink=True)
    assert list(HfApi(endpoint=hub.endpoint).list_repo_tree("test/tiny", recursive=True))
    assert hub.asked("cursor=4")
    assert hub.tokens["127.0.0.1"] == {"Bearer hf_secret"}
    assert hub.tokens["localhost"] == {None}


@pytest.mark.parametrize("way", ["refused", "401", "418", "a page of a proxy"])
def test_a_password_in_the_address_is_not_printed(
    way: str, hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    given = net(hub, f"data.root={tmp_path}")
    address = hub.endpoint.replace("://", "://me:hunter22@")
    monkeypatch.setenv("HF_ENDPOINT", address if way != "refused" else "http://me:hunter22@127.0.0.1:9")
    if way != "refused":
        status = int(way) if way.isdigit() else 200
        hub.spoil("GET", status=status, times=10**6)
    assert main(given) == 2
    shown = one_line(capsys)
    assert "hunter22" not in shown
    assert "me:" not in shown

"""A model and a data set for the Hub on the loopback, and a process that goes to it: what the prefetch tests share."""

from __future__ import annotations

import functools
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

import uora_bench
from tests.support.hub_server import Hub, Repository, serve
from uora_bench.data import offline, prefetch

TINY = Path(uora_bench.__file__).parent / "assets" / "tiny_roberta"
TYPES = {"sentence1": "string", "sentence2": "string", "label": "int64", "idx": "int32"}
FEATURES = "\n".join(f"  - name: {name}\n    dtype: {kind}" for name, kind in TYPES.items())
COUNTS = {"train": 48, "validation": 16, "test": 5}


def rows(count: int) -> list[dict[str, Any]]:
    texts = ("the red dog sleeps", "the cat é", "a dog")
    return [{"sentence1": texts[i % 3], "sentence2": texts[i % 2], "label": i % 2, "idx": i} for i in range(count)]


def table(count: int) -> bytes:
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(rows(count)), buffer)
    return buffer.getvalue()


@functools.cache
def glue(*configs: str, name: str = "test/glue", commit: str = "") -> Repository:
    """A data set repository made as nyu-mll/glue is: a parquet file per split, the card says which is which."""
    card, files = "---\nconfigs:\n", {}
    for config in configs:
        card += f"- config_name: {config}\n  data_files:\n"
        for split, count in COUNTS.items():
            card += f"  - split: {split}\n    path: {config}/{split}-*\n"
            files[f"{config}/{split}-00000-of-00001.parquet"] = table(count)
    card += "dataset_info:\n" + "".join(f"- config_name: {config}\n  features:\n{FEATURES}\n" for config in configs)
    return Repository("dataset", name, {"README.md": f"{card}---\n# a card\n".encode(), **files}, commit=commit)


def model(files: Mapping[str, bytes] | None = None, name: str = "test/tiny", **facts: Any) -> Repository:
    """The bundled tiny RoBERTa as a repository, with much beside it that no cell reads."""
    own = {path.name: path.read_bytes() for path in TINY.iterdir()}
    beside = {"pytorch_model.bin": b"0" * 99, "onnx/model.onnx": b"1", "1_Pooling/config.json": b"{}",
              "additional_chat_templates/tool.jinja": b"{{ x }}", "pytorch_model.bin.index.json": b"{}"}  # fmt: skip
    return Repository("model", name, {**own, **beside} if files is None else files, **facts)


@contextmanager
def connected(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub with a model and a data set, to which this process's prefetches go; waiting is short."""
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(offline, "_root", None)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with serve(model(), glue("rte", "mrpc")) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        monkeypatch.setenv("UORA_HUB_WAIT", "0.6")
        monkeypatch.setenv("HF_HUB_DOWNLOAD_TIMEOUT", "5")
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield running


def words(hub: Hub, *more: str) -> list[str]:
    """A cell of RTE with the tiny model, both by their commits on ``hub``."""
    places = ["task.source.hub.id=test/glue", f"task.source.hub.revision={hub.repositories[1].commit}"]
    return ["task=glue/rte", *net(hub), *places, *more]


def net(hub: Hub, *more: str) -> list[str]:
    """The tiny model alone, by its commit on ``hub``; the rows are generated."""
    own = ["backbone=tiny_roberta", "backbone.package=null", "backbone.id=test/tiny"]
    return [*own, f"backbone.revision={hub.repositories[0].commit}", *more]


def fetched(folder: Path) -> dict[str, bytes]:
    """The content of every file below ``folder`` but the lock and what is not whole."""
    found = {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    return {k: v for k, v in found.items() if k != prefetch.LOCK and not k.startswith(f"{prefetch.PARTIAL}/")}


def one_line(capsys: pytest.CaptureFixture[str], *parts: str) -> str:
    line, *others = capsys.readouterr().err.splitlines()
    assert others == []
    assert line.startswith("error: ")
    assert all(part in line for part in parts), line
    return line

"""The Hub out of order: each way is known within seconds and ends in one line, and only a Hub's answers count."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from uora_bench.data import hub


@contextmanager
def server(status: int, seen: list[str] | None = None) -> Iterator[str]:
    """A server on the loopback that answers every request with ``status``."""

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            if seen is not None:
                seen.append(f"{self.command} {self.path}")
            self.send_response(status)
            if 300 <= status < 400:
                self.send_header("Location", "http://127.0.0.1:9/")
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_HEAD

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()


@contextmanager
def silent() -> Iterator[str]:
    """A server that accepts and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(50)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


@contextmanager
def closed() -> Iterator[str]:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))  # bound, not listening: refused
        yield f"http://127.0.0.1:{unused.getsockname()[1]}"


@contextmanager
def nameless() -> Iterator[str]:
    yield "http://hub.invalid"


OUT_OF_ORDER = {"no name": nameless, "refused": closed, "silent": silent, "503": lambda: server(503)}


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No proxy, no offline mode, nothing remembered; offline mode switched on by the test ends with it."""
    for name in list(os.environ):
        if name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(hub, "_SWITCHES", ())
    monkeypatch.setattr(hub, "PROBE_SECONDS", 1.0)
    hub.reachable.cache_clear()
    yield
    hub.reachable.cache_clear()


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize(
    ("status", "counts"),
    [(200, True), (204, True), (302, True), (307, True), (401, True), (404, True),
     (400, False), (403, False), (407, False), (429, False), (500, False), (502, False), (503, False)],
)  # fmt: skip
def test_only_what_a_hub_says_counts_as_its_answer(status: int, counts: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    with server(status, seen) as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint + "/")
        assert hub.reachable("a/b", "dataset", "c0ffee") is counts
        assert hub.reachable("a/b", "dataset", "c0ffee") is counts  # not asked again
        assert hub.reachable("bert") is counts
    # once it has not answered, nothing else is asked of it
    model = ["HEAD /bert/resolve/main/config.json"] if counts else []
    assert seen == ["HEAD /datasets/a/b/resolve/c0ffee/README.md", *model]
    assert os.environ["HF_HUB_OFFLINE"] == ("0" if counts else "1")


@pytest.mark.usefixtures("alone")
@pytest.mark.parametrize("way", OUT_OF_ORDER)
def test_a_hub_out_of_order_is_known_in_time(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with OUT_OF_ORDER[way]() as endpoint:
        monkeypatch.setenv("HF_ENDPOINT", endpoint)
        began = time.monotonic()
        assert not hub.reachable("a/b")
        assert time.monotonic() - began < 3


@pytest.mark.usefixtures("alone")
def test_a_server_that_sends_byte_by_byte_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def drip(listening: socket.socket) -> None:
        connection, _ = listening.accept()
        with connection:
            for byte in b"HTTP/1.1 200 OK\r\n" + b"X-More: 1\r\n" * 20:
                try:
                    connection.sendall(bytes([byte]))
                except OSError:
                    return
                time.sleep(0.1)

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(1)
        threading.Thread(target=drip, args=(listening,), daemon=True).start()
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{listening.getsockname()[1]}")
        began = time.monotonic()
        assert not hub.reachable("a/b")
        assert time.monotonic() - began < 3


def test_a_failure_that_says_nothing_is_named_by_its_type() -> None:
    assert hub.reason(TimeoutError()) == "TimeoutError"
    assert hub.reason(ValueError("\none\ntwo")) == "one"


def environment(root: Path, folder: Path, endpoint: str) -> dict[str, str]:
    """A process that looks for the Hub at ``endpoint``, with an empty cache."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("HF_", "UORA_")) and "proxy" not in k.lower()}
    return {**kept, "PYTHONPATH": str(root / "src"), "HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hf")}


@pytest.mark.parametrize(
    "way", ["refused", *(pytest.param(w, marks=pytest.mark.slow) for w in ("no name", "silent", "503"))]
)
def test_without_hub_and_data_a_cell_ends_in_time_with_one_line(way: str, root: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "uora_bench", "method=uora", "task=glue/rte"]
    with OUT_OF_ORDER[way]() as endpoint:
        began = time.monotonic()
        result = subprocess.run(
            command, cwd=tmp_path, env=environment(root, tmp_path, endpoint), capture_output=True, text=True, timeout=60
        )
        seconds = time.monotonic() - began
    assert (result.returncode, result.stdout) == (2, ""), result.stderr
    (line,) = result.stderr.strip().splitlines()
    assert all(part in line for part in ("cannot be reached", "data.root", "uora-bench prefetch", "task=tiny/nli"))
    assert seconds < 30  # most of it is the start of Python on a busy machine


@pytest.mark.slow
def test_without_hub_weights_are_one_line_in_time_even_after_the_libraries_were_imported(
    root: Path, tmp_path: Path
) -> None:
    code = (
        "import datasets, transformers, accelerate; from uora_bench.models import backbones; "
        "from uora_bench.config.cell import Cell; from uora_bench.config.compose import compose; "
        "from uora_bench.errors import *\n"
        "cell = compose(['task=glue/rte', 'recipe=none']).cell\n"
        "from uora_bench.models.heads import HeadSpec\n"
        "head = HeadSpec('AutoModelForSequenceClassification', {'num_labels': 2})\n"
        "try: backbones.load_backbone(cell.backbone, head, 0)\n"
        "except UserError as error: print(error)\n"
    )
    with silent() as endpoint:
        began = time.monotonic()
        result = subprocess.run(
            [sys.executable, "-c", code], cwd=tmp_path, env=environment(root, tmp_path, endpoint), capture_output=True,
            text=True, timeout=120,
        )  # fmt: skip
        seconds = time.monotonic() - began
    assert (result.returncode, result.stderr) == (0, "")
    (line,) = result.stdout.strip().splitlines()
    assert all(
        part in line for part in ("roberta_base", "backbone.path", "uora-bench prefetch", "backbone=tiny_roberta")
    )
    assert seconds < 30

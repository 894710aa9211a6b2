"""A server on loopback that speaks the chat-completions protocol, well or badly as told, and what its tests share."""

from __future__ import annotations

import hashlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.command_line import last_of_each

QUICK = ("judge.model=judge", "judge.backoff=0.01", "judge.connect_timeout=2", "judge.timeout=5")

# what to do with the n-th request (from 0): None answers it properly, a number is a status, text is the content of the
# completion, bytes are a raw body with status 200, a callable is given the handler
Action = None | int | str | bytes | Callable[[BaseHTTPRequestHandler], None]
Script = Callable[[int, dict[str, Any]], Action]


def rating(prompt: str) -> float:
    """The rating this judge always gives ``prompt``: 1 to 10 in halves."""
    return 1 + int(hashlib.sha256(prompt.encode()).hexdigest(), 16) % 19 / 2


def prompt_of(body: dict[str, Any]) -> str:
    return body["messages"][-1]["content"]


class Server(ThreadingHTTPServer):
    """Counts and keeps what it is asked; ``script`` decides what it says."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 64

    def __init__(self, script: Script = lambda n, body: None, delay: float = 0.0) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.delay = script, delay
        self.lock = threading.Lock()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.times: list[float] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *_: Any) -> None:  # a client that went away is what some tests are about
        pass


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            number = len(self.server.bodies)
            self.server.bodies.append(body)
            self.server.headers.append(dict(self.headers))
            self.server.times.append(time.monotonic())
        if self.server.delay:
            time.sleep(self.server.delay)
        action: Action = 404 if self.path != "/v1/chat/completions" else self.server.script(number, body)
        if callable(action):
            action(self)
        elif isinstance(action, int):
            self.reply(action, {"error": {"message": f"no: {dict(self.headers)}", "code": None}})
        elif isinstance(action, bytes):
            self.reply(200, action)
        else:
            prompt = prompt_of(body)
            said = f"It answers the question. Rating: [[{rating(prompt):g}]]" if action is None else action
            self.reply(200, completion(said, len(prompt)))

    def reply(self, status: int, content: Any, **headers: str) -> None:
        raw = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        pass


def completion(text: str | None, tokens: int = 7) -> dict[str, Any]:
    return {
        "id": "x", "object": "chat.completion", "model": "judge-2026-01-01",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": text}}],
        "usage": {"prompt_tokens": tokens, "completion_tokens": 11, "total_tokens": tokens + 11},
    }  # fmt: skip


def refuse(status: int, code: str | None = None, **headers: str) -> Callable[[Any], None]:
    """Answer ``status`` with ``headers``."""
    return lambda handler: handler.reply(status, {"error": {"message": "slow down", "code": code}}, **headers)


def reset(handler: Any) -> None:
    """Cut the connection with a RST."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.rfile.close()
    handler.wfile.close()
    handler.connection.close()


def drip(handler: Any) -> None:
    """Send a body byte by byte, never at its end."""
    handler.send_response(200)
    handler.send_header("Content-Length", "1000000")
    handler.end_headers()
    for _ in range(2000):
        handler.wfile.write(b" " * 64)
        time.sleep(0.05)


@contextmanager
def serving(script: Script = lambda n, body: None, delay: float = 0.0) -> Iterator[Server]:
    server = Server(script, delay)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def start(folder: Path, server: Server, root: Path, *words: str) -> subprocess.Popen[str]:
    command = [
        sys.executable,
        "-m",
        "uora_bench",
        "mt-bench",
        "judge",
        str(folder),
        f"judge.base_url={server.url}",
        *last_of_each(*QUICK, *words),
    ]
    env = {**os.environ, "PYTHONPATH": str(root / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)


def wait_for(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "mt_bench_judgements.jsonl").read_text("utf-8").splitlines()]


def scores(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "mt_bench_scores.json").read_text("utf-8"))


def one_line(err: str) -> str:
    (line,) = err.strip().splitlines()
    return line

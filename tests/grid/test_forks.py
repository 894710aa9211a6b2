"""Copies of a process that has imported the libraries are what fresh processes are, or there are none."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.paths import ROOT
from uora_bench.config import registry
from uora_bench.grid.launch import forks
from uora_bench.grid.launch.forks import Forked, ForkServer
from uora_bench.records import attempts

# what a process can see of itself, written to its standard output
PROGRAM = """
import json, os, signal, sys, threading
print(json.dumps({
    "argv": sys.argv, "name": __name__, "cwd": os.getcwd(), "path": sys.path[0], "leads": os.getpgid(0) == os.getpid(),
    "stdin": sys.stdin.read(), "signals": [str(signal.getsignal(s)) for s in (signal.SIGTERM, signal.SIGINT)],
    "environment": dict(os.environ), "files": sorted(int(n) for n in os.listdir("/proc/self/fd"))[:4],
    "threads": threading.active_count(), "encoding": sys.stdout.encoding, "buffered": sys.stdout.write_through,
}))
print("to the error stream", file=sys.stderr)
sys.exit(int(sys.argv[1]))
"""

Start = Callable[..., ForkServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    started: list[ForkServer] = []

    def server(*modules: str, environment: dict[str, str] | None = None) -> ForkServer:
        started.append(ForkServer(environment or {}, tmp_path / "server.log", modules))
        wait_for(lambda: not started[-1].loading)
        return started[-1]

    yield server
    for one in started:
        one.close()


def wait_for(condition: Callable[[], Any], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.02)


def own(**more: str) -> dict[str, str]:
    return {**os.environ, "PYTHONUNBUFFERED": "1", attempts.ITEM: "0" * 16, **more}


def sleeping(server: ForkServer, tmp_path: Path, text: str = "time.sleep(60)") -> Forked:
    program, log = tmp_path / "sleep.py", tmp_path / "log"
    program.write_text(f"import signal, time\n{text}\n")
    log.touch()
    copy = server.start([sys.executable, str(program)], own(), log)
    assert copy is not None
    return copy


def test_a_copy_sees_what_a_fresh_process_sees(start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    log, command = tmp_path / "log", [sys.executable, "-m", "program", "7", "a b"]
    (tmp_path / "program.py").write_text(PROGRAM)
    log.write_text("before\n")
    copy = start("json").start(command, own(), log)
    assert copy is not None
    assert copy.wait() == 7 == copy.poll()
    streams: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    fresh = subprocess.run(command, env=own(), start_new_session=True, check=False, **streams)
    first, line, last = log.read_text().splitlines()
    assert (first, last) == ("before", "to the error stream")
    assert json.loads(line) == json.loads(fresh.stdout)


def test_a_copy_that_is_killed_or_asked_to_leave_says_so(start: Start, tmp_path: Path) -> None:
    server = start()
    first, second = sleeping(server, tmp_path), sleeping(server, tmp_path, "signal.pause()")
    assert first.poll() is None
    first.terminate()
    assert first.wait() == -signal.SIGTERM
    os.killpg(second.pid, signal.SIGKILL)
    assert second.wait() == -signal.SIGKILL
    second.terminate()  # of what has ended nothing is asked


def test_a_server_that_dies_takes_its_copies_with_it_and_is_asked_for_no_more(start: Start, tmp_path: Path) -> None:
    server = start()
    copy = sleeping(server, tmp_path)
    os.kill(server._process.pid, signal.SIGKILL)
    wait_for(lambda: copy.poll() is not None)
    assert copy.poll() == -signal.SIGTERM
    assert server.start([sys.executable, "x"], own(), tmp_path / "log") is None


def test_a_copy_that_ends_between_the_look_and_the_signal_is_no_error(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copy = sleeping(start(), tmp_path)
    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", lambda pid, signum: (_ for _ in ()).throw(ProcessLookupError))
        copy.terminate()
    copy.terminate()
    assert copy.wait() == -signal.SIGTERM


def test_code_that_was_changed_meanwhile_is_not_run_from_a_copy_of_the_old(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "package"
    package.mkdir()
    (package / "a.py").write_text("")
    monkeypatch.setattr(registry, "package_dir", lambda: package)
    server = start()
    running = sleeping(server, tmp_path, "time.sleep(1); raise SystemExit(7)")
    (package / "b.py").write_text("")
    assert server.start([sys.executable, "x"], own(), tmp_path / "log") is None
    assert running.wait() == 7  # of what runs the server still tells


def test_another_environment_or_interpreter_is_a_fresh_process(start: Start, tmp_path: Path) -> None:
    server = start(environment={"OMP_NUM_THREADS": "1"})
    for command, more in (
        ([sys.executable, "x"], {"OMP_NUM_THREADS": "2"}),
        ([sys.executable, "x"], {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}),
        (["/usr/bin/true", "x"], {"OMP_NUM_THREADS": "1"}),
    ):
        assert server.start(command, own(**more), tmp_path / "log") is None
    assert server.usable


@pytest.mark.parametrize(
    "text", ["import threading, time; threading.Thread(target=time.sleep, args=[60]).start()", "raise ImportError"]
)
def test_a_server_that_cannot_be_copied_is_none(
    text: str, start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "unsafe.py").write_text(text)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), str(tmp_path)]))
    server = start("unsafe")
    assert not server.usable
    assert server.start([sys.executable, "x"], own(), tmp_path / "log") is None


@pytest.mark.slow
def test_the_libraries_start_no_thread(start: Start) -> None:
    assert start(*forks.MODULES, environment={"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}).usable

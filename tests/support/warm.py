"""Commands of this interpreter as copies of a process that has imported the libraries once (`uora_bench.grid.launch`):
a process of its own each, with its own words, folder, surroundings, output and end, but without the seconds of the
imports. `tests.repository.test_warm` holds it to what `subprocess` gives."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from tests.support.paths import ROOT
from uora_bench.grid.launch.forks import MODULES, Forked, ForkServer

_BECOME = str(Path(__file__).with_name("warm_copy.py"))
# read when a command runs, not when a library is imported or the interpreter starts
_READ_LATE = ("UORA_", "WANDB_", "PYTEST_", "NETRC", "PYTHONUNBUFFERED")
_BEGAN = dict(os.environ)
# set by commands that ran in this process, and by libraries
_LEFT = ("ACCELERATE_", "HF_DATASETS_", "HF_EVALUATE_", "HF_HUB_", "KMP_", "TORCHINDUCTOR_", "TRANSFORMERS_")


def surroundings() -> dict[str, str]:
    """Those of the tests, with one thread and this checkout's package."""
    fixed = {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    kept = {k: v for k, v in os.environ.items() if k in _BEGAN or not k.startswith(_LEFT)}
    return {**kept, **fixed, "PYTHONPATH": _SOURCE}


def environment(root: Path = ROOT) -> dict[str, str]:
    """The surroundings of a user without a network, a key or a data folder."""
    kept = {k: v for k, v in surroundings().items() if not k.startswith(("WANDB_", "UORA_", "RANK", "WORLD_SIZE"))}
    return {**kept, "PYTHONPATH": str(root / "src"), "NETRC": os.devnull}


class Copy:
    """What tests use of `subprocess.Popen`, for a copy whose output goes to two files."""

    def __init__(self, args: Sequence[str], process: Forked, folder: tempfile.TemporaryDirectory[str]) -> None:
        self.args, self.pid = list(args), process.pid
        self._process, self._folder = process, folder
        self.returncode: int | None = None

    def poll(self) -> int | None:
        self.returncode = self._process.poll()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        end = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if end is not None and time.monotonic() > end:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            time.sleep(0.01)
        return code

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.wait(timeout)
        with self._folder as folder:
            out, err, log = ((Path(folder) / name).read_text("utf-8") for name in FILES)
        assert log == "", log  # what was said before the command had its own output
        return out, err

    def stacks(self) -> str:
        """What its threads are at, once it is the command."""
        self.send_signal(signal.SIGUSR1)
        time.sleep(1)
        return (Path(self._folder.name) / "log").read_text("utf-8")

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


_SOURCE = str(ROOT / "src")
FILES = ("out", "err", "log")
Process = Copy | subprocess.Popen[str]
Result = subprocess.CompletedProcess[str]


_servers: list[tuple[ForkServer, dict[str, str]]] = []


def _server() -> tuple[ForkServer, dict[str, str]]:
    """The server of this process and the surroundings that it was started in; it ends with this process.

    Another one where it was lost.
    """
    if _servers and _servers[-1][0].usable:
        return _servers[-1]
    log = Path(tempfile.mkdtemp(prefix="warm-")) / "log"
    with patch.dict(os.environ, _BEGAN, clear=True):  # not those of the test that happens to be the first
        given = {**surroundings(), "PYTHONPATH": os.pathsep.join((_SOURCE, str(Path(__file__).parent)))}
        server = ForkServer(given, log, (*MODULES, "warm_imports"))
    while server.loading:
        time.sleep(0.02)
    assert server.usable, log.read_text()
    _servers.append((server, {**given, "PYTHONUNBUFFERED": "1"}))
    return _servers[-1]


def differences(environment: Mapping[str, str]) -> set[str]:
    """The names of ``environment`` whose values a library, or the interpreter, would have read at its start, and that
    the server had otherwise."""
    expected = {**_server()[1], "PYTHONPATH": _SOURCE}
    names = {name for name in environment.keys() | expected.keys() if environment.get(name) != expected.get(name)}
    return {name for name in names if not name.startswith(_READ_LATE)}


def start(command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Process:
    """``command``, which is ``[sys.executable, "-m", module, …]`` or ``[sys.executable, file, …]``.

    In `surroundings` if none are given. A process of `subprocess` where a library, or the interpreter, would have read
    others at its start.
    """
    own = dict(surroundings() if env is None else env)
    server, given = _server()
    folder = tempfile.TemporaryDirectory(prefix="warm-")
    asked = Path(folder.name) / "asked.json"
    asked.write_text(json.dumps({"words": list(command[1:]), "cwd": str(cwd or Path.cwd()), "environment": own}))
    for name in FILES:
        asked.with_name(name).touch()
    copy = None
    if not differences(own):
        copy = server.start([sys.executable, _BECOME, str(asked)], given, asked.with_name("log"))
    if copy is not None:
        return Copy(command, copy, folder)
    folder.cleanup()
    return start_cold(command, cwd, own)


def run(command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Result:
    """``command`` (see `start`), which must end within four minutes."""
    return finish(start(command, cwd, env))


def finish(process: Process, seconds: float = 240) -> Result:
    """What ``process`` said and how it ended; a copy that does not end says where it is."""
    try:
        out, err = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        assert not isinstance(process, Copy), process.stacks()
        raise
    finally:
        process.kill()
    return Result(process.args, process.returncode, out or "", err or "")


def start_cold(
    command: Sequence[str], cwd: Path | None = None, env: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """``command`` in a process of `subprocess`, which has to import everything first."""
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
    return subprocess.Popen(command, cwd=cwd, env=env, text=True, **pipes)

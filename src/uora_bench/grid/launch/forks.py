"""How a launcher gets its cells from a `fork_server`: one is started, and asked for a copy of itself per cell."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from uora_bench.config import registry
from uora_bench.grid.launch.fork_server import READY
from uora_bench.records import attempts
from uora_bench.util import launched

# what a cell on cores imports, whichever it is
MODULES = (
    "uora_bench.cli.run",
    "uora_bench.config.compose",
    "uora_bench.execution.run",
    "uora_bench.training.trainer",
    "uora_bench.methods.base",
    "uora_bench.models.backbones",
    "accelerate",
    "datasets",
    "hydra",
    "pyarrow.parquet",
    "transformers.generation",
    "transformers.modeling_layers",
    "transformers.modeling_utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.auto.tokenization_auto",
)
# read when the cell runs, not when a library is imported
_OF_A_CELL = (attempts.ITEM, attempts.PROCESSES, launched.LAUNCH, launched.WORDS)
# pyarrow's second allocator, which it does not use, would start a thread, and then nothing could be copied
_NO_THREADS = {"JE_ARROW_MALLOC_CONF": "background_thread:false"}
_CHILD = str(Path(__file__).with_name("child.py"))
_ANSWERS_WITHIN = 20.0  # seconds; it only forks


class Process(Protocol):
    """What a launcher asks of a child: `subprocess.Popen` and `Forked` have it."""

    pid: int

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""

    def terminate(self) -> None:
        """Send SIGTERM."""

    def wait(self) -> int:
        """Wait for its end."""


class ForkServer:
    """One server process, with the ``environment`` that its copies will have.

    It imports ``modules``, and what it says goes to ``log``.
    """

    def __init__(self, environment: Mapping[str, str], log: Path, modules: Sequence[str]) -> None:
        self._environment = {**os.environ, **environment, "PYTHONUNBUFFERED": "1"}
        ours, theirs = socket.socketpair()
        self._socket, self._channel = ours, ours.makefile("rw", encoding="ascii")
        self._usable: bool | None = None  # None: it is still importing
        self._code = _code()
        server = [sys.executable, "-m", "uora_bench.grid.launch.fork_server", str(theirs.fileno()), *modules]
        log.parent.mkdir(parents=True, exist_ok=True)
        with theirs, open(log, "wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, _CHILD, str(os.getpid()), *server],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**self._environment, **_NO_THREADS},
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )

    @property
    def loading(self) -> bool:
        """Whether it is still importing; does not wait."""
        if self._usable is None and select.select([self._socket], [], [], 0)[0]:
            self._usable = self._read() == READY
        return self._usable is None

    def start(self, command: Sequence[str], environment: Mapping[str, str], log: Path) -> Forked | None:
        """A copy that is ``command`` (of this interpreter) and writes to the end of ``log``.

        None where a fresh process has to be started: the server is gone, a library may have read another environment
        than the cell's, or the code was changed since the server imported it.
        """
        same = all(
            environment.get(name) == self._environment.get(name)
            for name in environment.keys() | self._environment.keys()
            if name not in _OF_A_CELL
        )
        if not same or self.loading or not self._usable or command[0] != sys.executable:
            return None
        if self._code != _code():  # a copy would run the old code, and its record name the commit of the new one
            return None
        asked = {"command": list(command[1:]), "environment": dict(environment), "log": str(log.absolute())}
        pid = self.ask(asked)
        return Forked(self, pid) if isinstance(pid, int) else None

    def ask(self, question: Mapping[str, Any]) -> Any:
        """The server's answer; None where it gives none, and then it is not asked again."""
        if not self._usable:
            return None
        try:
            self._channel.write(json.dumps(question) + "\n")
            self._channel.flush()
            if select.select([self._socket], [], [], _ANSWERS_WITHIN)[0]:
                return self._read()
        except OSError:
            pass
        self.close()
        return None

    @property
    def usable(self) -> bool:
        """Whether it can be asked."""
        return bool(self._usable)

    def close(self) -> None:
        """End the server; copies that still run are told to leave."""
        self._usable = False
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()

    def _read(self) -> Any:
        try:
            line = self._channel.readline()
        except OSError:
            line = ""
        if not line:
            self.close()
            return None
        return json.loads(line)


class Forked:
    """A copy of the server: a process of its own, whose end the server tells."""

    def __init__(self, server: ForkServer, pid: int) -> None:
        self.pid, self._server = pid, server
        self._code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, negative for a signal; None while it runs."""
        if self._code is None:
            self._code = self._server.ask({"pid": self.pid})
        if self._code is None and not self._server.usable and not _exists(self.pid):
            self._code = -signal.SIGTERM  # what the system sends to the copies of a server that died
        return self._code

    def terminate(self) -> None:
        """Send SIGTERM."""
        if self.poll() is None:  # else the number may be another process's by now
            with contextlib.suppress(ProcessLookupError):  # the server died, and the copy since we looked
                os.kill(self.pid, signal.SIGTERM)

    def wait(self) -> int:
        """Wait for its end; returns its exit code."""
        while (code := self.poll()) is None:
            time.sleep(0.02)
        return code


def _code() -> tuple[int, int]:
    """What changes when a file of this package does: how many there are, and when the last one was written."""
    times = [path.stat().st_mtime_ns for path in registry.package_dir().rglob("*.py")]
    return len(times), max(times)


def _exists(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text("ascii", "replace").rpartition(")")[2].split()[0]
    except (OSError, IndexError):
        return False
    return state != "Z"  # whoever took it over need not ask for its end

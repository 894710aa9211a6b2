"""A process that has imported torch and transformers once, and becomes a cell for each that it is asked for.

``python -m uora_bench.grid.launch.fork_server <descriptor> <modules …>`` is that process (`forks` is how a launcher
talks to it). It has one thread and never used a GPU, so that its copies begin as a fresh process would; where
the first is not so, it ends. Linux alone.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
from typing import Any

READY = "ready"
_SET_PARENT_DEATH_SIGNAL = 1  # of prctl(2)


def main() -> None:
    """Serve until the launcher leaves; a copy goes on as the command that it was asked to be."""
    connection = socket.socket(fileno=int(sys.argv[1]))
    for name in sys.argv[2:]:
        importlib.import_module(name)
    if len(os.listdir("/proc/self/task")) != 1:
        sys.exit("forking is not safe here: a library has started a thread")
    gc.collect()
    gc.freeze()  # a copy that looked through what is imported for garbage would have to copy all its pages
    command = _serve(connection)
    if command is None:
        return
    if command[0] == "-m":
        sys.argv = command[1:]
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        runpy.run_path(command[0], run_name="__main__")


def _serve(connection: socket.socket) -> list[str] | None:
    """Answer the launcher; returns in a copy with its command, here with None when the launcher has left."""
    server = os.getpid()
    with connection, connection.makefile("rw", encoding="ascii") as channel:
        _answer(channel, READY)
        for line in channel:
            asked: dict[str, Any] = json.loads(line)
            if "pid" in asked:
                pid, status = os.waitpid(asked["pid"], os.WNOHANG)
                _answer(channel, os.waitstatus_to_exitcode(status) if pid else None)
                continue
            try:
                ready, tell = os.pipe()
                pid = os.fork()
            except OSError as error:
                _answer(channel, str(error))
                continue
            if pid:
                os.close(tell)
                os.read(ready, 1)  # once it is a session of its own; an end without a word is an end too
                os.close(ready)
                _answer(channel, pid)
                continue
            command: list[str] = asked["command"]
            _become(server, asked["environment"], asked["log"])
            os.close(tell)
            os.close(ready)
            return command
    return None


def _answer(channel: Any, answer: Any) -> None:
    channel.write(json.dumps(answer) + "\n")
    channel.flush()


def _become(server: int, environment: dict[str, str], log: str) -> None:
    """Make this copy of the process ``server`` what a process started by the launcher is."""
    os.setsid()
    ctypes.CDLL(None, use_errno=True).prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != server:  # it died before we asked
        os._exit(128 + signal.SIGTERM)
    os.environ.clear()
    os.environ.update(environment)
    for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, log, os.O_WRONLY | os.O_APPEND)):
        opened = os.open(path, flags)
        os.dup2(opened, number)
        os.close(opened)
    os.dup2(1, 2)


if __name__ == "__main__":
    main()

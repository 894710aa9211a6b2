"""A few processes over gloo that stay up and do what they are told: one start for many cases."""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any

PATIENCE = 60.0  # seconds for one task; longer means that the processes wait for each other


class Group:
    """``size`` processes of one gloo group, each with ``RANK`` and ``WORLD_SIZE`` set as torchrun does.

    ``fork`` starts at once, but a child must not run backward passes; ``spawn`` imports everything anew.
    """

    def __init__(self, size: int, start: str) -> None:
        self.size, self._start = size, start
        self._processes: list[Any] = []
        self._open()

    def _open(self) -> None:
        context = multiprocessing.get_context(self._start)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        ends = [context.Pipe() for _ in range(self.size)]
        self._pipes = [ours for ours, _ in ends]
        self._processes = [
            context.Process(target=_serve, args=(theirs, rank, self.size, port), daemon=True)  # type: ignore[attr-defined]
            for rank, (_, theirs) in enumerate(ends)
        ]
        for process in self._processes:
            process.start()

    def __call__(self, task: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What ``task(*arguments)`` returned in every process, by rank; raises AssertionError when one failed."""
        for pipe in self._pipes:
            pipe.send((task, arguments))
        answers, failures = [], []
        for rank, pipe in enumerate(self._pipes):
            if not pipe.poll(PATIENCE if not failures else 1.0):
                failures.append(f"process {rank} gave no answer")
                continue
            done, value = pipe.recv()
            (answers if done else failures).append(value)
        if failures:
            self.close()  # the others may wait for ever
            self._open()
        assert not failures, "\n".join(failures)
        return answers

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()


def _serve(pipe: Any, rank: int, size: int, port: int) -> None:
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_WORLD_SIZE": str(size)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    from accelerate.state import AcceleratorState, GradientState, PartialState

    for state in (AcceleratorState, GradientState, PartialState):
        state._reset_state()  # a fork inherits what other tests have set up
    assert PartialState(cpu=True).num_processes == size
    while True:
        try:
            task, arguments = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((True, task(*arguments)))
        except BaseException:  # noqa: BLE001 - whatever it is, the test shows it
            pipe.send((False, traceback.format_exc()))

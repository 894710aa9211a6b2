"""Runs the real command line as one of torchrun's processes, and has one of them send SIGTERM at a chosen moment:
``teller.py PLACE NTH RANK TO word …``. TO is ``itself``, or ``launcher`` (torchrun, which tells all processes)."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from typing import Any


def after(nth: int, original: Callable[..., Any], act: Callable[[], None]) -> Callable[..., Any]:
    """``original``, with ``act`` before its call number ``nth``."""
    calls = [0]

    def wrapper(*arguments: Any, **named: Any) -> Any:
        calls[0] += 1
        if calls[0] == nth:
            act()
        return original(*arguments, **named)

    return wrapper


def arm(place: str, nth: int, to: str, words: list[str]) -> None:
    """Send SIGTERM before the ``nth`` call of ``place``: an optimizer ``step``, or a batch of an ``evaluation``."""
    from uora_bench.config.compose import compose
    from uora_bench.tasks import task_class
    from uora_bench.training import trainer

    def tell() -> None:
        print("telling", file=sys.stderr, flush=True)
        os.kill(os.getppid() if to == "launcher" else os.getpid(), signal.SIGTERM)

    if place == "step":
        trainer._Fit._step = after(nth, trainer._Fit._step, tell)  # type: ignore[method-assign]
    elif place == "evaluation":
        family = task_class(compose(words).values["task"]["family"])
        family.predict = after(nth, family.predict, tell)  # type: ignore[method-assign]
    else:
        raise ValueError(place)


if __name__ == "__main__":
    place, nth, rank, to, *words = sys.argv[1:]
    if os.environ["RANK"] == rank:
        arm(place, int(nth), to, words)
    from uora_bench.cli.main import main

    sys.exit(main(words))

"""What a check of the contract is, and the words it fails with.

A check is a function of a method's name, and of what it is asked on (a model, a dtype, …). It raises AssertionError
with a message of one line. Nothing here needs pytest, and nothing is lost under ``python -O``.
"""

from __future__ import annotations

import inspect
import math
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch

from uora_bench.errors import CellError, UserError, place_of


@dataclass(frozen=True)
class Check:
    """``axes``: the values that each argument beside the method's name takes, in every combination.

    ``when``: whether a method is asked at all (name and values as keywords). ``slow``: it starts processes, or takes
    tens of seconds.
    """

    name: str
    act: Callable[..., None]
    axes: Mapping[str, Sequence[Any]]
    when: Callable[..., bool]
    slow: bool


@dataclass(frozen=True)
class Case:
    """A check of one method with one value per argument."""

    check: Check
    method: str
    values: tuple[tuple[str, Any], ...]

    @property
    def label(self) -> str:
        """The values, in words."""
        return "-".join(filter(None, (_shown(value) for _, value in self.values)))

    def __str__(self) -> str:
        return "-".join(filter(None, (self.check.name, self.method, self.label)))

    def applies(self) -> bool:
        """Whether the method is asked. One that cannot even be put on a model is: its checks then say why."""
        try:
            return self.check.when(self.method, **dict(self.values))
        except Exception:  # noqa: BLE001 - the check itself is the one to report it
            return True

    def run(self) -> None:
        """Run the check, in an empty folder of its own where it wants one.

        Raises:
            AssertionError: with a message, for a method that does not keep the contract; a broken one may raise
                anything.
        """
        with ExitStack() as stack:
            more: dict[str, Any] = {}
            if "folder" in inspect.signature(self.check.act).parameters:
                more["folder"] = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            self.check.act(self.method, **dict(self.values), **more)


@dataclass(frozen=True)
class Finding:
    """What became of one check: ``told`` is why it failed or was left out, else what it found."""

    name: str
    state: Literal["ok", "failed", "left out"]
    told: str


def reason_of(error: Exception) -> str:
    """What to tell of an error that ended a check: the message of one that was meant, else also its kind and place.

    With ``UORA_DEBUG`` in the environment the error is raised instead.
    """
    if os.environ.get("UORA_DEBUG"):
        raise error
    if isinstance(error, (AssertionError, UserError, CellError)) and str(error):
        return str(error)
    return f"{type(error).__name__}: {error} ({place_of(error)})"


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, tuple):
        return "+".join(map(_shown, value))
    return getattr(value, "__name__", None) or str(value).removeprefix("torch.")


class Checks:
    """The checks of one module, in the order in which they stand there."""

    def __init__(self) -> None:
        self.all: list[Check] = []

    def __call__(
        self, when: Callable[..., bool] = lambda name, **_: True, slow: bool = False, **axes: Sequence[Any]
    ) -> Callable[[Callable[..., None]], Callable[..., None]]:
        """Decorates a check; an argument ``folder`` is an empty folder."""

        def add(act: Callable[..., None]) -> Callable[..., None]:
            self.all.append(Check(act.__name__, act, axes, when, slow))
            return act

        return add


def cases_of_check(check: Check, method: str) -> list[Case]:
    """Every combination of the check's axes that the method is asked on."""
    combined = product(*([(axis, value) for value in values] for axis, values in check.axes.items()))
    return [case for values in combined if (case := Case(check, method, values)).applies()]


# --- words ------------------------------------------------------------------------------------------------------------


def ensure(holds: Any, message: str) -> None:
    """Raise AssertionError with ``message`` unless ``holds``."""
    if not holds:
        raise AssertionError(message)


def ensure_near(
    found: Sequence[float], expected: Sequence[float], rel: float, what: str, absolute: float = 0.0
) -> None:
    """Raise AssertionError unless both have as many numbers, equal up to ``rel`` of the larger or ``absolute``."""
    ensure(len(found) == len(expected), f"{what}: {len(found)} numbers, not {len(expected)}")
    for i, (one, other) in enumerate(zip(found, expected, strict=True)):
        near = math.isclose(one, other, rel_tol=rel, abs_tol=absolute)
        ensure(near, f"{what}: number {i + 1} is {one:.8g}, not {other:.8g}")


def ensure_close(
    found: torch.Tensor | None, expected: torch.Tensor | None, what: str, atol: float, rtol: float
) -> None:
    """`torch.testing.assert_close` (AssertionError beyond atol + rtol·|expected|), ``what`` before its message."""
    torch.testing.assert_close(found, expected, msg=lambda said: f"{what}: {said}", atol=atol, rtol=rtol)


@contextmanager
def refused(what: str, naming: str = "") -> Iterator[None]:
    """Raise AssertionError unless what is done inside raises `UserError` with ``naming`` in it."""
    try:
        yield
    except UserError as error:
        ensure(naming in str(error), f"{what} is refused without the word '{naming}': {error}")
    else:
        raise AssertionError(f"{what} is not refused")

"""Shared fixtures. Nothing in the tests may reach the network or wait for another process's threads."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_EVALUATE_OFFLINE", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# as in a terminal: what a script starts in the background ignores interrupts, and so would what the tests start
signal.signal(signal.SIGINT, signal.default_int_handler)
for variable in ("WANDB_API_KEY", "UORA_DATA_DIR", "WANDB_MODE"):
    os.environ.pop(variable, None)

import pytest

pytest.register_assert_rewrite("tests.support")  # before its first import: its assertions say what they compared

from tests.support.paths import ROOT, shared_folder


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes are named after their argument: compressed ones may hold the time, and all workers must find the same
    names."""
    return argname if isinstance(val, bytes) else None


def _restored() -> Iterator[None]:
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys() - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    os.environ.update({k: v for k, v in before.items() if k != "PYTEST_CURRENT_TEST"})


# Commands that run in this process, and libraries that they import, set variables: no test may see those of another.
_of_a_module = pytest.fixture(scope="module", autouse=True)(_restored)
_of_a_test = pytest.fixture(autouse=True)(_restored)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder whose ``data`` holds the real data sets; in CI its absence is a failure, not a skip, unless
    ``UORA_TESTS_WITHOUT_DATA`` is set.

    Facts that tests compare with (traces, published numbers) are in tests/data and results/paper instead.
    """
    folder = shared_folder()
    if not (folder / "data").is_dir():
        message = f"needs the real data sets (a folder {folder.name}/data beside the checkout; or set UORA_SHARED_DIR)"
        if os.environ.get("CI") and not os.environ.get("UORA_TESTS_WITHOUT_DATA"):
            pytest.fail(message)
        pytest.skip(message)
    return folder


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT

"""What a record says of memory is this process's own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from uora_bench.training import peak_memory

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="other systems tell less")
_TELL = "from uora_bench.training import peak_memory; print(peak_memory.resident_peak())"
_MB = 10**6


def test_a_process_does_not_inherit_the_peak_of_the_one_that_started_it() -> None:
    # getrusage of a child tells the parent's peak: a small parent and a large one must make no difference
    large = f"held = b'x' * {800 * _MB}; import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    alone = subprocess.run([sys.executable, "-c", _TELL], capture_output=True, text=True, check=True)
    below = subprocess.run([sys.executable, "-c", large, _TELL], capture_output=True, text=True, check=True)
    assert abs(int(below.stdout) - int(alone.stdout)) < 100 * _MB


def test_the_peak_can_begin_anew() -> None:
    held = b"x" * (300 * _MB)
    high = peak_memory.resident_peak()
    assert high > len(held)
    del held
    peak_memory.reset_resident_peak()
    assert peak_memory.resident_peak() < high - 200 * _MB

"""A copy of the warm process sees and leaves what a process that starts by itself does."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support import warm

SEES = """
import json, os, signal, sys, threading
print(json.dumps({
    "argv": sys.argv[1:], "name": __name__, "cwd": os.getcwd(), "path": sys.path[:2], "stdin": sys.stdin.read(),
    "environment": dict(os.environ), "signals": [str(signal.getsignal(s)) for s in (signal.SIGTERM, signal.SIGINT)],
    "threads": threading.active_count(), "encoding": sys.stdout.encoding, "main": sys.modules["__main__"].__name__,
}))
print("to the error stream", file=sys.stderr)
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    return tmp_path / "program.py"


def ran(process: warm.Process) -> tuple[int | None, str, str]:
    out, err = process.communicate(timeout=100)
    return process.returncode, out, err


@pytest.mark.parametrize(
    ("end", "code"),
    [("", 0), ("sys.exit(7)", 7), ("sys.exit('said')", 1), ("raise ValueError", 1), ("os.kill(os.getpid(), 9)", -9)],
)
def test_a_copy_is_what_a_process_of_its_own_is(end: str, code: int, program: Path, tmp_path: Path) -> None:
    program.write_text(f"{SEES}\nsys.stdout.flush(); sys.stderr.flush()\n{end}\n")
    command = [sys.executable, str(program), "7", "a b", "ä"]
    given = {**warm.environment(), "UORA_RESULTS": "x"}
    assert warm.differences(given) == set()
    copy, own = warm.start(command, tmp_path, given), warm.start_cold(command, tmp_path, given)
    assert (type(copy), type(own)) == (warm.Copy, subprocess.Popen)
    found, wanted = ran(copy), ran(own)
    assert found[0] == wanted[0] == code
    assert json.loads(found[1]) == json.loads(wanted[1])
    assert found[2].splitlines()[0] == wanted[2].splitlines()[0] == "to the error stream"
    assert found[2].splitlines()[-1] == wanted[2].splitlines()[-1]


def test_what_was_to_run_at_the_end_runs_and_what_was_written_arrives(program: Path, tmp_path: Path) -> None:
    program.write_text(
        "import atexit, threading, time\natexit.register(print, 'last')\n"
        "threading.Thread(target=lambda: (time.sleep(0.2), print('thread'))).start()\nprint('first', end=' ')\n"
    )
    command = [sys.executable, str(program)]
    assert (
        ran(warm.start(command, tmp_path)) == ran(warm.start_cold(command, tmp_path)) == (0, "first thread\nlast\n", "")
    )


def test_a_copy_is_told_to_stop_like_any_process(program: Path, tmp_path: Path) -> None:
    program.write_text("import time\nprint('here', flush=True)\ntime.sleep(60)\n")
    copy = warm.start([sys.executable, str(program)], tmp_path)
    time.sleep(0.1)
    assert copy.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        copy.communicate(timeout=0.01)
    copy.send_signal(signal.SIGTERM)
    assert copy.wait(timeout=60) == -signal.SIGTERM


def test_a_copy_that_does_not_end_says_where_it_is(program: Path, tmp_path: Path) -> None:
    program.write_text("import time\ndef here():\n    time.sleep(60)\nhere()\n")
    assert warm.differences(warm.surroundings()) == set()
    with pytest.raises(AssertionError, match=r"program\.py., line 3 in here"):
        warm.finish(warm.start([sys.executable, str(program)], tmp_path), 1)


@pytest.mark.parametrize("name", ["HF_HOME", "OMP_NUM_THREADS", "PYTHONPATH"])
def test_what_libraries_read_when_they_are_imported_asks_for_a_process_of_its_own(name: str, tmp_path: Path) -> None:
    given = {**warm.environment(), name: str(tmp_path)}
    process = warm.start([sys.executable, "-m", "platform"], tmp_path, given)
    assert isinstance(process, subprocess.Popen)
    assert ran(process)[0] == 0


def test_a_copy_has_nothing_of_the_one_before(program: Path, tmp_path: Path) -> None:
    program.write_text("import os, uora_bench\nprint(getattr(uora_bench, 'left', ''), os.environ.get('UORA_LEFT'))\n")
    leaves = tmp_path / "leaves.py"
    leaves.write_text("import os, uora_bench\nuora_bench.left = os.environ['UORA_LEFT'] = 'left'\n")
    assert ran(warm.start([sys.executable, str(leaves)], tmp_path)) == (0, "", "")
    assert ran(warm.start([sys.executable, str(program)], tmp_path)) == (0, " None\n", "")
    assert "UORA_LEFT" not in os.environ


@pytest.mark.slow
def test_a_lost_server_is_replaced(program: Path, tmp_path: Path) -> None:
    program.write_text("print('here')\n")
    warm._server()[0].close()
    copy = warm.start([sys.executable, str(program)], tmp_path)
    assert isinstance(copy, warm.Copy)
    assert ran(copy) == (0, "here\n", "")


@pytest.mark.parametrize("turn", [1, 2])
def test_what_a_test_leaves_in_the_surroundings_is_gone(turn: int) -> None:
    assert "CC_OF_A_LIBRARY" not in os.environ
    os.environ["CC_OF_A_LIBRARY"] = "gcc"

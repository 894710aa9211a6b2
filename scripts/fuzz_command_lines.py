"""Random command lines over all commands, in one process: none may end in a traceback or an undocumented exit code.

    python scripts/fuzz_command_lines.py [--lines 10000] [--seed 0]

Lines are made of the commands' own keys, the keys of a cell, names of configs/ and values that tools choke on (numbers
of 5,000 digits, empty lists, odd paths, text that is no UTF-8 …), valid and broken ones mixed. Nothing is trained: what
would start a cell, a grid or a download is replaced by a function that refuses. Every ending but 0, 2 and the exit
codes that the command documents, every ``(UORA_DEBUG=1 shows where)`` and every line that takes more than `LONGEST`
seconds is printed, and makes the script end with 1.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from types import FrameType
from typing import Any, NoReturn
from unittest import mock

from uora_bench.cli.main import MODULES, load_command, main
from uora_bench.config import compose, groups, registry
from uora_bench.errors import UserError

LONGEST = 20.0  # seconds for one line
_UNHANDLED = "(UORA_DEBUG=1 shows where)"
_REPLACED = (
    "uora_bench.execution.run.run_cell",
    "uora_bench.contract.entries.run_cell",
    "uora_bench.contract.cases.check_method",
    "uora_bench.grid.launch.local.run",
    "uora_bench.grid.launch.slurm.command",
    "uora_bench.grid.launch.slurm.report",
    "uora_bench.data.prefetch.prefetch",
    "uora_bench.theory.run.run_cells",
)
VALUES = (
    "", "0", "1", "-1", "2", "8", "0.5", "1e-3", "-0.0", "nan", "inf", "1e999", "9" * 5000, str(2**63 -1),
    str(2**64), "null", "true", "false", "none", "auto", "yes", "[]", "{}", "[q,v]", "[1,2]", "[[1]]", "{a:1}",
    "[", "]", "'", '"', "a b", "a,b", "1,2,3", "0,1", ",", "range(0,5)", "range(0,2,0)", "range(0,100000000)",
    "range(5,0)", "range(a,b)", "glob(glue/*)", "glob(nothing*)", "choice(1,2)", "interval(0,1)",
    "shuffle(1,2)", "sort(1,2)", "*", "glue/*", "?", "../x", "/", "/dev/null", "/dev/full", "~", "~/nowhere",
    ".", "..", "x" * 300, "/"+"y" * 5000, "${oc.env:HOME}", "${seed}", "${oops", "$HOME", "a=b", "=", "\\",
    "\t", "\n", "\x00", "é", "α", "\ud800", "\u202e", "float32", "bfloat16", "linear", "roberta", "tiny/nli",
    "glue/rte", ",".join(["a"] * 3000), "[" * 200, "--", "-", "+", "@", "%s", "{0}", "q.path=x", "0x10",
    "1_000", "١", "1e-400",
)  # fmt: skip


def keys_of(command: str) -> list[str]:
    """The keys that ``command`` has, and those of a cell where it passes them on."""
    declared = load_command(command)
    own = [key.name.replace("*", "x") for key in (*declared.keys, *declared.passed)]
    return [*own, *_CELL, *registry.GROUPS] if declared.passed else own


_CELL = list(compose.leaves(groups.compose_groups({})))
_ODD = ["", "x", "methd", "method.", ".rank", "method..rank", "+seed", "~seed", "++a.b", "method@x", "trainer",
        "hydra.run.dir", "backbone.target_modules.modules.q.path", "backbone.architecture.hidden_size",
        "launcher.minutes", "peft.r", "peft.type", "experiment", "judge.model", "a" * 100, "é", "\x00"]  # fmt: skip


def line(draw: random.Random) -> list[str]:
    """One command line."""
    command = draw.choice([*MODULES, "", "help", "nothing"])
    words = command.split() if draw.random() < 0.95 else [draw.choice(VALUES)]
    known = keys_of(command) if command in MODULES else [*_CELL, *registry.GROUPS]
    for _ in range(draw.choice((0, 1, 1, 2, 2, 3, 5))):
        key = draw.choice(known) if draw.random() < 0.85 and known else draw.choice(_ODD)
        names = registry.choices(key) if key in (*registry.GROUPS, "experiment") else ()
        value = draw.choice(names) if names and draw.random() < 0.7 else draw.choice(VALUES)
        form = draw.random()
        if form < 0.8:
            words.append(f"{key}={value}")
        elif form < 0.9:
            words += [f"--{key}", value]
        else:
            words.append(draw.choice((key, value, f"--{key}={value}", "-h", "--help", "-m", "-x", "--")))
    if command in ("", "run"):
        words.append("dry_run=true")
    return words


class TooLong(BaseException):
    """A line took more than `LONGEST` seconds."""


def _too_long(signum: int, frame: FrameType | None) -> NoReturn:
    raise TooLong


def run(words: list[str]) -> tuple[int | str, str, float]:
    """Exit code (or what came out instead), what was printed as an error, and seconds."""
    out, err, begun = io.StringIO(), io.StringIO(), time.perf_counter()
    signal.setitimer(signal.ITIMER_REAL, LONGEST)
    code: int | str
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(words)
    except TooLong:
        code = "too long"
    except BaseException as error:  # noqa: BLE001 - finding those is what this is for
        code = f"{type(error).__name__}: {error}"[:200]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
    return code, err.getvalue(), time.perf_counter() - begun


def documented(words: list[str]) -> set[int]:
    """The exit codes that the command line may end with."""
    name = (
        " ".join(words[:2]) if " ".join(words[:2]) in MODULES else words[0] if words and words[0] in MODULES else "run"
    )
    return {0, 2, *load_command(name).codes}


def fuzz(lines: int, seed: int) -> list[str]:
    """Run ``lines`` command lines; returns one line for each that did not end well."""
    draw, bad, codes = random.Random(seed), [], Counter[Any]()
    signal.signal(signal.SIGALRM, _too_long)
    here = os.getcwd()
    with contextlib.ExitStack() as patched, tempfile.TemporaryDirectory() as folder:
        for name in _REPLACED:
            patched.enter_context(mock.patch(name, side_effect=UserError("it would begin now")))
        patched.enter_context(mock.patch.dict(os.environ, {"HOME": folder, "HF_HUB_OFFLINE": "1"}))
        os.chdir(folder)
        try:
            for number in range(lines):
                words = line(draw)
                code, said, seconds = run(words)
                codes[code] += 1
                shown = " ".join(w if len(w) < 80 else f"{w[:40]}…({len(w)})" for w in words)
                if code not in documented(words) or _UNHANDLED in said or (code == 2 and len(said.splitlines()) != 1):
                    bad.append(f"{number}: {shown!r}: exit {code}: {' '.join(said.split())[:300]}")
                elif seconds > LONGEST / 4:
                    bad.append(f"{number}: {shown!r}: {seconds:.1f} s")
        finally:
            os.chdir(here)
    print(f"{lines} lines, seed {seed}: exit codes {dict(codes.most_common())}, {len(bad)} not answered cleanly")
    return bad


def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    bad = fuzz(given.lines, given.seed)
    print("\n".join(bad).encode("utf-8", "backslashreplace").decode())
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(_main())

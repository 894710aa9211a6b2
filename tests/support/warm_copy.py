"""``warm_copy.py FILE``: become the command that FILE describes (`tests.support.warm`), as a fresh process would."""

from __future__ import annotations

import atexit
import faulthandler
import json
import os
import runpy
import signal
import sys
import threading
from pathlib import Path


def main(file: Path) -> None:
    """Take over the words, the folder, the surroundings and the output of the command, run it and end."""
    sys.path.remove(str(Path(__file__).parent))  # where the server found `warm_imports`
    faulthandler.register(signal.SIGUSR1, os.dup(2))  # into the log; see `tests.support.warm.finish`
    asked = json.loads(file.read_text("utf-8"))
    for number, name in ((1, "out"), (2, "err")):
        opened = os.open(file.with_name(name), os.O_WRONLY | os.O_APPEND)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    try:
        run(asked["words"])
    except SystemExit as end:
        leave(end.code)
    leave(None)


def run(words: list[str]) -> None:
    """Run ``-m module …`` or ``file …``."""
    if words[0] == "-m":
        sys.argv, sys.path[0] = words[1:], os.getcwd()
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv, sys.path[0] = words, str(Path(words[0]).absolute().parent)
        runpy.run_path(words[0], run_name="__main__")


def leave(code: object) -> None:
    """End as the interpreter does, but without taking every imported module apart, which takes longer than most
    commands."""
    if code is not None and not isinstance(code, int):
        print(code, file=sys.stderr)
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code or 0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""``uora-bench [command] key=value …``: finds the command, or its help, and runs it.

Without a command it runs one cell. Exit codes: 0 done, 1 failed, 2 the user's mistake, 75 another process is at it,
128 + n stopped by signal n. Only the standard library is imported before a command runs.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from functools import partial

from uora_bench.cli import exits, help
from uora_bench.cli.parser import Command
from uora_bench.config import plugins, synonyms
from uora_bench.errors import UserError, nearest
from uora_bench.util import log, streams
from uora_bench.util.version import __version__

# command -> the module of this package that declares it as COMMAND
MODULES = {
    "run": "run",
    "plan": "plan",
    "sweep": "sweep",
    "search": "search",
    "tables": "tables",
    "figures": "figures",
    "page": "page",
    "explain": "explain",
    "verify": "verify",
    "export": "export",
    "prefetch": "prefetch",
    "memory": "memory",
    "theory": "theory",
    "mt-bench answer": "mt_bench_answer",
    "mt-bench judge": "mt_bench_judge",
    "mt-bench scores": "mt_bench_scores",
    "records migrate": "records_migrate",
    "check": "check",
    "new": "new",
    "list": "listing",
}
GROUPS = ("mt-bench", "records")  # the first word of commands of two words
_HELP = ("-h", "--help")
_MULTIRUN = ("-m", "--multirun")
_LONGEST = 4096  # characters of one word; the parser needs seconds for more


def program() -> int:
    """What ``uora-bench`` and ``python -m uora_bench`` run: `main` with streams that cannot make it fail."""
    streams.guard()
    return main()


def main(words: list[str] | None = None) -> int:
    """Run the command line ``words`` (default: the process's own); returns the exit code."""
    given = sys.argv[1:] if words is None else list(words)
    try:
        log.configure()
        _check_text(given)
        name, rest = _split(_use_plugins(given))
    except UserError as error:
        return exits.run(partial(_refuse, error), "")
    if any(w in _HELP for w in rest):
        return exits.run(partial(_print, name), "")
    if not name or name in GROUPS:  # --version, or a group without its command
        return exits.run(
            partial(_say, f"uora_bench {__version__}") if not name else partial(_refuse, _unfinished(name)), ""
        )
    command = load_command(name)
    return exits.run(lambda: command.act(command.read(rest)), command.resume, command.prints)


def load_command(name: str) -> Command:
    """The command of that name."""
    found: Command = importlib.import_module(f"uora_bench.cli.{MODULES[name]}").COMMAND
    return found


def _use_plugins(words: Sequence[str]) -> list[str]:
    """``words`` without ``plugins=``, whose folders are used from now on, also by the processes this one starts."""
    rest, folders = list[str](), list[str]()
    found = iter(words)
    for word in found:
        if word == "--plugins":
            folders.append(next(found, ""))
        elif word.removeprefix("--").startswith("plugins="):
            folders += word.partition("=")[2].strip("[]").split(",")
        else:
            rest.append(word)
    plugins.add([folder.strip().strip("'\"") for folder in folders])
    return rest


def _check_text(words: Sequence[str]) -> None:
    """Raise `UserError` for a word that no record could hold, or that is longer than anything it could mean."""
    for word in words:
        shown = f"{word[:40]}…" if len(word) > 40 else word
        if any("\ud800" <= letter <= "\udfff" for letter in word):
            raise UserError(f"'{shown.encode('utf-8', 'replace').decode()}' is not UTF-8; write it in UTF-8")
        if "\0" in word:
            raise UserError(f"{shown!r} has a zero byte, which no name and no path may contain; remove it")
        if len(word) > _LONGEST:
            raise UserError(f"'{shown}' has {len(word):,} characters, and a word may have {_LONGEST:,}")


def _split(words: Sequence[str]) -> tuple[str, list[str]]:
    """The command's name ("": the program itself) and the words after it; help asked for stands there as ``--help``.

    Raises:
        UserError: for a word in a command's place that is none.
    """
    first, rest = (words[0], list(words[1:])) if words else ("", [])
    if first == "help":
        name, rest = _split(rest) if rest else ("", [])
        return name, ["--help"]
    if first == "--version":
        return "", []
    if first in GROUPS:
        name = f"{first} {rest[0]}" if rest else ""
        if name in MODULES:
            return name, ["--help"] if rest[1:2] == ["help"] else rest[1:]
        if rest and rest[0] not in (*_HELP, "help"):
            raise UserError(f"unknown command '{first} {rest[0]}'{nearest(rest[0], _below(first))}")
        return first, ["--help"] if rest else []
    if first in MODULES:
        name = "sweep" if first == "run" and set(rest) & set(_MULTIRUN) else first
        return name, ["--help"] if rest[:1] == ["help"] else [w for w in rest if w not in _MULTIRUN]
    if first in _HELP:
        return "", ["--help"]
    if first and "=" not in first and first[0] not in "-+~":
        synonyms.answer_word(first)
        if (known := load_command("run").known(first)) is not None:
            raise UserError(f"'{first}' needs a value: write {first}={'true' if known.flag else '…'}")
        raise UserError(f"unknown command '{first}'{nearest(first, [*MODULES, *GROUPS], limit=20)}")
    return "sweep" if set(words) & set(_MULTIRUN) else "run", [w for w in words if w not in _MULTIRUN]


def _print(name: str) -> int:
    if name in MODULES:
        return _say(help.of_command(load_command(name)))
    commands = [load_command(one) for one in MODULES if one.startswith(name)]
    return _say(help.of_group(name, commands) if name else help.overview(commands))


def _say(text: str) -> int:
    print(text, flush=True)
    return 0


def _below(group: str) -> list[str]:
    return [one.removeprefix(f"{group} ") for one in MODULES if one.startswith(f"{group} ")]


def _unfinished(group: str) -> UserError:
    return UserError(f"{group} needs to know what to do: {' or '.join(f'{group} {one}' for one in _below(group))}")


def _refuse(error: UserError) -> int:
    raise error

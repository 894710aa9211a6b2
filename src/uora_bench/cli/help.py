"""Help: one page over all commands and one per command, printed from their tables, 80 columns wide."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from uora_bench.cli.parser import Command, Key
from uora_bench.config import registry
from uora_bench.util.version import __version__

WIDTH = 80
_LEFT = 26  # columns of a key; a longer one has a line of its own
_DONE, _YOURS, _SIGNAL = "0 done", "2 your mistake", "128+n signal n"
PROGRAM = "uora-bench"


def overview(commands: Iterable[Command]) -> str:
    """What the program is, its commands and its grammar."""
    lines = [
        f"{PROGRAM} {__version__}: a benchmark of parameter-efficient fine-tuning methods",
        "",
        f"usage: {PROGRAM} [command] [key=value …]",
        f"       {PROGRAM} <command> --help",
        "",
        "commands",
        *_table((command.name, command.summary) for command in commands),
        "",
        "one cell needs no command",
        f"  {PROGRAM}                                UORA on generated text, no download",
        f"  {PROGRAM} method=vera task=glue/rte dry_run=true",
        f"  {PROGRAM} method=uora task=glue/rte data.root=<folder>",
        "",
        *textwrap.wrap(
            "Keys are Hydra's, key=value; --key=value, --key value and --flag are understood, and so are the names "
            f"that other tools have for them ({PROGRAM} list synonyms). The same thing has the same key in every "
            f"command. python -m uora_bench is {PROGRAM}; torchrun takes -m uora_bench.",
            WIDTH,
            break_on_hyphens=False,
        ),
        "",
        *textwrap.wrap(
            "Own methods, tasks, metrics and configs/: the folder ./uora_plugins, plugins=<folder,…> with any command, "
            f"or UORA_BENCH_PLUGINS ({PROGRAM} list plugins). UORA_LOG=debug|info|warning|error: the log level "
            "of standard error; results go to standard output.",
            WIDTH,
            break_on_hyphens=False,
        ),
        "",
        *_codes({1: "failed", 75: "being run by another process"}),
    ]
    return "\n".join(lines)


def of_group(name: str, commands: Iterable[Command]) -> str:
    """The commands below ``name``."""
    usage = f"usage: {PROGRAM} {name} <command> [key=value …]"
    return "\n".join([usage, "", "commands", *_table((command.name, command.summary) for command in commands)])


def of_command(command: Command) -> str:
    """Usage, words, keys, names, examples and exit codes of ``command``."""
    takes = [command.words, "[key=value …]" if command.keys or command.passed else ""]
    usage = " ".join(["usage:", PROGRAM, command.name, *(part for part in takes if part)])
    title = _wrapped(f"{PROGRAM} {command.name}: {command.summary}", "  ")
    lines = [*title, "", *_wrapped(usage, "       ")]
    for paragraph in command.about:
        lines += ["", *_wrapped(paragraph)]
    of_passed = "keys of what it runs" if command.keys else "keys"
    for heading, keys in (("keys", command.keys), (of_passed, command.passed)):
        if keys:
            lines += ["", heading, *_table((_shown(key), _text(key)) for key in keys)]
    for group in command.lists:
        lines += ["", f"{group}=", *_wrapped("  " + "  ".join(registry.choices(group)), "  ")]
    if command.examples:
        lines += ["", "examples", *(f"  {PROGRAM} {example}".rstrip() for example in command.examples)]
    return "\n".join([*lines, "", *_codes(command.codes)])


def _shown(key: Key) -> str:
    value = key.shown or "|".join(key.choices) or ("false" if key.flag else key.default) or "…"
    return f"{key.name}={value}"


def _text(key: Key) -> str:
    told = key.default if key.choices or key.shown else None
    return f"{key.help} (default: {key.default})" if told else key.help


def _table(rows: Iterable[tuple[str, str]]) -> list[str]:
    """Two columns, the second wrapped."""
    rows = list(rows)
    width = min(max(len(left) for left, _ in rows), _LEFT)
    lines = []
    for left, right in rows:
        if len(left) > width:
            lines.append(f"  {left}")
            left = ""
        lines += textwrap.wrap(
            right, WIDTH, initial_indent=f"  {left:<{width}}  ", subsequent_indent=" " * (width + 4),
            break_on_hyphens=False,
        )  # fmt: skip
    return lines


def _wrapped(text: str, indent: str = "") -> list[str]:
    first = text[: len(text) - len(text.lstrip())]
    return textwrap.wrap(
        text.strip(), WIDTH, initial_indent=first, subsequent_indent=indent, break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip


def _codes(own: dict[int, str]) -> list[str]:
    parts = [_DONE, *(f"{code} {what}" for code, what in own.items() if code == 1), _YOURS]
    parts += [f"{code} {what}" for code, what in own.items() if code > 2]
    return _wrapped(f"exit codes: {', '.join([*parts, _SIGNAL])}", "  ")

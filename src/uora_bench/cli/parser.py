"""The grammar of every command: Hydra's ``key=value``, words that stand alone, and options as other tools take them.

A command declares its keys and words as data (`Command`); this module reads a command line by that table, and
`uora_bench.cli.help` prints it. Only the standard library is imported.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from uora_bench.config import synonyms
from uora_bench.errors import UserError, nearest


@dataclass(frozen=True)
class Key:
    """One ``name=value``.

    ``name`` may end in ``*`` (``launcher.*``). ``shown``: what help writes behind the ``=`` where that is not the
    choices or the default. ``flag``: true or false, and ``--name`` alone is true. ``many``: it may be given several
    values. ``others``: other names of it, as they are typed.
    """

    name: str
    help: str
    default: str | None = None
    choices: tuple[str, ...] = ()
    shown: str = ""
    flag: bool = False
    many: bool = False
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Given:
    """A parsed command line.

    ``names``: the words that stand alone; ``passed``: ``key=value`` of the keys that belong to no command but to a
    cell, a grid or an experiment, as they came; ``values``: of the command's own keys, in order.
    """

    command: Command
    names: list[str]
    passed: list[str]
    values: list[tuple[str, str]]

    def every(self, key: str) -> list[str]:
        """All values that ``key`` was given."""
        return [value for name, value in self.values if name == key]

    def text(self, key: str) -> str | None:
        """The value of ``key``, else its default; None for ``null`` and where it is not given.

        Raises:
            UserError: for no value behind the ``=``, and one that is not among the choices that ``key`` has.
        """
        declared = self.command.own(key)
        value = (self.every(key) or [declared.default or "null"])[-1]
        if value == "null":
            return None
        if not value:
            raise UserError(f"{key}= has no value; give it one, or leave it away")
        if declared.choices and value not in declared.choices:
            raise UserError(f"{key}={value}: there is no such choice{nearest(value, declared.choices)}")
        return value

    def flag(self, key: str) -> bool:
        """Whether ``key`` is true; raises `UserError` for another value than true and false."""
        value = (self.every(key) or ["false"])[-1]
        if value not in ("true", "false"):
            raise UserError(f"{key}={value} must be true or false")
        return value == "true"


@dataclass(frozen=True)
class Command:
    """A command: its words and keys, its help, and the function that runs it.

    ``act`` runs it and returns the exit code; ``resume``: what a person can do after a signal. ``words``: the words
    that stand alone, as usage shows them, and ``most`` how many there may be. ``keys`` are its own; where there are
    ``passed`` ones, these and every other key go on to what the command runs, and are checked there. ``lists``: groups
    of configs/ whose names help shows. ``codes``: what exit codes 1 and 75 mean, where the command has them.
    ``prints``: its result is what it prints, not files.
    """

    name: str
    summary: str
    act: Callable[[Given], int]
    resume: str = "run the command again"
    words: str = ""
    most: int = 0
    least: int = 0
    keys: tuple[Key, ...] = ()
    passed: tuple[Key, ...] = ()
    lists: tuple[str, ...] = ()
    about: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()
    codes: dict[int, str] = field(default_factory=dict)
    prints: bool = True

    def own(self, name: str) -> Key:
        """The command's own key of that name."""
        return next(key for key in self.keys if key.name == name)

    def read(self, words: Sequence[str]) -> Given:
        """``words`` by this command's table.

        Raises:
            UserError: for an unknown key, with the nearest one; a key given two values; a word too many or too few; an
                option without a value.
        """
        given = Given(self, [], [], [])
        once: list[str] = []
        for word in _without_options(self, words):
            key, equals, value = word.partition("=")
            if not key:
                raise UserError(f"'{word}' names no key: write key=value, as method=lora")
            if value == "~" or value.startswith("~/"):  # the shell expands it only at the start of a word
                value = os.path.expanduser(value)
                word = f"{key}={value}"
            known = self.known(key)
            if equals and known is not None and known in self.keys:
                # one key may stand for many (judge.*): it keeps the name it was given
                given.values.append((known.name if "*" not in known.name else key, value))
                once += [] if known.many else ["=".join(given.values[-1])]
            elif self.most and (not equals or (known is None and (" " in key or Path(word).exists()))):
                given.names.append(word)  # the label of a row may be lora trainer.epochs=3, and no key has a blank
            elif self.passed:
                given.passed.append(f"{known.name}={value}" if equals and known and "*" not in known.name else word)
            elif not equals:
                raise UserError(f"'{key}' is not of the form key=value{self._nearest(key)}")
            else:
                raise UserError(f"unknown key '{key}'{self._nearest(key)}")
        synonyms.check_once(once)
        if not self.least <= len(given.names) <= self.most:
            one = "one " if self.least == self.most == 1 else ""
            count = f"{len(given.names)} word{'s' * (len(given.names) != 1)}"
            raise UserError(f"{self.name} takes {one}{self.words}, not {count}; see uora-bench {self.name} --help")
        return given

    def known(self, name: str) -> Key | None:
        """The declared key that is called ``name``; ``-``, ``_`` and ``.`` are the same in it."""
        wanted = _plain(name)
        for key in (*self.keys, *self.passed):
            if key.name.endswith("*"):
                if name.startswith(key.name[:-1]):
                    return key
            elif wanted in (_plain(key.name), *map(_plain, key.others)):
                return key
        return None

    def meant(self, name: str) -> str:
        """``; did you mean …?`` where a declared key is close to ``name``; else nothing, as there are many others."""
        near = self._nearest(name)
        return near if "did you mean" in near else ""

    def _nearest(self, name: str) -> str:
        return nearest(name, [key.name for key in (*self.keys, *self.passed)], limit=40)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]", "_", name)


def _without_options(command: Command, words: Sequence[str]) -> list[str]:
    """``words`` with every ``--key=value``, ``--key value`` and ``--flag`` as ``key=value``."""
    found, rest = [], list(words)
    while rest:
        word = rest.pop(0)
        if not word.startswith("--"):
            if re.match(r"-[A-Za-z]", word):
                raise UserError(f"unknown option '{word.partition('=')[0]}'; options are key=value or --key value")
            found.append(word)
            continue
        name, equals, value = word[2:].partition("=")
        known = command.known(name)
        key = known.name if known is not None and "*" not in known.name else name.replace("-", "_")
        if not equals:
            alone = known.flag if known is not None else key in synonyms.ALONE
            if alone:
                value = rest.pop(0) if rest and rest[0] in ("true", "false") else "true"
            elif rest and not rest[0].startswith("--") and not _is_setting(command, rest[0]):
                value = rest.pop(0)
            elif known is None and not command.passed:
                raise UserError(f"unknown key '{key}'{command._nearest(key)}")
            else:
                synonyms.answer_word(key)
                raise UserError(f"'--{name}' needs a value: write {key}=…{command.meant(key) if known is None else ''}")
        found.append(f"{key}={value}")
    return found


def _is_setting(command: Command, word: str) -> bool:
    """Whether ``word`` is a ``key=value`` of its own and not the value of the option before it."""
    key, equals, _ = word.partition("=")
    return bool(equals) and (
        command.known(key) is not None or bool(command.passed and re.fullmatch(r"[a-z_][\w.]*", key))
    )

"""What a grid command asks for, read from its words: preset, launcher, axes, and what is set in every cell."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from uora_bench import compose, registry
from uora_bench.errors import UserError, nearest
from uora_bench.plan import preset

LAUNCHERS = ("print", "local", "slurm")
OWN = ("experiment", "launcher")
# text that Hydra's grammar takes for nothing else
_PLAIN = re.compile(r"(?!(?:null|true|false|nan|inf)$)[A-Za-z_][A-Za-z_/]*", re.IGNORECASE)


@dataclass(frozen=True)
class Request:
    """``axes``: key -> words' values as text, in the order given; keys with one value are axes of one."""

    experiment: str | None
    launcher: str
    options: dict[str, Any] = field(default_factory=dict)  # launcher.*
    axes: dict[str, list[str]] = field(default_factory=dict)


def read(words: list[str], launcher: str = "print") -> Request:
    """Read the words of a grid command; values may be sweeps in Hydra's grammar: ``a,b``, ``range(0,5)``,
    ``glob(glue/*)``, and for the groups ``glue/*`` too.

    Raises:
        UserError: for a word that cannot be read, a sweep over nothing, an unknown preset or launcher.
    """
    experiment: str | None = None
    options: dict[str, Any] = {}
    axes: dict[str, list[str]] = {}
    for word in words:
        key, _, text = word.partition("=")
        if key in OWN or key.startswith("launcher."):
            if not text:
                raise UserError(f"'{word}' needs a value: write {key}=…")
            if key == "experiment":
                experiment = registry.check_choice("experiment", text)
            elif key == "launcher":
                if text not in LAUNCHERS:
                    raise UserError(f"unknown launcher '{text}'{nearest(text, LAUNCHERS)}")
                launcher = text
            else:
                options[key.removeprefix("launcher.")] = compose.read_override(f"seed={text}").value()
            continue
        name, values = _axis(word)
        axes[name] = values
    return Request(experiment, launcher, options, axes)


def _axis(word: str) -> tuple[str, list[str]]:
    from hydra.core.override_parser.types import Glob, RangeSweep

    key, _, text = word.partition("=")
    if key in registry.GROUPS and any(c in text for c in "*?") and "(" not in text:
        return key, [str(v) for v in preset.values(key, text.split(","))]
    override = compose.read_override(word)
    key = override.key_or_group
    if word[0] in "+~" or override.package is not None:
        compose.compose([word])  # says what is wrong with it
    if not override.is_sweep_override():
        return key, [text]  # a plain word of a cell, whose mistakes are found where it is composed
    value = override.value()
    if isinstance(value, Glob):
        if key not in registry.GROUPS:
            raise UserError(f"'{word}': glob() chooses among files, and '{key}' is no group of configs/")
        found = value.filter(registry.choices(key))
        if not found:
            raise UserError(f"'{word}' matches nothing{nearest(text, registry.choices(key))}")
        return key, found
    if isinstance(value, RangeSweep) or override.is_choice_sweep():
        found = [_plain(v) for v in override.sweep_string_iterator()]
        if not found:
            raise UserError(f"'{word}' is an empty grid")
        return key, list(dict.fromkeys(found))
    raise UserError(f"'{word}': only lists (a,b), range() and glob() make a grid of cells")


def _plain(text: Any) -> str:
    return str(text)


def word(key: str, value: Any) -> str:
    """The word that sets ``key`` to ``value``: text as it stands, other plain values in Hydra's grammar."""
    return f"{key}={_written(value, inside=False)}"


def _written(value: Any, inside: bool = True) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ",".join(f"{k}:{_written(v)}" for k, v in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ",".join(_written(v) for v in value) + "]"
    text = str(value)
    if isinstance(value, str) and (not _PLAIN.fullmatch(text) if inside else "," in text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text

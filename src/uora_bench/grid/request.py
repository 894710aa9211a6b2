"""What a grid command asks for, read from its words: preset, launcher, axes, and what is set in every cell."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from uora_bench.config import compose, registry, synonyms
from uora_bench.errors import UserError, nearest
from uora_bench.grid import preset
from uora_bench.util.yaml_text import parse_yaml, yaml_problem

if TYPE_CHECKING:
    from hydra.core.override_parser.types import RangeSweep

_MOST = 10_000  # values of a range
_BASES = ("local", "slurm")
LAUNCHERS = ("print", *_BASES)
OWN = ("experiment", "launcher")
# what is said once for a whole grid
ONCE = ("experiment_name", "results.dir", "runs.dir", "data.root", "tracker", "force")
_TEXTS = ("partition", "account", "qos", "constraint", "extra")  # options of sbatch, in its own grammar
# text that Hydra's grammar takes for nothing else
_PLAIN = re.compile(r"(?!(?:null|true|false|nan|inf)$)[A-Za-z_][A-Za-z_/]*", re.IGNORECASE)


@dataclass(frozen=True)
class GridRequest:
    """``axes``: key -> words' values as text, in the order given; keys with one value are axes of one."""

    experiment: str | None
    launcher: str
    options: dict[str, Any] = field(default_factory=dict)  # launcher.*
    axes: dict[str, list[str]] = field(default_factory=dict)


def read_request(words: list[str], launcher: str = "print") -> GridRequest:
    """Read the words of a grid command.

    Values may be sweeps in Hydra's grammar: ``a,b``, ``range(0,5)``, ``glob(glue/*)``, and for the groups ``glue/*``
    too.

    Raises:
        UserError: for a word that cannot be read, a sweep over nothing, an unknown preset or launcher.
    """
    experiment: str | None = None
    options: dict[str, Any] = {}
    own: dict[str, Any] = {}  # of a launcher's file
    axes: dict[str, list[str]] = {}
    for word in synonyms.canonical_once(words):
        key, _, text = word.partition("=")
        if key in OWN or key.startswith("launcher."):
            if not text:
                raise UserError(f"'{word}' needs a value: write {key}=…")
            if key == "experiment":
                preset.load_experiment(text)  # says what is wrong with it
                experiment = text
            elif key == "launcher":
                launcher, own = _launcher(text)
            else:
                options[key.removeprefix("launcher.")] = _option(key.removeprefix("launcher."), text)
            continue
        name, values = _axis(word)
        axes[name] = values
    for key, values in axes.items():
        if key in ONCE and len(values) > 1:
            raise UserError(f"a grid has one {key}, and {key}={','.join(values)} names {len(values)}; run one each")
        if key == "dry_run" and values != ["false"]:
            raise UserError("dry_run=true describes one cell; for a grid take uora-bench plan, which runs nothing")
    return GridRequest(experiment, launcher, {**own, **options}, axes)


def _launcher(name: str) -> tuple[str, dict[str, Any]]:
    """The built-in launcher that ``name`` refers to, and the options that a file of the user's own sets.

    Such a file names the built-in one as ``base``.
    """
    if name in LAUNCHERS:
        return name, {}
    own = {one: path for one, path in registry.files("launcher").items() if one not in LAUNCHERS}
    if name not in own:
        raise UserError(f"unknown launcher '{name}'{nearest(name, (*LAUNCHERS, *own))}")
    import yaml

    try:
        data = parse_yaml(own[name].read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"'{own[name]}' is not YAML: {yaml_problem(error)}") from None
    base = data.pop("base", None) if isinstance(data, dict) else None
    if base not in _BASES:
        raise UserError(f"'{own[name]}' must say which launcher it sets options of: base: {' or base: '.join(_BASES)}")
    return base, data


def _axis(word: str) -> tuple[str, list[str]]:
    from hydra.core.override_parser.types import Glob, RangeSweep

    key, _, text = word.partition("=")
    if key in registry.GROUPS and any(c in text for c in "*?") and "(" not in text:
        return key, [Given(v) for v in preset.values(key, text.split(","))]
    override = compose.read_override(word)
    key = override.key_or_group
    if word[0] in "+~" or override.package is not None:
        compose.compose([word])  # says what is wrong with it
    if not override.is_sweep_override():
        # text outside Hydra's grammar (train[:64]) may be a list all the same
        parts = _split(text) if text[:1] not in "\"'[{" else [text]
        return key, [Given(part) for part in dict.fromkeys(parts)]
    value = override.value()
    if isinstance(value, Glob):
        if key not in registry.GROUPS:
            raise UserError(f"'{word}': glob() chooses among files, and '{key}' is no group of configs/")
        found = value.filter(registry.choices(key))
        if not found:
            raise UserError(f"'{word}' matches nothing{nearest(text, registry.choices(key))}")
        return key, [Given(name) for name in found]
    if isinstance(value, RangeSweep) or override.is_choice_sweep():
        if isinstance(value, RangeSweep):
            _check_range(word, value)
        found = [Given(v) for v in override.sweep_string_iterator()]
        if not found:
            raise UserError(f"'{word}' is an empty grid")
        return key, list(dict.fromkeys(found))
    raise UserError(f"'{word}': only lists (a,b), range() and glob() make a grid of cells")


def _check_range(word: str, found: RangeSweep) -> None:
    """Raise `UserError` for a range without a step, or of more values than anybody means."""
    start, stop, step = (float(part) for part in (found.start or 0, found.stop or 0, found.step))
    if not step:
        raise UserError(f"'{word}': the step of a range must not be 0")
    if (stop - start) / step > _MOST:
        raise UserError(f"'{word}' has more than {_MOST:,} values; give a shorter range")


class Given(str):
    """A value as it was given on the command line, in Hydra's grammar: it goes into a cell's words as it is."""

    __slots__ = ()


def _split(text: str) -> list[str]:
    """``text`` at its commas outside brackets."""
    parts, depth = [""], 0
    for character in text:
        depth += (character in "[{(") - (character in "]})")
        if character == "," and not depth:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def _option(key: str, text: str) -> Any:
    if key.split(".")[0] in _TEXTS:
        # switches are the exception: launcher.extra.hold=true
        return {"null": None, "true": True, "false": False}.get(text, text)
    override = compose.read_override(f"launcher.{key}={text}")
    if override.is_sweep_override():  # launcher.gpus=0,1
        return [compose.read_override(f"launcher.{key}={part}").value() for part in _split(text)]
    return override.value()


def word(key: str, value: Any) -> str:
    """The word that sets ``key`` to ``value``: text as it stands, other plain values in Hydra's grammar."""
    return f"{key}={value if isinstance(value, Given) else _written(value, inside=False)}"


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

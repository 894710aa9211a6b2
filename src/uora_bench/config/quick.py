"""What Hydra makes of the chosen groups, for a grid of a thousand cells: the same files, read and laid into each other.

Hydra takes a tenth of a second per composition. The files of configs/ use little of what it can do: a task starts from
its family's file (``/task/glue/_family@_here_``) and may choose the default backbone; the others are plain values.
A file that does more is left to Hydra. Tests hold the two against each other.
"""

from __future__ import annotations

import functools
import pickle
from collections.abc import Mapping
from typing import Any

from uora_bench.config import compose, registry

_BACKBONE = "override /backbone@_global_.backbone"


def put_together(groups: Mapping[str, str]) -> dict[str, Any]:
    """The configuration of ``groups``, before recipe values and command line are laid over it."""
    made: dict[str, Any] = pickle.loads(_put_together(tuple(sorted(groups.items()))))
    return made


@functools.lru_cache(maxsize=4096)
def _put_together(chosen: tuple[tuple[str, str], ...]) -> bytes:
    """`put_together`, as bytes: reading them is the fastest way to a copy of one's own."""
    groups = dict(chosen)
    try:
        config = dict(_defaults())
        if "task" in groups:
            config["task"], backbone = _task(groups["task"])
            if backbone is not None:
                config["backbone"] = _plain("backbone", backbone)
        for group in ("backbone", "method", "tracker", "trainer"):
            if group in groups:
                config[group] = _plain(group, groups[group])
        config.pop("recipe", None)
        recipe = groups.get("recipe", f"{config['method']['name']}/{config['backbone']['name']}")
        if "recipe" in groups or (registry.configs_dir() / "recipe" / f"{recipe}.yaml").is_file():
            config["recipe"] = _plain("recipe", recipe)
    except _NotPlain:
        config = compose._compose_groups(groups)
    return pickle.dumps(config)


class _NotPlain(Exception):
    """A file that only Hydra can compose."""


@functools.cache
def _defaults() -> dict[str, Any]:
    return compose._compose_groups({})


@functools.cache
def _plain(group: str, name: str) -> Any:
    """A file that composes nothing itself."""
    content = _file(f"{group}/{name}")
    if "defaults" in content:
        raise _NotPlain
    return content


@functools.cache
def _task(name: str) -> tuple[dict[str, Any], str | None]:
    """(the task's values, the backbone it chooses or None)."""
    own = dict(_file(f"task/{name}"))
    values: dict[str, Any] = {}
    backbone: str | None = None
    for entry in own.pop("defaults", []):
        if isinstance(entry, str) and entry.startswith("/task/") and entry.endswith("@_here_"):
            base = _file(entry.removesuffix("@_here_").lstrip("/"))
            if "defaults" in base:
                raise _NotPlain
            values = _merged(values, base)
        elif isinstance(entry, dict) and list(entry) == [_BACKBONE]:
            backbone = entry[_BACKBONE]
        else:
            raise _NotPlain
    return _merged(values, own), backbone


def _merged(under: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """Mappings entry by entry, everything else replaced."""
    merged = dict(under)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merged(merged[key], value) if both else value
    return merged


@functools.cache
def _file(name: str) -> dict[str, Any]:
    import yaml

    text = (registry.configs_dir() / f"{name}.yaml").read_text("utf-8")
    if "${" in text:
        raise _NotPlain
    content: dict[str, Any] = yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return content

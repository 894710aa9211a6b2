"""``uora-bench list [what]``: the names that a key takes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from uora_bench.cli.parser import Command, Given
from uora_bench.config import plugins, registry, synonyms
from uora_bench.errors import UserError, nearest

# what can be listed -> the folder of configs/
_GROUPS = {
    "methods": "method",
    "tasks": "task",
    "backbones": "backbone",
    "recipes": "recipe",
    "experiments": "experiment",
    "trackers": "tracker",
    "theory": "theory",
}
_WHAT = (*_GROUPS, "launchers", "plugins", "commands", "synonyms")


def _act(given: Given) -> int:
    if given.names:
        for name in _names(_plural(given.names[0])):
            print(name)
        return 0
    width = max(map(len, _WHAT))
    for what in _WHAT:
        print(f"{what:<{width}}  {len(_names(what)):4d}  uora-bench list {what}")
    return 0


def _plural(word: str) -> str:
    found = next((what for what in _WHAT if word in (what, what.removesuffix("s"))), None)
    if found is None:
        raise UserError(f"nothing here is called '{word}'{nearest(word, _WHAT, limit=20)}")
    return found


def _names(what: str) -> Sequence[str]:
    if what == "commands":
        from uora_bench.cli.main import MODULES

        return list(MODULES)
    if what == "synonyms":
        rows = synonyms.others()
        width = max(map(len, rows))
        return [f"{word:<{width}}  {key}" for word, key in sorted(rows.items())]
    if what == "plugins":
        return [describe(plugin) for plugin in plugins.active()]
    if what == "launchers":
        return ["print", *registry.choices("launcher")]
    return registry.choices(_GROUPS[what])


def describe(plugin: plugins.Plugin) -> str:
    """One line: name, version, where it is and why it is in use; a folder that has the name is said once."""
    here = f"./{plugins.HERE}"
    place = here if plugin.origin == here else str(plugin.folder)
    name = "" if Path(place).name == plugin.name else f"{plugin.name}: "
    version = f", version {plugin.version}" if plugin.version else ""
    return f"{name}{place}{version}" + ("" if place == here else f" ({plugin.origin})")


COMMAND = Command(
    "list",
    "print the names of methods, tasks, backbones, experiments …",
    _act,
    words="[what]",
    most=1,
    about=(f"what: {', '.join(_WHAT)} (or one of them in the singular)",),
    examples=("list", "list methods", "list tasks"),
)

"""What a setting means: its comments in the files of configs/, and of plug-ins, with the values that it has there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from uora_bench.config import registry, synonyms
from uora_bench.config.yaml_comments import YamlKey, yaml_keys
from uora_bench.errors import UserError, nearest

# groups whose keys are set by ``<group>.<key>=`` -> what their files are called by
_GROUPS = {"method": "method", "task": "task", "backbone": "backbone", "trainer": "", "tracker": "tracker",
           "launcher": "launcher"}  # fmt: skip
_OF_FILES = {"table": "docs/tables.md", "search": "docs/searches.md", "launcher.race": "docs/searches.md"}
_MOST = 6  # names of files that are listed


def describe_setting(asked: str) -> list[str]:
    """Lines for people about the setting ``asked``, by any of its names.

    Raises:
        UserError: when no file has it.
    """
    key = synonyms.key_of(asked)
    found: dict[tuple[str, str], list[str]] = {}
    known: set[str] = set()
    for where, one, name in _every_key():
        known.add(name)
        if name == key:
            found.setdefault((one.value, one.comment), []).append(where)
    if not found:
        page = next((page for group, page in _OF_FILES.items() if key.startswith(f"{group}.")), None)
        if page is not None:
            raise UserError(f"'{asked}' is a key of experiments, not a setting of a cell; {page} explains it")
        raise UserError(f"no setting is called '{asked}'{nearest(key, known, synonyms=synonyms.others())}")
    also = ", ".join(sorted(other for other, mine in synonyms.KEYS.items() if mine == key))
    lines = [f"{key}  (also: {also})" if also else key]
    for (value, comment), places in found.items():
        shown = ", ".join(dict.fromkeys(filter(None, places[:_MOST])))
        more = f" and {len(places) - _MOST} more" if len(places) > _MOST else ""
        where = f"{shown}{more}: " if shown else ""
        lines.append(f"  {where}default {value or 'a list'}{f'; {comment}' if comment else ''}")
    if key.startswith(("method.", "trainer.")):
        lines.append("  a recipe may set it for a method and a backbone: dry_run=true shows what a cell uses, and why")
    return lines


def _every_key() -> Iterator[tuple[str, YamlKey, str]]:
    """(the choice that the file is of, a key in it, that key as it is set) of every file."""
    for one in yaml_keys(registry.configs_dir() / "config.yaml"):
        if not one.name.startswith("defaults"):
            yield "", one, one.name
    for root in registry.roots():
        for group, label in _GROUPS.items():
            for path in sorted((root / group).rglob("*.yaml")):
                where = f"{label}={_name(path, root / group)}" if label else ""
                for one in yaml_keys(path):
                    yield where, one, f"{group}.{one.name}"


def _name(path: Path, folder: Path) -> str:
    """What ``<group>=`` calls the file; the folder of one that others share."""
    name = path.relative_to(folder).with_suffix("")
    return (name.parent / "*").as_posix() if name.name.startswith("_") else name.as_posix()

"""The comments behind the keys of a YAML file: what a setting means, for `uora-bench explain` and the reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class YamlKey:
    """A key with its path (``data.root``), its value as the file writes it, and the comment behind it."""

    name: str
    value: str
    comment: str


def yaml_keys(path: Path) -> list[YamlKey]:
    """The keys of a YAML file in order; a nested mapping counts by its own keys."""
    import yaml

    text = path.read_text("utf-8")
    lines = text.splitlines()
    node = yaml.compose(text)
    return [] if node is None else list(_keys(node, lines, ""))


def _keys(node: Any, lines: list[str], prefix: str) -> Iterator[YamlKey]:
    import yaml

    for key, value in node.value:
        name = f"{prefix}{key.value}"
        nested = isinstance(value, yaml.MappingNode) and not value.flow_style
        if nested:
            yield from _keys(value, lines, f"{name}.")
            continue
        end = value.end_mark
        block = isinstance(value, yaml.SequenceNode) and not value.flow_style
        shown = "" if block else lines[value.start_mark.line][value.start_mark.column : end.column]
        line = key.start_mark.line if block else end.line
        yield YamlKey(name, shown.strip(), _comment(lines, line, 0 if block else end.column, key.start_mark.column))


def _comment(lines: list[str], line: int, column: int, indent: int) -> str:
    """The comment behind a value and its continuation: lines of nothing else that begin further right than the key."""
    rest = lines[line][column:]
    found = [rest.partition("#")[2].strip()] if "#" in rest else []
    for later in lines[line + 1 :] if found else []:
        bare = later.strip()
        if not bare.startswith("#") or len(later) - len(later.lstrip()) <= indent:
            break
        found.append(bare.lstrip("# "))
    return " ".join(found)

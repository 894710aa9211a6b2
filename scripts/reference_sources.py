"""Reads what reference pages are made of: comments behind the keys of a YAML file and behind fields of dataclasses."""

from __future__ import annotations

import inspect
import io
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path

import yaml


@dataclass(frozen=True)
class YamlKey:
    """A key with its path (``data.root``), its value as the file writes it, and the comment behind it."""

    name: str
    value: str
    comment: str


def yaml_keys(path: Path) -> list[YamlKey]:
    """The keys of a YAML file in order; a nested mapping counts by its own keys."""
    text = path.read_text("utf-8")
    lines = text.splitlines()
    node = yaml.compose(text)
    return [] if node is None else list(_keys(node, lines, ""))


def _keys(node: yaml.MappingNode, lines: list[str], prefix: str) -> Iterator[YamlKey]:
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


def leading_comment(path: Path) -> str:
    """The comment that a YAML file begins with, as one paragraph."""
    found = []
    for line in path.read_text("utf-8").splitlines():
        if not line.startswith("#"):
            break
        found.append(line.lstrip("# "))
    return " ".join(found).replace("|", r"\|").replace("<", "&lt;")


def comments_of_fields(cls: type) -> dict[str, str]:
    """The comments behind the fields of a dataclass and of the dataclasses that it derives from."""
    found: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        if is_dataclass(one):
            found |= _comments(inspect.getsource(one))
    return {name: text for name, text in found.items() if name in {f.name for f in fields(cls)}}


def _comments(source: str) -> dict[str, str]:
    found: dict[str, str] = {}
    name, depth = "", 0
    for token in tokenize.generate_tokens(io.StringIO(inspect.cleandoc(source)).readline):
        if token.type == tokenize.INDENT:
            depth += 1
        elif token.type == tokenize.DEDENT:
            depth -= 1
        elif token.type == tokenize.NAME and depth == 1 and not token.line[: token.start[1]].strip():
            name = token.string
        elif token.type == tokenize.COMMENT and depth == 1 and name and token.line[: token.start[1]].strip():
            found[name] = token.string.lstrip("# ")
    return found

"""Reads what reference pages are made of: comments behind the keys of a YAML file and behind fields of dataclasses."""

from __future__ import annotations

import inspect
import io
import tokenize
from dataclasses import fields, is_dataclass
from pathlib import Path

from uora_bench.config.yaml_comments import yaml_keys as yaml_keys


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

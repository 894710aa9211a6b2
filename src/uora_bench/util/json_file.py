"""JSON files of the suite's own that carry a schema: plans, searches, races, envelopes."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

from uora_bench.errors import UserError
from uora_bench.util import atomic
from uora_bench.util.schema import build, plain
from uora_bench.util.words import clause

T = TypeVar("T")


def write_json(path: Path, value: Any) -> Path:
    """Write the dataclass ``value`` to ``path``, whole or not at all; returns ``path``."""
    atomic.write_text(path, json.dumps(plain(value), indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return path


def read_json(path: Path, cls: type[T], schema: int, what: str, remedy: str) -> T:
    """The ``cls`` that `write_json` wrote to ``path``.

    ``what``: what the file is, for messages (``plan``); ``remedy``: how it is made anew.

    Raises:
        UserError: for a file that cannot be read, or is no ``cls`` of this ``schema``.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        json.dumps(data, ensure_ascii=False).encode("utf-8")  # half of a character cannot be printed
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(
            f"cannot read the {what} '{path}': {clause(str(error).splitlines()[0][:100])}; {remedy}"
        ) from None
    if not isinstance(data, dict) or data.get("schema") != schema:
        raise UserError(f"'{path}' is not a {what} of this version; {remedy}")
    return build(cls, data, f"{what} {path.stem}")


def sha256_of(value: Any) -> str:
    """Of everything in the dataclass ``value`` but its own field ``sha256``."""
    text = json.dumps({k: v for k, v in plain(value).items() if k != "sha256"}, sort_keys=True, ensure_ascii=False)
    # through JSON once, so that a file read back and what was written are the same data
    canonical = json.dumps(json.loads(text), sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()

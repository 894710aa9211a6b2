"""Files of JSON lines, read strictly: a mistake is named by its line."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path
from typing import Any

from uora_bench.errors import UserError


def json_lines(path: Path) -> list[tuple[int, Any]]:
    """`parse_lines` of a file; ``.gz`` is unpacked.

    Raises:
        UserError: when it cannot be read, or a line is not JSON.
    """
    try:
        raw = path.read_bytes()
        return parse_lines(gzip.decompress(raw) if path.suffix == ".gz" else raw, path)
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} cannot be read: {error}") from None


def parse_lines(raw: bytes, path: Path) -> list[tuple[int, Any]]:
    """(line number, value) of every line of JSON lines that is not blank; ``path`` names them in messages."""
    values = []
    for number, line in enumerate(raw.split(b"\n"), 1):  # not splitlines: a text may hold other line ends
        if line.strip():
            try:
                values.append((number, json.loads(line)))
            except (ValueError, RecursionError) as error:
                raise UserError(f"{path} line {number} is not JSON: {error}") from None
    return values

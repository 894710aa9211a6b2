"""JSON files of the suite's own: what cannot be read, or printed, is refused in one line."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import pytest

from uora_bench.errors import UserError
from uora_bench.util.json_file import read_json, write_json


@dataclass(frozen=True)
class Kept:
    schema: int
    name: str


def test_what_was_written_is_read_again(tmp_path: Path) -> None:
    path = write_json(tmp_path / "kept.json", Kept(1, "ä"))
    assert read_json(path, Kept, 1, "file", "make it anew") == Kept(1, "ä")
    with pytest.raises(ValueError):
        write_json(path, {"value": math.nan})


@pytest.mark.parametrize(
    "text", [b"", b"[]", b"\xff", b"[" * 10**5, b'{"schema": 2}', b'{"schema": 1, "name": "\\ud800"}']
)
def test_what_is_no_such_file_is_refused_in_one_line_with_the_remedy(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "kept.json"
    path.write_bytes(text)
    with pytest.raises(UserError, match="make it anew") as caught:
        read_json(path, Kept, 1, "file", "make it anew")
    assert "\n" not in str(caught.value)

"""Files that are there whole or not at all, and what a killed writer leaves."""

import os
from pathlib import Path

from uora_bench.util import atomic


def test_what_a_killed_writer_left_is_removed_by_the_next_one_but_not_what_is_being_written(tmp_path: Path) -> None:
    old, new, other = (tmp_path / name for name in (".x.json.1.aa.tmp", ".x.json.2.bb.tmp", ".y.json.1.aa.tmp"))
    for path in (old, new, other):
        path.write_text("half")
    for path in (old, other):
        os.utime(path, (0, 0))
    atomic.write_text(tmp_path / "x.json", "whole")
    assert sorted(tmp_path.iterdir()) == sorted([new, other, tmp_path / "x.json"])

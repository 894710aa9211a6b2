"""A name from outside stays below its folder, or is refused in one line."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uora_bench.errors import UserError
from uora_bench.util.inside import inside, is_folder_name

OUT = ("..", "../x", "a/../../x", "a/..", "/etc/passwd", "//x", "", ".", "./a", "a//b", "a/", "C:/x", "C:x", "a\\b",
       "..\\x", "a\nb", "a\0b", "\\\\host\\share")  # fmt: skip


@pytest.mark.parametrize("name", OUT)
def test_a_name_that_leads_out_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="leads out of its folder") as caught:
        inside(tmp_path, name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a", "a/b.json", "..a", "a..b/c..", "é ü/x", "a-b_c.d"])
def test_other_names_are_joined(name: str, tmp_path: Path) -> None:
    assert inside(tmp_path, name) == tmp_path / name


@pytest.mark.parametrize("name", [*OUT, "a/b", ".hidden", "a.", " a", "a\u202eb"])
def test_what_is_no_name_of_one_folder(name: str) -> None:
    assert not is_folder_name(name)


@pytest.mark.parametrize("name", ["a", "a b-c_d.e", "über", "实验"])
def test_what_is_one(name: str) -> None:
    assert is_folder_name(name)


@given(st.lists(st.sampled_from(["a", "..", ".", "", "/", "\\", "C:", "b.c"]), max_size=5).map("/".join))
def test_whatever_passes_is_below(name: str) -> None:
    root, made = Path("/some/root"), Path("/some/root/refused")
    with suppress(UserError):
        made = inside(root, name)
    assert made.resolve().is_relative_to(root)
    assert made != root

"""Splits and parts of them: which may share rows."""

from __future__ import annotations

import pytest

from uora_bench.config.split_parts import may_share_rows, split_parts
from uora_bench.errors import UserError


@pytest.mark.parametrize(
    ("one", "other", "shared"),
    [
        ("train", "train", True),
        ("train", "validation", False),
        ("train[:80%]", "train[80%:]", False),
        ("train[:80%]", "train[79%:]", True),
        ("train[:80%]", "train[:10%]", True),
        ("train[100:200]", "train[200:300]", False),
        ("train[100:200]", "train[:101]", True),
        ("train[:100]", "train[90%:]", True),  # nobody knows without the rows
        ("train[:40%]+train[60%:]", "train[40%:60%]", False),
        ("train[:40%]+test", "validation+test[5:]", True),
    ],
)
def test_parts_that_share_rows(one: str, other: str, shared: bool) -> None:
    assert may_share_rows(one, other) is may_share_rows(other, one) is shared


def test_a_part_is_printed_as_it_was_written() -> None:
    for text in ("train", "train[:80%]", "train[1:]", "train[:]"):
        assert str(split_parts(text)[0]) == text
    with pytest.raises(UserError, match=r"of the form name or name\[a:b\]"):
        split_parts("train[80%")
    for text in ("train[95%:40%]", "train[100%:]", "train[:0]", "train[7:7]"):
        with pytest.raises(UserError, match="has no rows; write the lower edge first"):
            split_parts(text)

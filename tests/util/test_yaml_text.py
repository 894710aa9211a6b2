"""What YAML may not do here: name a key twice, grow without end, hold itself."""

from __future__ import annotations

import time

import pytest
import yaml

from uora_bench.util.yaml_text import parse_yaml

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (BOMB, "stand for more than 100,000 values"),
        ("a: &a [*a]\n", "itself a part of"),
        ("a: " + "[" * 2000 + "]" * 2000, "nested too deeply"),
        ("a: " + "{a: " * 2000 + "1" + "}" * 2000, "nested too deeply"),
        ("a: 1\na: 2\n", "'a' occurs twice"),
    ],
)
def test_it_is_refused_at_once(text: str, said: str) -> None:
    started = time.perf_counter()
    with pytest.raises(yaml.YAMLError, match=said):
        parse_yaml(text)
    assert time.perf_counter() - started < 5


def test_plain_files_and_their_aliases_are_read() -> None:
    assert parse_yaml("a: &a {b: [1, 2]}\nc: *a\n") == {"a": {"b": [1, 2]}, "c": {"b": [1, 2]}}
    assert parse_yaml("") is None
    assert parse_yaml("text") == "text"

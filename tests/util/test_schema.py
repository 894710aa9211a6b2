"""Strict conversion: only an exact fit gets through; what does not fit is one line with the path of the key."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from uora_bench.errors import UserError, nearest
from uora_bench.util.schema import build, plain


@dataclass(frozen=True)
class Inner:
    path: str
    part: int = 0


@dataclass(frozen=True)
class Outer:
    count: int
    rate: float
    on: bool
    kind: Literal["linear", "constant"]
    names: tuple[str, ...]
    inner: Inner
    limit: int | None = None
    named: dict[str, Inner] = field(default_factory=dict)
    free: dict[str, Any] = field(default_factory=dict)


GOOD: dict[str, Any] = {
    "count": 3, "rate": 0.5, "on": True, "kind": "linear", "names": ["q", "v"], "inner": {"path": "a.b"},
}  # fmt: skip


def refusal(**changes: Any) -> str:
    """The message for `GOOD` with ``changes``; it is one line."""
    with pytest.raises(UserError) as caught:
        build(Outer, {**GOOD, **changes}, "trainer")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_fitting_mapping_becomes_the_dataclass_with_its_defaults() -> None:
    made = build(Outer, {**GOOD, "named": {"q": {"path": "x", "part": 2}}})
    assert made == Outer(3, 0.5, True, "linear", ("q", "v"), Inner("a.b", 0), None, {"q": Inner("x", 2)}, {})


def test_the_only_conversion_is_from_a_whole_number_to_a_number() -> None:
    made = build(Outer, {**GOOD, "rate": 2})
    assert made.rate == 2.0
    assert type(made.rate) is float


def test_null_is_taken_only_where_the_type_says_so() -> None:
    assert build(Outer, {**GOOD, "limit": None}).limit is None
    assert build(Outer, {**GOOD, "limit": 4}).limit == 4
    for name in ("count", "rate", "on", "kind", "names", "inner", "named"):
        assert f"trainer.{name}" in refusal(**{name: None})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("count", 3.0), ("count", "3"), ("count", True), ("count", [3]),
        ("rate", "0.5"), ("rate", True), ("rate", [0.5]),
        ("on", 1), ("on", "true"),
        ("kind", "linar"), ("kind", 1), ("kind", True),
        ("names", "q"), ("names", ["q", 1]), ("names", {"q": 1}),
        ("inner", "a.b"), ("inner", [1]), ("inner", {"path": 1}), ("inner", {"path": "a", "part": "0"}),
        ("limit", "4"), ("limit", 4.0), ("limit", False),
        ("named", ["q"]), ("named", {"q": "x"}), ("free", 3),
    ],
)  # fmt: skip
def test_a_wrong_type_is_one_line_that_names_the_key(name: str, value: object) -> None:
    assert f"trainer.{name}" in refusal(**{name: value})


def test_a_wrong_choice_says_the_choices_and_the_nearest() -> None:
    message = refusal(kind="linar")
    assert "linear, constant" in message
    assert "did you mean 'linear'?" in message


def test_the_place_inside_a_list_or_mapping_is_named() -> None:
    assert "trainer.names[1]=7" in refusal(names=["q", 7])
    assert "trainer.named.q.part='x'" in refusal(named={"q": {"path": "a", "part": "x"}})


def test_an_unknown_key_names_the_nearest_with_its_path() -> None:
    assert refusal(cuont=3).endswith("unknown key 'trainer.cuont'; did you mean 'trainer.count'?")
    assert "did you mean 'trainer.inner.path'?" in refusal(inner={"path": "a", "pth": "b"})


def test_a_missing_key_is_named() -> None:
    for name in GOOD:
        with pytest.raises(UserError, match=f"^'{name}' is missing$"):
            build(Outer, {k: v for k, v in GOOD.items() if k != name})


def test_what_is_no_mapping_is_refused() -> None:
    with pytest.raises(UserError, match="must be a mapping"):
        build(Outer, [1, 2], "trainer")  # type: ignore[arg-type]


names = st.text(st.characters(codec="utf-8"), max_size=6)
numbers = st.floats(allow_nan=False, allow_infinity=False)
inners = st.builds(Inner, names, st.integers())


@given(
    st.builds(
        Outer,
        st.integers(),
        numbers,
        st.booleans(),
        st.sampled_from(["linear", "constant"]),
        st.lists(names, max_size=3).map(tuple),
        inners,
        st.none() | st.integers(),
        st.dictionaries(names, inners, max_size=3),
        st.dictionaries(names, st.integers() | names, max_size=3),
    )
)
def test_plain_and_build_are_inverse_through_json(value: Outer) -> None:
    assert build(Outer, json.loads(json.dumps(plain(value)))) == value


def test_nearest_finds_a_key_given_without_or_with_the_wrong_group() -> None:
    keys = ["method.rank", "trainer.epochs", "trainer.lr_head", "seed"]
    assert nearest("rank", keys) == "; did you mean 'method.rank'?"
    assert nearest("method.epochs", keys) == "; did you mean 'trainer.epochs'?"
    assert nearest("epoch", keys) == "; did you mean 'trainer.epochs'?"
    assert nearest("sed", keys) == "; did you mean 'seed'?"


def test_nearest_lists_the_names_when_nothing_is_close() -> None:
    assert nearest("zzzz", ["b", "a"]) == "; valid: a, b"
    assert nearest("zzzz", [f"a{i}" for i in range(9)], limit=2) == "; valid: a0, a1 …"
    assert nearest("zzzz", []) == nearest("zzzz", [""]) == ""


def test_a_long_list_has_what_is_wanted_first() -> None:
    keys = [f"backbone.architecture.{i}" for i in range(20)] + ["method.rank", "method.alpha", "method", "seed", "a.b"]
    assert nearest("zzzz", keys, synonyms={}) == "; valid: method, seed, a.…, backbone.…"
    assert nearest("zz.yy", keys, synonyms={}) == "; valid: a.…, backbone.…, method.…"
    assert nearest("zzzz", [f"lora x.y={i}" for i in range(9)], limit=1) == "; valid: lora x.y=0 …"  # no keys
    assert (
        nearest("method.zzzz", keys, synonyms={}) == "; valid: method.alpha, method.rank"
    )  # the group alone makes nothing alike
    assert nearest("method.alhpa", keys) == "; did you mean 'method.alpha'?"
    assert nearest("method.lora_alph", keys, synonyms={"method.lora_alpha": "method.alpha"}) == (
        "; did you mean 'method.lora_alpha' (method.alpha)?"
    )
    assert "tasks" not in nearest("method.taks", keys, synonyms={"tasks": "task"})


def test_a_number_for_a_text_is_answered_with_how_to_quote_it() -> None:
    with pytest.raises(UserError, match=r"""write it in quotes, "5" \(in a shell: 'names=\["5",…\]'\)"""):
        build(Outer, {**GOOD, "names": [5]})
    with pytest.raises(UserError, match=r"""in a shell: 'inner.path="true"'"""):
        build(Outer, {**GOOD, "inner": {"path": True}})


@pytest.mark.parametrize("word", [".", ".rank", "method.", "..", ""])
def test_a_word_with_an_empty_part_is_answered_too(word: str) -> None:
    assert nearest(word, ["method.rank", "method.alpha", "seed"])

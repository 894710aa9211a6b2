"""The draw of train, dev and test: disjoint, whole, stratified to within one row, blind to the order of the rows."""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uora_bench.data.random_split import random_split

SHARES = st.tuples(st.floats(0.01, 0.6), st.floats(0.0, 0.35)).map(lambda pair: {"dev": pair[0], "test": pair[1]})
PINNED = {"dev": [4, 20, 28], "test": [0, 2, 11]}
ROWS = st.lists(st.tuples(st.text("ab", max_size=3), st.sampled_from("xyz")), min_size=1, max_size=80)


@settings(max_examples=150, deadline=None)
@given(ROWS, SHARES, st.integers(0, 3), st.randoms(use_true_random=False))
def test_a_split_is_whole_stratified_and_does_not_know_the_order(
    rows: list[tuple[str, str]], shares: dict[str, float], seed: int, draw: random.Random
) -> None:
    texts, classes = [text for text, _ in rows], [name for _, name in rows]
    parts = random_split(texts, classes, shares, seed)
    assert sorted(n for numbers in parts.values() for n in numbers) == list(range(len(rows)))
    whole = {"train": 1 - sum(shares.values()), **shares}
    for name, count in Counter(classes).items():
        for part, share in whole.items():
            own = sum(classes[n] == name for n in parts[part])
            assert abs(own - share * count) < 1 + 1e-6, (name, part)
        assert any(classes[n] == name for n in parts["train"])
    shuffled = rows.copy()
    draw.shuffle(shuffled)
    again = random_split([text for text, _ in shuffled], [name for _, name in shuffled], shares, seed)
    for part in parts:
        assert Counter(rows[n] for n in parts[part]) == Counter(shuffled[n] for n in again[part])


@pytest.mark.parametrize("rows_of_each", [2, 3, 5, 7])
def test_many_small_classes_leave_every_part_its_share(rows_of_each: int) -> None:
    classes = [f"class {i}" for i in range(60) for _ in range(rows_of_each)]
    texts = [str(i) for i in range(len(classes))]
    parts = random_split(texts, classes, {"dev": 0.1, "test": 0.2}, 0)
    for part, share in (("dev", 0.1), ("test", 0.2)):
        assert len(parts[part]) == pytest.approx(share * len(texts), abs=1.01)


def test_a_split_is_the_same_everywhere_and_another_for_another_seed() -> None:
    texts = [f"text {i}" for i in range(30)]
    drawn = random_split(texts, [""] * 30, {"dev": 0.1, "test": 0.1}, 0)
    assert {part: drawn[part].tolist() for part in ("dev", "test")} == PINNED
    other = random_split(texts, [""] * 30, {"dev": 0.1, "test": 0.1}, 1)
    assert other["dev"].tolist() != PINNED["dev"]

"""The cache of tokens: what it gives is what the tokenizer gives, and a file never stands for anything else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from uora_bench.data import tokens
from uora_bench.data.tokens import TokenCache

WORDS = ["[UNK]", "[PAD]", "a", "b", "c", "d"]


class Counted:
    """A tokenizer that says how often it was called."""

    def __init__(self, words=WORDS, **options):
        backend = Tokenizer(models.WordLevel({w: i for i, w in enumerate(words)}, unk_token="[UNK]"))
        backend.pre_tokenizer = pre_tokenizers.Whitespace()
        self.inner = PreTrainedTokenizerFast(
            tokenizer_object=backend, unk_token="[UNK]", pad_token="[PAD]",
            model_input_names=["input_ids", "token_type_ids", "attention_mask"], **options,
        )  # fmt: skip
        self.calls = 0

    def __call__(self, *texts, **options):
        self.calls += 1
        return self.inner(*texts, **options)

    def __getattr__(self, name):
        return getattr(self.inner, name)


@pytest.fixture(autouse=True)
def _keep_few(monkeypatch):
    monkeypatch.setattr(tokens, "_FEWEST_TEXTS", 2)


def lists(found):
    return {name: [row.tolist() for row in column] for name, column in found.items()}


texts = st.lists(st.lists(st.sampled_from("abcdz"), max_size=6).map(" ".join), min_size=1, max_size=9)


@settings(max_examples=40, deadline=None)
@given(rows=texts, pairs=st.booleans(), width=st.integers(1, 6))
def test_first_and_second_call_give_what_the_tokenizer_gives(tmp_path_factory, rows, pairs, width):
    cache, processor = TokenCache(tmp_path_factory.mktemp("tokens")), Counted()
    columns = [rows, rows[::-1]] if pairs else [rows]
    options = {"truncation": "longest_first", "max_length": max(width, 2)}
    want = processor.inner(*columns, **options)
    for _ in range(2):
        found = cache(processor, columns, **options)
        assert lists(found) == {k: v for k, v in want.items() if k != "attention_mask"}
        assert all(column.flat.dtype == np.int32 for column in found.values())
    assert processor.calls == (1 if len(rows) >= 2 else 2)


def test_another_text_option_or_tokenizer_is_another_file(tmp_path):
    rows = ["a b c", "d c b"]
    for processor, columns, options in (
        (Counted(), [rows], {}),
        (Counted(), [rows], {"truncation": True, "max_length": 2}),
        (Counted(), [["a b c", "d c a"]], {}),
        (Counted(), [["a b c"], ["d c b"]], {}),
        (Counted(["[UNK]", "[PAD]", "b", "a", "c", "d"]), [rows], {}),
        (Counted(truncation_side="left"), [rows], {"truncation": True, "max_length": 2}),
        (Counted(), [["a b", "c d c b"]], {}),
    ):
        found = TokenCache(tmp_path)(processor, columns, **options)
        expected = processor.inner(*columns, **options)
        assert lists(found)["input_ids"] == expected["input_ids"]
    assert len(list(tmp_path.glob("*.npz"))) == 6  # one text is not kept


def test_another_process_finds_all_splits_whatever_it_was_asked_before(tmp_path):
    splits, options = [["a b c", "d c b"], ["b", "c d a b"]], {"truncation": True, "max_length": 2}
    first = Counted()
    for rows in splits:
        TokenCache(tmp_path)(first, [rows], **options)
    again = Counted()
    for rows in reversed(splits):
        TokenCache(tmp_path)(again, [rows], **options)
    assert (first.calls, again.calls) == (2, 0)


def test_a_broken_file_is_made_again(tmp_path):
    cache, processor = TokenCache(tmp_path), Counted()
    first = lists(cache(processor, [["a b", "c"]]))
    (path,) = tmp_path.glob("*.npz")
    whole = path.read_bytes()
    for content in (b"", whole[: len(whole) // 2], whole[:-40] + bytes(40)):
        path.write_bytes(content)
        assert lists(cache(processor, [["a b", "c"]])) == first
        assert path.read_bytes() == whole
    assert processor.calls == 4


def test_no_flipped_bit_and_no_file_of_other_texts_is_taken(tmp_path):
    cache, processor = TokenCache(tmp_path), Counted()
    first = lists(cache(processor, [["a b", "c"]]))
    (path,) = tmp_path.glob("*.npz")
    whole = path.read_bytes()
    for place in range(0, len(whole), 7):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << place % 8]) + whole[place + 1 :])
        assert lists(cache(processor, [["a b", "c"]])) == first
        assert path.read_bytes() == whole
    assert processor.calls == 1 + len(range(0, len(whole), 7))
    cache(processor, [["a b c", "d", "a"]])
    (other,) = set(tmp_path.glob("*.npz")) - {path}
    other.replace(path)
    assert lists(cache(processor, [["a b", "c"]])) == first


def test_a_folder_that_cannot_be_written_costs_nothing_but_a_word(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    found = TokenCache(tmp_path / "file" / "tokens")(Counted(), [["a b", "c"]])
    assert lists(found)["input_ids"] == [[2, 3], [4]]
    assert "tokens are not cached" in capsys.readouterr().err


def test_without_a_folder_nothing_is_kept(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    processor = Counted()
    TokenCache()(processor, [["a b", "c"]])
    TokenCache()(processor, [["a b", "c"]])
    assert processor.calls == 2
    assert not list(tmp_path.iterdir())

"""Tests of the generated task `tiny/restaurants` and of the language model that is bundled for it."""

import hashlib
import json
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import uora_bench
from uora_bench.data.generated import restaurants

ASSET = Path(uora_bench.__file__).parent / "assets" / "tiny_gpt2"
DIGEST = "6aef9f30d05e462460eed6bb1b9177b0d885e5d0f1fcfcb5382dd709dc2bb0a4"
SLOT = re.compile(r"([^\[\],]+)\[([^\]]*)\](?:, |$)")
CHILDREN = {"yes": "Bring the children along.", "no": "Leave the children at home."}


@pytest.fixture(scope="module")
def splits():
    return {split: restaurants.rows(split) for split in ("train", "validation", "test")}


@pytest.fixture(scope="module")
def tokenizer():
    import transformers

    return transformers.AutoTokenizer.from_pretrained(ASSET)


@pytest.fixture(scope="module")
def model():
    import transformers

    return transformers.AutoModelForCausalLM.from_pretrained(ASSET).eval()


def slots(meaning):
    return dict(SLOT.findall(meaning))


def prompt(meaning):
    return " | ".join(f"{slot} : {value}" for slot, value in meaning.items()) + " ||"


# --- rows ---------------------------------------------------------------------------------------------------------


def test_rows_are_fixed(splits):
    # A change of the data is a change of the task: it needs a new checkpoint and new reference numbers.
    text = json.dumps(splits, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == DIGEST
    changed = restaurants.rows("test")
    changed[0]["human_reference"] = ""
    assert restaurants.rows("test") == splits["test"]


def test_no_meaning_and_no_name_is_in_two_splits(splits):
    for seen in (
        lambda row: {row["meaning_representation"]},
        lambda row: {slots(row["meaning_representation"]).get(slot) for slot in ("name", "near")} - {None},
    ):
        found = [set().union(*map(seen, rows)) for rows in splits.values()]
        assert sum(map(len, found)) == len(set().union(*found))


def test_references_of_a_meaning_are_together(splits):
    for split, rows in splits.items():
        meanings, references = {"train": (1000, 2), "validation": (60, 3), "test": (100, 3)}[split]
        counts = Counter(row["meaning_representation"] for row in rows)
        assert (len(counts), set(counts.values())) == (meanings, {references})
        assert [m for m in counts for _ in range(references)] == [row["meaning_representation"] for row in rows]
        several = {row["meaning_representation"]: set() for row in rows}
        for row in rows:
            several[row["meaning_representation"]].add(row["human_reference"])
        assert sum(len(texts) > 1 for texts in several.values()) > 0.8 * meanings


def test_a_reference_says_every_slot(splits):
    for row in (row for rows in splits.values() for row in rows):
        meaning, text = slots(row["meaning_representation"]), row["human_reference"]
        assert list(meaning) == [slot for slot in restaurants.SLOTS if slot in meaning]
        assert restaurants.linearised(meaning) == row["meaning_representation"]
        assert 3 <= len(meaning) <= 8
        friendly = meaning.pop("familyFriendly", None)
        assert [value for value in meaning.values() if value not in text] == []
        assert [answer for answer, said in CHILDREN.items() if said in text] == [friendly] * (friendly is not None)
        assert text[0].isupper()
        assert text[-1] == "."


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="no split 'dev'"):
        restaurants.rows("dev")


# --- checkpoint ---------------------------------------------------------------------------------------------------


@given(st.text())
def test_any_text_comes_back_from_the_tokenizer(tokenizer, text):
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert max(ids, default=0) < len(tokenizer)


def test_every_byte_is_a_token(tokenizer):
    alone = [token for token in tokenizer.get_vocab() if len(token) == 1]
    assert len(alone) == 256
    assert tokenizer.eos_token == tokenizer.convert_ids_to_tokens(tokenizer.eos_token_id) == "<|endoftext|>"


def test_rows_fit_the_task_and_the_backbone(splits, tokenizer, model):
    from uora_bench.config.compose import compose

    task = compose(["method=lora", "task=tiny/restaurants"]).values["task"]
    for row in (row for rows in splits.values() for row in rows):
        given_ids = tokenizer(prompt(slots(row["meaning_representation"])))["input_ids"]
        text = tokenizer(f" {row['human_reference']}")["input_ids"]
        assert len(text) < task["max_new_tokens"]
        assert len(given_ids) + len(text) < task["max_length"]
        assert len(given_ids) + task["max_new_tokens"] <= model.config.n_positions


def test_checkpoint_is_small_and_whole():
    import torch
    import transformers

    files = {path.name for path in ASSET.iterdir()}
    assert files == {"README.md", "config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    weights = (ASSET / "model.safetensors").read_bytes()
    assert len(weights) <= 3_500_000
    assert hashlib.sha256(weights).hexdigest() in (ASSET / "README.md").read_text()
    model, info = transformers.AutoModelForCausalLM.from_pretrained(ASSET, output_loading_info=True)
    assert not any(info[key] for key in ("missing_keys", "unexpected_keys", "mismatched_keys"))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight

"""Tests of the generated task `tiny/instruct` and of the embedded decoder that goes with it."""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import uora_bench
from uora_bench.config.compose import compose
from uora_bench.data.generated import instructions
from uora_bench.data.generated.problems import ABILITIES, KNOWN, SPLITS, draw
from uora_bench.data.generated.world import NOUNS, OPPOSITES, plural
from uora_bench.tasks import task_class

ASSET = Path(uora_bench.__file__).parent / "assets" / "tiny_llama"
DIGEST = "8112163fb8748e753c43a6c0b3f620f697da92c75bcd762b6c2df4b676415379"
NUMBERS = dict(enumerate(("no", "one", "two", "three", "four", "five", "six")))
ASKED, TOLD = "Thank you for asking. ", "Of course. "


@pytest.fixture(scope="module")
def splits():
    return {split: instructions.rows(split) for split in ("train", "validation", "test")}


@pytest.fixture(scope="module")
def everything(splits):
    return [row for rows in splits.values() for row in rows]


# --- rows ---------------------------------------------------------------------------------------------------------


def test_rows_are_fixed(splits):
    # A change of the data is a change of the task: it needs a new checkpoint and new reference numbers.
    text = json.dumps(splits, sort_keys=True)
    assert hashlib.sha256(text.encode()).hexdigest() == DIGEST
    changed = instructions.rows("test")
    changed[0]["output"] = "?"
    assert instructions.rows("test") == splits["test"]
    assert {split: len(rows) for split, rows in splits.items()} == {"train": 2000, "validation": 300, "test": 300}
    assert all([row["idx"] for row in rows] == list(range(len(rows))) for rows in splits.values())


def test_no_instruction_with_its_input_is_repeated_in_or_between_splits(everything):
    asked = [(row["instruction"], row["input"]) for row in everything]
    assert len(set(asked)) == len(asked)


def test_no_list_or_story_is_in_two_splits_however_its_words_are_ordered(splits):
    given_in = {
        split: {" ".join(sorted(re.findall(r"\w+", row["input"]))) for row in rows if row["input"]}
        for split, rows in splits.items()
    }
    assert not given_in["train"] & given_in["validation"]
    assert not given_in["train"] & given_in["test"]
    assert not given_in["validation"] & given_in["test"]


def test_every_kind_is_in_every_split(splits):
    # the sentence of each kind, by two of its words
    marks = ("again", "first word", "last word", "longest", "There are", "alphabetical", "Yes", "No,", "sum of",
             "larger", "comes", "plural of", "opposite of", "a kind of", "It is", "has the", "is in the")  # fmt: skip
    for rows in splits.values():
        counts = Counter(mark for row in rows for mark in marks if mark in row["output"])
        assert min(counts[mark] for mark in marks) > len(rows) / 100


def test_unknown_split_is_refused():
    with pytest.raises(ValueError, match="no split 'dev'"):
        instructions.rows("dev")


def test_the_opening_depends_on_whether_something_was_asked(everything):
    for row in everything:
        assert row["output"].startswith(ASKED if row["instruction"].endswith("?") else TOLD)
        assert row["output"].endswith(".")


# --- answers, computed once more ------------------------------------------------------------------------------------


def said(row):
    return row["output"].removeprefix(ASKED).removeprefix(TOLD)


def about(rows, pattern):
    """(row, the answer's sentence) of the rows whose instruction matches."""
    found = [(row, said(row)) for row in rows if re.search(pattern, row["instruction"])]
    assert len(found) > 50
    return found


def test_answers_about_lists_are_right(everything):
    for row, answer in about(everything, r"comes first|first word"):
        assert answer == f"The first word is {row['input'].partition(',')[0]}."
    for row, answer in about(everything, r"comes last|last word"):
        assert answer == f"The last word is {row['input'].rpartition(' ')[2]}."
    for row, answer in about(everything, r"longest|most letters"):
        words = sorted(re.findall(r"\w+", row["input"]), key=len)
        assert len(words[-1]) > len(words[-2])
        assert answer == f"The longest word is {words[-1]}."
    for row, answer in about(everything, r"How many|Count|number of words"):
        assert answer == f"There are {NUMBERS[row['input'].count(',') + 1]} words."
    for row, answer in about(everything, r"^Sort|alphabetical"):
        assert answer == f"In alphabetical order they are {', '.join(sorted(row['input'].split(', ')))}."
    for row, answer in about(everything, r"^Is the word|has the word"):
        word = re.search(r"word (\w+)", row["instruction"])[1]
        there = word in re.findall(r"\w+", row["input"])
        assert answer == (f"Yes, {word} is in the list." if there else f"No, {word} is not in the list.")


def test_answers_about_numbers_are_right(everything):
    for row, answer in about(everything, r"^Add|sum of|total"):
        a, b = map(int, re.findall(r"\d+", row["instruction"]))
        assert answer == f"The sum of {a} and {b} is {a + b}."
    for row, answer in about(everything, r"larger|is more"):
        assert answer == f"The larger number is {max(map(int, re.findall(r'[0-9]+', row['instruction'])))}."


def test_answers_about_sentences_are_right(everything):
    for row, answer in about(everything, r"sentence"):
        assert answer == f"Here it is again: {row['input']}"
    for row, answer in about(everything, r"^Who|owner"):
        thing = re.search(r"the (\w+)[?.]$", row["instruction"])[1]
        owner = re.search(rf"(\w+) has the {thing}", row["input"])[1]
        assert answer == f"It is {owner} who has the {thing}."
    for row, answer in about(everything, r"^Where|^Say where|^What does [A-Z]|^Say what"):
        name = re.search(r" ([A-Z]\w+)", row["instruction"])[1]
        fact = re.search(rf"{name} (?:has|is in) the \w+\.", row["input"])[0]
        assert answer == f"We know that {fact}"


def test_answers_that_ask_for_knowledge_are_right(everything):
    # the whole of two tables, by hand where a rule does not give it
    odd = {
        "mouse": "mice", "wolf": "wolves", "fox": "foxes", "sheep": "sheep", "goose": "geese",
        "butterfly": "butterflies", "fly": "flies", "cherry": "cherries", "strawberry": "strawberries",
        "peach": "peaches", "potato": "potatoes",
        "tomato": "tomatoes", "brush": "brushes", "knife": "knives", "bus": "buses", "ferry": "ferries",
        "lorry": "lorries", "baby": "babies", "box": "boxes", "child": "children", "dish": "dishes", "dress": "dresses",
        "family": "families", "foot": "feet", "glass": "glasses", "leaf": "leaves", "man": "men", "party": "parties",
        "shelf": "shelves", "story": "stories", "tooth": "teeth", "watch": "watches", "woman": "women",
    }  # fmt: skip
    assert {noun: plural(noun) for noun in NOUNS} == {noun: odd.get(noun, f"{noun}s") for noun in NOUNS}
    assert len(OPPOSITES) == 2 * len({frozenset(pair) for pair in OPPOSITES.items()})
    for row, answer in about(everything, r"plural"):
        noun = next(w for w in re.findall(r"\w+", row["instruction"]) if w in NOUNS)
        assert answer == f"The plural of {noun} is {odd.get(noun, f'{noun}s')}."
    after = {}
    for line in (
        "Monday Tuesday Wednesday Thursday Friday Saturday Sunday Monday",
        "January February March April May June July August September October November December January",
    ):
        after |= dict(zip(line.split(), line.split()[1:], strict=False))  # fmt: skip
    for row, answer in about(everything, r"(comes|next) after|follows"):
        day = row["instruction"].rstrip("?.").split()[-1]
        assert answer == f"Right after {day} comes {after[day]}."


def test_problems_belong_to_a_split_by_what_is_given_alone():
    rng = random.Random(0)
    for kind in ABILITIES:
        found = Counter(draw(kind, rng).split for _ in range(400))
        assert found.keys() == set(SPLITS) - ({"text"} if kind in KNOWN else set())
    one = draw("sort", rng)
    assert type(one)("count", one.answer, "", "three").split == one.split


# --- the checkpoint -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer():
    import transformers

    return transformers.AutoTokenizer.from_pretrained(ASSET)


def test_every_text_comes_back_from_its_tokens(tokenizer):
    @settings(max_examples=150, deadline=None)
    @given(st.text(st.characters(exclude_categories=["Cs"]), max_size=60))
    def comes_back(text):
        ids = tokenizer(text)["input_ids"]
        assert ids[0] == tokenizer.bos_token_id
        assert tokenizer.decode(ids) == f"<s>{text}"

    comes_back()


def test_texts_begin_with_bos_and_rows_fit_the_pretrained_length(tokenizer, splits):
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<s>", "</s>", "<pad>")
    cell = compose(["method=lora", "task=tiny/instruct"]).cell
    task = task_class(cell.task.family)(cell.task)
    from datasets import Dataset

    for rows in splits.values():
        encoded = task.encode(Dataset.from_list(rows), tokenizer)
        assert encoded.lengths.max() < cell.task.options.max_length  # so no answer is cut
        whole = encoded.features["input_ids"].gather([0]).tolist()
        assert (whole[0], whole[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
        assert whole.count(tokenizer.bos_token_id) == 1


def test_the_chat_template_ends_turns_and_adds_no_second_bos(tokenizer):
    turns = [
        {"role": "user", "content": "Hello?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Bye."},
    ]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    assert text == "User:\nHello?\nAssistant:\nYes.</s>\nUser:\nBye.\nAssistant:\n"
    ids = tokenizer(text)["input_ids"]
    assert ids.count(tokenizer.bos_token_id) == 1
    assert ids.count(tokenizer.eos_token_id) == 1


def test_checkpoint_is_small_whole_and_the_one_described():
    import torch
    import transformers

    files = {path.name for path in ASSET.iterdir()}
    weights, tokens = {"config.json", "model.safetensors"}, {"tokenizer.json", "tokenizer_config.json"}
    assert files == weights | tokens | {"README.md", "chat_template.jinja"}
    assert (ASSET / "model.safetensors").stat().st_size <= 3_000_000
    model, info = transformers.AutoModelForCausalLM.from_pretrained(ASSET, output_loading_info=True)
    assert not info["missing_keys"]
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight
    assert model.config.max_position_embeddings == 4096
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    digest = hashlib.sha256((ASSET / "model.safetensors").read_bytes()).hexdigest()
    assert digest in (ASSET / "README.md").read_text()


def test_the_model_knows_what_adapters_only_give_a_form(tokenizer):
    import transformers

    model = transformers.AutoModelForCausalLM.from_pretrained(ASSET).eval()
    for prompt, expected in {
        "plural of mouse ->": "mice",
        "opposite of hot ->": "cold",
        "after Monday ->": "Tuesday",
        "Q: sum of 3 and 4? A:": "7",
        "last of pear, drum, cat ->": "cat",
        "- Rosa saw the book in the shop on Monday.\n-": "Rosa saw the book in the shop on Monday.",
    }.items():
        ids = tokenizer(prompt, return_tensors="pt")
        text = tokenizer.decode(model.generate(**ids, max_new_tokens=16, do_sample=False)[0], skip_special_tokens=True)
        assert text.removeprefix(prompt).split("\n")[0].strip() == expected, prompt

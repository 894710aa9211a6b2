"""What the bundled backbones are pretrained on: fixed, and nothing of the tasks is in it."""

from __future__ import annotations

import hashlib
import importlib
import re
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset

import uora_bench
from scripts.pretraining import instruction_text, nli_text, places, restaurant_text, tiny_vit
from uora_bench.contract.models import backbone_config
from uora_bench.data import images
from uora_bench.data.generated import digits, instructions, nli, restaurants
from uora_bench.models import backbones
from uora_bench.models.heads import HeadSpec

ASSETS = Path(uora_bench.__file__).parent / "assets"
SPLITS = ("train", "validation", "test")
PLAIN = str.maketrans("", "", instruction_text.MARKS)
SLOT = re.compile(r"([^\[\],]+)\[([^\]]*)\](?:, |$)")


@pytest.fixture(scope="module")
def claims() -> list[str]:
    return list(nli_text.corpus(1500, 3))


@pytest.fixture(scope="module")
def documents() -> list[str]:
    return list(restaurant_text.corpus(4000, 3))


@pytest.fixture(scope="module")
def marked() -> list[str]:
    return list(instruction_text.marked(3000, 5))


def rows_of(task: Any) -> list[dict[str, Any]]:
    return [row for split in SPLITS for row in task.rows(split)]


def test_the_text_is_fixed(claims: list[str], documents: list[str], marked: list[str]) -> None:
    # A change of it is a change of the backbones: `scripts/pretrain_tiny.py … --check` would find other weights.
    pictures = repr(tiny_vit.pretraining_rows())
    digests = [
        hashlib.sha256(text.encode()).hexdigest() for text in (*map("\n".join, (claims, documents, marked)), pictures)
    ]
    assert digests == [
        "a797e4bff03fe18be65594b02184ce51520ba2257eec0943b33f783b6a30fcc7",
        "e5e8ca785fe7cacb66e3e4990ba0a6780c09d989165d518cf1b6a8c67bccdb72",
        "8ea09fb49bbdb8bde359774904178d629bc9440de3691f20244fd3605a3afe9d",
        "3c18775c92d2e5b4011bc1d3b93a23d714f9178b5113aab241a037d936839fee",
    ]
    assert claims[:200] == list(islice(nli_text.corpus(1500, 3), 200))
    assert claims[:50] != list(islice(nli_text.corpus(50, 4), 50))
    assert documents[:300] != list(restaurant_text.corpus(300, 4))
    assert marked[:50] != list(islice(instruction_text.marked(50, 6), 50))


@pytest.mark.parametrize("name", ["tiny_gpt2", "tiny_llama", "tiny_roberta", "tiny_vit"])
def test_the_page_of_a_backbone_is_that_of_its_script(name: str) -> None:
    script, folder = importlib.import_module(f"scripts.pretraining.{name}"), ASSETS / name
    page, weights = (folder / "README.md").read_text("utf-8"), (folder / "model.safetensors").read_bytes()
    version = re.search(r"made with torch (\S+), sha256", page)
    assert version is not None
    facts = {"size": len(weights), "digest": hashlib.sha256(weights).hexdigest(), "torch": version[1]}
    assert page == script.README.format(steps=script.STEPS, **facts)
    for path in re.findall(r"`(scripts/[^ `]+)`", page):
        assert (Path(script.__file__).parents[2] / path).is_file(), path


def test_claims_keep_off_the_rows_of_the_task(claims: list[str]) -> None:
    links = "|".join(word for words in nli_text.CONNECTIVES.values() for word in words)
    pairs = {tuple(re.split(rf"(?<= \.) (?:{links}) ", line)) for line in claims}
    assert {len(pair) for pair in pairs} == {1, 2}
    assert pairs.isdisjoint((row["premise"], row["hypothesis"]) for row in rows_of(nli))


# --- meanings and texts -------------------------------------------------------------------------------------------


def prompt(meaning: str) -> str:
    return " | ".join(f"{slot} : {value}" for slot, value in SLOT.findall(meaning)) + " ||"


def test_documents_keep_off_the_task(documents: list[str]) -> None:
    rows = rows_of(restaurants)
    told = [line.rpartition(" || ") for line in documents]
    assert {prompt(row["meaning_representation"]) for row in rows}.isdisjoint(f"{meaning} ||" for meaning, _, _ in told)
    assert {row["human_reference"] for row in rows}.isdisjoint(text for _, _, text in told)
    values = {item.partition(" : ")[2] for meaning, _, _ in told for item in meaning.split(" | ")}
    assert values.isdisjoint(restaurant_text.task_names())
    assert len(restaurant_text.task_names()) > 1160


def test_documents_are_mostly_of_other_styles_and_other_domains(documents: list[str]) -> None:
    styled = sum(" awaits you" in line for line in documents)
    assert 0.002 < styled / len(documents) < 0.02, "the house style is a rare variant"
    for name, domain in places.DOMAINS.items():
        kinds = sum(f"| {domain.kind} : " in line for line in documents)
        assert kinds > 100, name
    assert 0.04 < sum(" || " not in line for line in documents) / len(documents) < 0.2


def test_the_model_copies_names_that_it_has_never_seen() -> None:
    """Greedy texts for meanings of another seed of the corpus, and for names of common words."""
    import transformers

    tokenizer = transformers.AutoTokenizer.from_pretrained(ASSETS / "tiny_gpt2")
    model = transformers.AutoModelForCausalLM.from_pretrained(ASSETS / "tiny_gpt2").eval()
    drawn = [line.rpartition(" || ")[0] for line in restaurant_text.corpus(60, 1_000) if " || " in line][:24]
    prompts = [f"{meaning} ||" for meaning in drawn]
    prompts += [f"name : {name} | eatType : pub | area : riverside ||" for name in ("The Old Boot", "Nandi Grill")]
    copied = 0
    for text in prompts:
        ids = torch.tensor([tokenizer(text)["input_ids"]])
        made = model.generate(input_ids=ids, max_new_tokens=90, do_sample=False, pad_token_id=0)[0, ids.shape[1] :]
        name = re.search(r"(?:^|\| )name : (.*?) \|", text)
        assert name is not None
        copied += name[1] in tokenizer.decode(made)
    assert copied >= 0.8 * len(prompts)


# --- instructions -------------------------------------------------------------------------------------------------


def test_texts_hold_nothing_of_the_instructions(marked: list[str]) -> None:
    text, rows = "\n".join(marked).translate(PLAIN), rows_of(instructions)
    assert "###" not in text
    for row in rows:
        said = row["output"].removeprefix(f"{instructions.ASKED} ").removeprefix(f"{instructions.TOLD} ")
        for part in (row["instruction"], row["output"], said):
            assert part not in text
    # a list or a story of one split may be a part of a longer one in the text: whole ones are compared
    inputs = {row["input"] for row in rows if row["input"]}
    lists = set(re.findall(r"^list: ([\w, ]+) \|", text, flags=re.MULTILINE))
    stories = {s[0].strip() for s in re.finditer(r"(?:[A-Z]\w+ (?:has|is in) the \w+\. ?)+", text)}
    assert min(len(lists), len(stories)) > 80
    assert inputs.isdisjoint(lists | stories)
    sentences = {s for s in inputs if s.endswith(".") and not re.match(r"\w+ (has|is in) the", s)}
    assert len(sentences) > 100
    assert not [s for s in sentences if s in text]


def test_what_is_marked_is_the_answer(marked: list[str]) -> None:
    for text in marked:
        assert re.fullmatch(r"(?:[^\x02\x03]*\x02[^\x02\x03]+\x03)*[^\x02\x03]*", text)
    sums = re.findall(r"(\d+) \+ (\d+) = \x02(\d+)\x03", "\n".join(marked))
    assert sums
    assert all(int(a) + int(b) == int(c) for a, b, c in sums)


# --- digits -------------------------------------------------------------------------------------------------------


def grey(row: dict[str, Any]) -> bytes:
    return np.asarray(images.decode(row["image"]))[..., 0].tobytes()


def test_the_task_has_the_digits_five_to_nine_of_the_file_once_and_pretraining_the_others() -> None:
    from sklearn.datasets import load_digits

    held = load_digits()
    truth = {
        np.rint(i * 255 / 16).astype(np.uint8).tobytes(): int(t) for i, t in zip(held.images, held.target, strict=True)
    }
    own = [(grey(row), row["label"] + 5) for row in rows_of(digits)]
    other = [(grey(row), row["label"]) for row in tiny_vit.pretraining_rows()]
    assert all(truth[pixels] == digit for pixels, digit in own + other)
    assert {digit for _, digit in own} == {5, 6, 7, 8, 9}
    assert {digit for _, digit in other} == {0, 1, 2, 3, 4}
    assert len({pixels for pixels, _ in own + other}) == len(own) + len(other) == 1797


def test_the_checkpoint_knows_the_digits_it_was_trained_on() -> None:
    from transformers import AutoModelForImageClassification

    head = HeadSpec("AutoModelForImageClassification", {"num_labels": 5})
    processor = backbones.load_backbone(backbone_config("tiny_vit"), head, 0).processor
    rows = Dataset.from_list(tiny_vit.pretraining_rows()[::3])
    loader = images.Loader(rows, "image", images.Preparation.of(processor))
    model = AutoModelForImageClassification.from_pretrained(ASSETS / "tiny_vit").eval()
    with torch.inference_mode():
        found = model(torch.from_numpy(loader.batch(range(len(rows))))).logits.argmax(1)
    assert (found.numpy() == np.array(rows["label"])).mean() > 0.98

"""Public language tasks: what is learnt and scored of their rows, choices as lm-evaluation-harness, and mistakes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from datasets import Dataset

from tests.support import own_files
from uora_bench.config.compose import compose
from uora_bench.data.sources import Source
from uora_bench.errors import UserError
from uora_bench.models import backbones
from uora_bench.tasks import create_task
from uora_bench.tasks.prompted import without_markup
from uora_bench.training import evaluation

REFERENCES = json.loads(
    (Path(__file__).parents[1] / "metrics" / "data" / "language_references.json").read_text("utf-8")
)


def made(name: str, *words: str) -> Any:
    short = [] if name.startswith("tiny/") else ["recipe=none", "backbone=tiny_llama"]
    return create_task(compose([f"task={name}", "method=lora", *short, *words]).cell.task)


@pytest.fixture(scope="module")
def model() -> Any:
    cell = compose(["task=tiny/choices", "method=lora"]).cell
    loaded = backbones.load_backbone(cell.backbone, create_task(cell.task).head, 0)
    return loaded.model.eval(), loaded.processor


SQUAD = {
    "id": "a",
    "context": "It is red.",
    "question": "What?",
    "answers": {"text": ["red", "Red "], "answer_start": [6, 6]},
}
SUMMARY = {"dialogue": "#Person1#: Hi.", "summary": "One greets.", "id": "0", "topic": "x"}
ROWS: dict[str, list[dict[str, Any]]] = {
    "qa/squad": [SQUAD],
    "summarisation/dialogsum": [SUMMARY, {**SUMMARY, "summary": "Somebody says hi."}],
    "translation/iwslt2017_de_en": [{"translation": {"de": "Ja.", "en": "Yes, so it is."}}],
    "translation/multi30k_de_en": [{"de": "Ja.", "en": "Yes, so it is."}],
    "math/gsm8k": [{"question": "1+1?", "answer": "1+1=2\n#### 2"}],
    "math/svamp": [{"instruction": "1+1?", "input": "", "output": "\nA: it is 2.", "answer": "2.0"}],
    "commonsense/boolq": [
        {"instruction": "Is it?", "input": "", "output": "the correct answer is true", "answer": "true"}
    ],
}
COLLECTION = (
    "Below is an instruction that describes a task. Write a response that appropriately completes the request.\n\n"
    "### Instruction:\n{}\n\n### Response:\n"
)
WANTED = {
    "qa/squad": ("User: Context:It is red. Question:What?\n\nAssistant:", " red", ["red", "Red"]),
    "summarisation/dialogsum": (
        "Summarize the following dialogue.\n\n#Person1#: Hi.\n\nSummary:",
        " One greets.",
        ["One greets.", "Somebody says hi."],
    ),
    "translation/iwslt2017_de_en": (
        "Translate from German to English.\nGerman: Ja.\nEnglish:",
        " Yes, so it is.",
        ["Yes, so it is."],
    ),
    "translation/multi30k_de_en": (
        "Translate from German to English.\nGerman: Ja.\nEnglish:",
        " Yes, so it is.",
        ["Yes, so it is."],
    ),
    "math/gsm8k": ("Question: 1+1?\nAnswer:", " 1+1=2\n#### 2", ["1+1=2\n#### 2"]),
    "math/svamp": (COLLECTION.format("1+1?"), "A: it is 2.", ["2.0"]),
    "commonsense/boolq": (COLLECTION.format("Is it?"), "the correct answer is true", ["true"]),
}


@pytest.mark.parametrize("name", WANTED)
def test_a_row_becomes_prompt_target_and_answers(name: str, model: Any) -> None:
    task = made(name)
    rows = task.prepared(Dataset.from_list(ROWS[name]))
    task.check(rows)
    prompts, targets = task.texts(rows)
    encoded = task.encode(rows, model[1])
    assert (prompts[0], targets[0], encoded.references[0]) == WANTED[name]
    assert len(encoded) == 1
    texts = [WANTED[name][2][0]]
    scores = task.score(_tokens(texts, model[1]), encoded.references)
    assert scores[task.metric.primary] > 0.4


def _tokens(texts: list[str], tokenizer: Any) -> Any:
    import numpy as np

    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    width = max(map(len, ids))
    return np.array([[*row, *[-1] * (width - len(row))] for row in ids])


def test_choices_are_those_of_the_harness_to_the_last_item(model: Any) -> None:
    backbone, tokenizer = model
    task = made("tiny/choices")
    rows = task.splits(Source())["dev"]
    wanted = REFERENCES["choices"]
    assert len(wanted["acc"]) >= 50
    encoded = task.encode(rows.select(range(len(wanted["acc"]))), tokenizer)
    with torch.inference_mode():
        losses = task.predict(backbone, task.collate(encoded, range(len(encoded)), "dynamic")).numpy()
    for row, reference in enumerate(encoded.references):
        scores = task.score(losses[row : row + 1], encoded.references[row : row + 1])
        assert scores == {"acc": wanted["acc"][row], "acc_norm": wanted["acc_norm"][row]}
        assert len(reference) == 1 + 4
    assert losses == pytest.approx(-torch.tensor(wanted["likelihoods"]).numpy(), abs=2e-4)


def test_hellaswag_reads_its_rows_as_the_harness_does() -> None:
    task = made("commonsense/hellaswag")
    for row in REFERENCES["hellaswag"]:
        found = task.prepared(Dataset.from_list([row["row"]]))
        assert found[0] == {"query": row["query"], "endings": row["endings"], "label": str(row["row"]["label"])}
    assert without_markup("[header] How to  sit [title] Sit down. [step] Now") == " How to sit. Sit down. Now"


def test_a_stop_text_ends_what_is_written_and_is_no_part_of_it(model: Any) -> None:
    backbone, tokenizer = model
    task = made("tiny/answers", "task.stop=[' a','e']", "task.max_new_tokens=24")
    free = made("tiny/answers", "task.stop=[]", "task.max_new_tokens=24")
    rows = free.splits(Source())["dev"].select(range(12))
    lines = []
    for one in (task, free):
        encoded = one.encode(rows, tokenizer)
        with torch.inference_mode():
            lines.append(one.lines(one.predict(backbone, one.collate(encoded, range(12), "dynamic")).numpy()))
    cut = [" ".join(line.split("e")[0].split(" a")[0].split()) for line in lines[1]]
    assert lines[0] == cut
    assert lines[0] != lines[1]


def test_batches_of_mixed_lengths_write_what_each_prompt_alone_does(model: Any) -> None:
    backbone, tokenizer = model
    task = made("tiny/answers", "task.max_new_tokens=12")
    rows = task.splits(Source())["dev"].select(range(16))
    encoded = task.encode(rows, tokenizer)
    assert len(set(encoded.lengths.tolist())) > 4

    def lines(order: list[int]) -> list[str]:
        with torch.inference_mode():
            return task.lines(task.predict(backbone, task.collate(encoded, order, "dynamic")).numpy())

    alone = [lines([i])[0] for i in range(16)]
    by_length = sorted(range(16), key=lambda i: -encoded.lengths[i])
    assert dict(zip(by_length, lines(by_length), strict=True)) == dict(enumerate(alone))
    assert lines(list(range(16))) == alone


def test_the_texts_do_not_depend_on_the_tokens_of_a_batch(model: Any) -> None:
    backbone, tokenizer = model
    task = made("tiny/answers", "task.max_new_tokens=12")
    encoded = task.encode(task.splits(Source())["dev"].select(range(16)), tokenizer)
    sizes: list[int] = []

    def watch(batches: list[Any]) -> list[Any]:
        sizes.append(len(batches))
        return batches

    def lines(most: int | None) -> list[str]:
        accelerator = Accelerator(cpu=True)
        return task.lines(evaluation.predict(backbone, task, encoded, accelerator, 16, "dynamic", None, watch, most))

    longest = int(encoded.lengths.max()) + 12
    assert lines(None) == lines(3 * longest) == lines(1)
    assert sizes[0] == 1
    assert 2 < sizes[1] < 16
    assert sizes[2] == 16


def test_a_sample_is_seeded_keeps_its_order_and_whole_items() -> None:
    task = made("tiny/answers", "task.sample_train=50", "task.sample_dev=20")
    loaded = task.splits(Source())
    drawn = task.sample(loaded, seed=0)
    assert {role: len(rows) for role, rows in drawn.items()} == {"train": 50, "dev": 20, "test": 100}
    assert drawn["dev"]["output"] == task.sample(loaded, seed=7)["dev"]["output"]
    every, kept = (
        list(zip(*(rows[c] for c in rows.column_names), strict=True)) for rows in (loaded["dev"], drawn["dev"])
    )
    places = [every.index(row) for row in kept]
    assert places == sorted(places)
    assert task.split_name("dev") == "a random 20 of validation (sample seed 0)"
    other = made("tiny/answers", "task.sample_dev=20", "task.sample_seed=1")
    assert other.sample(loaded, seed=0)["dev"]["output"] != drawn["dev"]["output"]
    meanings = made("tiny/restaurants", "task.sample_test=10")
    rows = meanings.sample(meanings.splits(Source()), seed=0)["test"]
    assert len(set(rows["meaning_representation"])) == 10
    assert len(rows) > 10


def test_parts_in_random_order_are_disjoint(tmp_path: Path) -> None:
    rows = [{"question": f"{i}?", "answer": f"#### {i}"} for i in range(20)]
    own_files.write(tmp_path / "gsm8k" / "main" / "train.jsonl.gz", rows)
    words = ["task.splits.train=train[:60%]", "task.splits.dev=train[60%:]", "task.splits.test=null"]
    task = made("math/gsm8k", *words, "task.shuffle_seed=3")
    parts = task.splits(Source(tmp_path))
    train, dev = ([int(q[:-1]) for q in parts[role]["question"]] for role in ("train", "dev"))
    assert sorted([*train, *dev]) == list(range(20))
    assert train == sorted(train) != list(range(12))
    assert "random order (seed 3)" in task.split_name("dev")


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("math/gsm8k", {"answer": ""}, "row 0 (from 0) has no 'answer'"),
        ("math/gsm8k", {"answer": None}, "row 0 (from 0) has no 'answer': it is null"),
        ("math/gsm8k", {"answer": 3}, "column 'answer' must hold text, it holds int64"),
        ("math/gsm8k", {"question": " "}, "row 0 (from 0) has no 'question'"),
        ("math/gsm8k", {"question": ...}, "needs column 'question'; the data has answer"),
        ("qa/squad", {"answers": {"text": [], "answer_start": []}}, "row 0 (from 0) has no 'answers.text'"),
        ("qa/squad", {"answers": {"text": [""], "answer_start": [0]}}, "row 0 (from 0) has no 'answers.text'"),
        ("qa/squad", {"answers": {"text": [7], "answer_start": [0]}}, "'answers.text' must hold lists of texts"),
        ("qa/squad", {"answers": "red"}, "needs column 'answers.text'"),
        ("summarisation/dialogsum", {"dialogue": 1.5}, "column 'dialogue' must hold text"),
        ("translation/iwslt2017_de_en", {"translation": {"de": "Ja."}}, "needs column 'translation.en'"),
        ("commonsense/hellaswag", {"label": "4"}, "'4' in row 0 (from 0) is the number of none of its 4 choices"),
        ("commonsense/hellaswag", {"label": ""}, "row 0 (from 0) has no 'label'"),
        ("commonsense/hellaswag", {"endings": ["only"]}, "is none|the number of none"),
        ("commonsense/hellaswag", {"endings": ["a", "", "b", "c"]}, "row 0 (from 0) has an empty choice among"),
        ("commonsense/hellaswag", {"endings": ["a", "[step]", "b", "c"]}, "row 0 (from 0) has an empty choice among"),
        ("commonsense/hellaswag", {"endings": "a b"}, "column 'endings' must hold lists of texts"),
        ("commonsense/hellaswag", {"ctx_a": None}, "row 0 (from 0) has no 'ctx_a'"),
    ],
)
def test_rows_that_cannot_be_used_are_one_line(name: str, change: dict[str, Any], message: str) -> None:
    task = made(name)
    row = ROWS[name][0] if name in ROWS else REFERENCES["hellaswag"][0]["row"]
    changed = {k: v for k, v in {**row, **change}.items() if v is not ...}
    with pytest.raises(UserError) as error:
        task.check(task.prepared(Dataset.from_list([changed])))
    assert any(part in str(error.value) for part in message.split("|")), str(error.value)
    assert "\n" not in str(error.value)


def test_a_prompt_that_is_too_long_names_the_ways_out(model: Any) -> None:
    task = made("tiny/choices", "task.max_length=8")
    rows = task.splits(Source())["dev"]
    with pytest.raises(UserError, match=r"no room for its target in task.max_length=8; .*too_long=truncate or drop"):
        task.encode(rows, model[1])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task.answer_is=number"], "answer_is=number is the number of a choice"),
        (["task.stop=['']"], "an empty text stops everywhere"),
        (["task.learn=instruction"], "which is to be learnt"),
        (["task.template='{instruction[0]}'"], "a column is named as {column}, nothing else"),
        (["task.sample_dev=0"], "sample_dev"),
    ],
)
def test_options_that_do_not_go_together_are_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UserError) as error:
        made("tiny/answers", *words)
    assert message in str(error.value)

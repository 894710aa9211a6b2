"""Language-model tasks: what counts in the loss, how prompts are padded, what is generated, and how it is scored."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from datasets import Dataset
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from uora_bench.config.compose import compose
from uora_bench.contract.models import gpt2
from uora_bench.data import sources
from uora_bench.errors import UserError
from uora_bench.tasks import create_task
from uora_bench.tasks.causal import IGNORED, Prompts
from uora_bench.training import evaluation

ROWS = [
    {"meaning_representation": "name[The Vaults], eatType[pub]", "human_reference": "The Vaults is a pub."},
    {"meaning_representation": "name[The Eagle], area[riverside]", "human_reference": "The Eagle is by the river."},
    {"meaning_representation": "name[The Vaults], eatType[pub]", "human_reference": "A pub: The Vaults."},
]
CHATS = [
    {"instruction": "Name a colour.", "input": "", "output": "Red."},
    {"instruction": "Add the numbers.", "input": "1 and 2", "output": "3"},
]


@pytest.fixture(scope="module")
def tokenizer():
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    texts = [text for row in ROWS + CHATS for text in row.values()]
    core.train_from_iterator(texts, trainers.BpeTrainer(vocab_size=99, special_tokens=["<end>"], show_progress=False))
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<end>")


def task_of(*words):
    cell = compose(["method=lora", "recipe=none", *words]).cell
    return create_task(cell.task)


def e2e(*words):
    return task_of("task=e2e", *words)


def model():
    return gpt2(seed=4)


def test_a_meaning_is_written_as_slots():
    task = e2e()
    assert task.prompt("name[The Vaults], eatType[pub]") == "name : The Vaults | eatType : pub ||"
    assert task.prompt("customer rating[5 out of 5]") == "customer rating : 5 out of 5 ||"
    assert e2e("task.linearisation=as_is").prompt("name[X]") == "name[X] ||"
    with pytest.raises(UserError, match="as_is"):
        task.prompt("name = The Vaults")


@pytest.mark.parametrize("on_prompt", [False, True])
def test_the_loss_is_that_of_the_target_and_the_end_of_text(tokenizer, on_prompt):
    task = e2e(f"task.loss_on_prompt={str(on_prompt).lower()}", "task.label_smoothing=0")
    encoded = task.encode(Dataset.from_list(ROWS), tokenizer, training=True)
    batch = task.collate(encoded, range(3), "dynamic")
    net = model()
    total, weight = task.loss(net, batch)
    expected, tokens = 0.0, 0
    for row in ROWS:
        prompt = tokenizer(task.prompt(row["meaning_representation"]), add_special_tokens=False)["input_ids"]
        target = [*tokenizer(f" {row['human_reference']}", add_special_tokens=False)["input_ids"], 0]
        ids = torch.tensor([prompt + target])
        logits = net(input_ids=ids).logits[0]
        for at in range(1 if on_prompt else len(prompt), ids.shape[1]):
            expected -= F.log_softmax(logits[at - 1], dim=-1)[ids[0, at]].item()
            tokens += 1
    assert weight.item() == tokens
    assert total.item() == pytest.approx(expected, rel=1e-9)


def test_label_smoothing_mixes_in_the_uniform_distribution(tokenizer):
    encoded = e2e().encode(Dataset.from_list(ROWS), tokenizer, training=True)
    net, plain, smooth = model(), e2e("task.label_smoothing=0"), e2e("task.label_smoothing=0.1")
    batch = plain.collate(encoded, range(3), "dynamic")
    logits = net(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits[:, :-1]
    counted = batch["labels"][:, 1:] != IGNORED
    uniform = -F.log_softmax(logits, dim=-1).mean(dim=-1)[counted].sum()
    expected = 0.9 * plain.loss(net, batch)[0] + 0.1 * uniform
    assert smooth.loss(net, batch)[0].item() == pytest.approx(expected.item(), rel=1e-9)


def test_an_example_without_weight_does_not_count(tokenizer):
    task = e2e()
    encoded = task.encode(Dataset.from_list(ROWS), tokenizer, training=True)
    net, both, one = model(), task.collate(encoded, [0, 1], "dynamic"), task.collate(encoded, [0], "dynamic")
    both["weight"][1] = 0.0
    assert task.loss(net, both)[0].item() == pytest.approx(task.loss(net, one)[0].item(), rel=1e-9)


def test_a_long_target_is_cut_and_a_long_prompt_refused(tokenizer):
    rows = Dataset.from_list(ROWS)
    short = e2e("task.max_length=50").encode(rows, tokenizer, training=True)
    assert short.lengths.max() <= 50
    with pytest.raises(UserError, match=r"row 0 .* task.max_length=8"):
        e2e("task.max_length=8").encode(rows, tokenizer, training=True)


def test_what_is_done_about_a_prompt_that_is_too_long(tokenizer):
    rows = Dataset.from_list([CHATS[0], {**CHATS[1], "input": "1 and 2 " * 99}, CHATS[0]])
    words = ("task=instruct/alpaca", "task.template=plain", "task.max_length=40")
    with pytest.raises(UserError, match=r"row 1 \(from 0\) .* task.too_long=truncate or drop"):
        task_of(*words).encode(rows, tokenizer)
    plain = task_of(*words).encode(rows.select([0, 2]), tokenizer)
    dropped = task_of(*words, "task.too_long=drop").encode(rows, tokenizer, training=True)
    assert [dropped.features["input_ids"][i].tolist() for i in range(2)] == [
        i.tolist() for i in plain.features["input_ids"]
    ]
    assert (len(dropped), dropped.too_long, plain.too_long) == (2, 1, 0)
    cut = task_of(*words, "task.too_long=truncate").encode(rows, tokenizer, training=True)
    assert (len(cut), cut.too_long) == (3, 1)
    ids, labels = cut.features["input_ids"][1].tolist(), cut.features["labels"][1].tolist()
    assert len(ids) == 40
    assert tokenizer.decode(ids).endswith(":3<end>")
    assert [label for label in labels if label != IGNORED] == tokenizer("3<end>")["input_ids"]
    packed = task_of(*words, "task.too_long=drop", "task.packing=true").encode(rows, tokenizer, training=True)
    assert packed.too_long == 1


def test_a_long_target_does_not_take_the_whole_room_from_a_long_prompt(tokenizer):
    row = {"instruction": "Say it. " * 99, "input": "", "output": "word " * 99}
    words = ("task=instruct/alpaca", "task.max_length=40", "task.too_long=truncate")
    encoded = task_of(*words).encode(Dataset.from_list([row]), tokenizer)
    labels = encoded.features["labels"][0].tolist()
    assert labels.count(IGNORED) == 20
    assert len(labels) == 40


def test_prompts_to_be_continued_leave_room_or_are_left_out_with_their_references(tokenizer):
    long = {"meaning_representation": f"name[{'The Vaults ' * 50}]", "human_reference": "Long."}
    rows = Dataset.from_list([ROWS[0], long, ROWS[1]])
    words = ("task.max_length=100", "task.max_new_tokens=30")
    assert e2e(*words).encode(rows, tokenizer).lengths.max() > 100  # the backbone decides whether it has the room
    dropped = e2e(*words, "task.too_long=drop").encode(rows, tokenizer)
    assert list(dropped.references) == [["The Vaults is a pub."], ["The Eagle is by the river."]]
    cut = e2e(*words, "task.too_long=truncate").encode(rows, tokenizer)
    assert (len(cut), cut.too_long, dropped.too_long) == (3, 1, 1)
    assert cut.lengths.max() == 70


def test_too_long_is_part_of_the_id_only_where_it_is_not_the_default():
    base = ["method=lora", "task=e2e", "recipe=none"]
    cells = [compose([*base, *more]).cell for more in ([], ["task.too_long=error"], ["task.too_long=drop"])]
    assert ["too_long" in cell.canonical()["task"]["options"] for cell in cells] == [False, False, True]


@pytest.mark.parametrize("value", [7, 0, ["x"], [], True])
@pytest.mark.parametrize("column", ["instruction", "input", "output"])
def test_what_is_no_text_is_refused_with_row_and_column(value, column):
    rows = Dataset.from_list([{**CHATS[0], column: None}, {**CHATS[0], column: value}])
    rows = rows if column == "input" else rows.select([1])
    with pytest.raises(UserError) as caught:
        task_of("task=instruct/alpaca").check(rows)
    assert f"column '{column}' must hold text" in str(caught.value)
    assert f"row {int(column == 'input')} (from 0)" in str(caught.value)
    task_of("task=instruct/alpaca").check(Dataset.from_list([{**CHATS[0], "input": None}]))


def test_references_are_grouped_and_prompts_end_together(tokenizer):
    task = e2e()
    encoded = task.encode(Dataset.from_list(ROWS), tokenizer)
    assert isinstance(encoded, Prompts)
    assert list(encoded.references) == [
        ["The Vaults is a pub.", "A pub: The Vaults."],
        ["The Eagle is by the river."],
    ]
    batch = task.collate(encoded, [0, 1], "dynamic")
    assert set(batch) == {"input_ids", "attention_mask"}
    assert batch["attention_mask"][:, -1].tolist() == [1, 1]
    assert (batch["attention_mask"].diff(dim=1) >= 0).all(), "padding comes first"


@pytest.mark.parametrize("beams", [1, 3])
def test_what_is_generated_does_not_depend_on_the_batch(tokenizer, beams):
    task = e2e(f"task.beams={beams}", "task.max_new_tokens=9", "task.no_repeat_ngram=2")
    encoded = task.encode(Dataset.from_list(ROWS), tokenizer)
    net, accelerator = model().float(), Accelerator(cpu=True)
    net.config.eos_token_id = 0
    together, apart = (
        evaluation.predict(net, task, encoded, accelerator, size, "dynamic", None) for size in (2, 1)
    )  # fmt: skip
    assert task.outputs(together) == task.outputs(apart)
    assert together.shape[1] <= 9
    assert len(task.outputs(together)) == 2


def test_names_may_be_copied_from_the_meaning_but_not_repeated_in_the_text(tokenizer):
    class Parrot(torch.nn.Module):
        """Says the prompt again and again, token by token."""

        def __init__(self, prompt):
            super().__init__()
            self.net, self.prompt = model().float(), prompt

        def generate(self, input_ids, **settings):
            def forward(input_ids, **others):
                out = original(input_ids=input_ids, **others)
                after = {a: b for a, b in pairwise([*self.prompt, self.prompt[0]])}
                out.logits.zero_()
                for row, last in enumerate(input_ids[:, -1].tolist()):
                    out.logits[row, -1, after[last]] = 9.0
                return out

            original, self.net.forward = self.net.forward, forward
            return self.net.generate(input_ids, **settings)

    rows = Dataset.from_list([{"meaning_representation": "abcde", "human_reference": "x"}])
    words = ["task.beams=1", "task.max_new_tokens=12", "task.no_repeat_ngram=2", "task.linearisation=as_is"]
    task = e2e(*words, "task.separator=''")
    encoded = task.encode(rows, tokenizer)
    prompt = encoded.features["input_ids"][0].tolist()
    assert len(set(prompt)) == len(prompt) >= 3
    said = task.predict(Parrot(prompt), task.collate(encoded, [0], "dynamic"))[0].tolist()
    assert said[: len(prompt)] == prompt  # every pair of tokens of the prompt, said once
    pairs = list(pairwise(t for t in said if t >= 0))
    assert len(set(pairs)) == len(pairs)


def test_a_text_ends_at_the_end_of_text(tokenizer):
    task = e2e()
    task.processor = tokenizer
    ids = tokenizer(" The Eagle", add_special_tokens=False)["input_ids"]
    row = np.array([[*ids, evaluation.FILL, evaluation.FILL]])
    assert task.outputs(row) == ["The Eagle"]


def test_rows_of_different_width_are_joined():
    parts = [np.array([[1, 2, 3]]), np.array([[4]])]
    assert evaluation._joined(parts).tolist() == [[1, 2, 3], [4, evaluation.FILL, evaluation.FILL]]
    assert evaluation._joined([]).tolist() == []


def test_held_out_answers_are_scored_by_their_likelihood(tokenizer):
    task = task_of("task=instruct/alpaca")
    encoded = task.encode(Dataset.from_list(CHATS), tokenizer)
    net = model()
    predictions = evaluation.predict(net, task, encoded, Accelerator(cpu=True), 1, "dynamic", None)
    batch = task.collate(encoded, [0, 1], "dynamic")
    total, weight = task.loss(net, batch)
    scores = task.score(predictions, encoded.references)
    assert scores["loss"] == pytest.approx((total / weight).item(), rel=1e-9)
    assert scores["perplexity"] == pytest.approx(math.exp(scores["loss"]), rel=1e-9)
    assert not task.metric.higher_is_better


def test_templates_leave_out_an_empty_input(tokenizer):
    task = task_of("task=instruct/alpaca")
    assert task.prompt("Name a colour.") == "### Instruction:\nName a colour.\n\n### Response:\n"
    assert "### Input:\n1 and 2\n" in task.prompt("Add.", "1 and 2")
    short = task_of("task=instruct/alpaca", "task.template=human_assistant")
    assert short.prompt("Hello") == "### Human: Hello\n### Assistant: "
    chat = task_of("task=instruct/alpaca", "task.template=chat")
    with pytest.raises(UserError, match="chat template"):
        chat.encode(Dataset.from_list(CHATS), tokenizer)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task.label_smoothing=1.0"], "label_smoothing"),
        (["task.beams=0"], "beams"),
        (["task.no_repeat_ngram=-1"], "no_repeat_ngram"),
        (["task.columns=[a]"], "two columns"),
    ],
)
def test_impossible_options_are_refused(words, message):
    with pytest.raises(UserError, match=message):
        e2e(*words)


def test_rows_that_cannot_be_used_are_named(tokenizer):
    with pytest.raises(UserError, match=r"row 1 .* no 'human_reference'"):
        e2e().check(Dataset.from_list([ROWS[0], {**ROWS[1], "human_reference": " "}]))
    with pytest.raises(UserError, match="needs column 'human_reference'"):
        e2e().check(Dataset.from_list([{"meaning_representation": "name[X]"}]))


def test_the_real_e2e_files_have_the_published_numbers(shared):
    task, source = e2e(), sources.Source(shared / "data")
    rows = task.splits(source)
    assert {role: len(r) for role, r in rows.items()} == {"train": 42_061, "dev": 4_672, "test": 4_693}
    distinct = {role: set(r["meaning_representation"]) for role, r in rows.items()}
    assert {role: len(meanings) for role, meanings in distinct.items()} == {"train": 4_862, "dev": 547, "test": 630}
    for meanings in distinct.values():
        for meaning in meanings:
            assert task.prompt(meaning).startswith("name : ")

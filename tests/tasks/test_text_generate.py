"""A user's own prompts and answers: the template, choices against their likelihoods one by one, and mistakes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from tests.support import own_files
from uora_bench.config.compose import compose
from uora_bench.data.sources import Source
from uora_bench.errors import UserError
from uora_bench.models import backbones
from uora_bench.tasks import create_task

FIXED = 'task.choices=["0","1","2","3","4","5","6","7","8","9","10","11"]'


def composed(path: Path, *words: str) -> Any:
    start = ["task=text/generate", "method=lora", "backbone=tiny_gpt2", "recipe=none", "task.max_length=64"]
    return compose([*start, f"task.path={path}", *words]).cell


def loaded(path: Path, *words: str) -> tuple[Any, dict[str, Any]]:
    task = create_task(composed(path, *words).task)
    return task, task.splits(Source())


@pytest.mark.parametrize("suffix", own_files.FORMATS)
def test_a_template_is_filled_in(suffix: str, tmp_path: Path) -> None:
    rows = [{"a b": f"x{i}", "n": i, "answer": i * 2, "unused": None} for i in range(1, 21)]
    path = own_files.write(tmp_path / f"a{suffix}", rows)
    task, parts = loaded(path, "task.template='{{s}} {a b}, {n}:'")
    assert {role: len(part) for role, part in parts.items()} == {"train": 16, "dev": 2, "test": 2}
    prompts, answers = task.texts(parts["dev"])
    number = parts["dev"]["n"][0]
    assert (prompts[0], answers[0]) == (f"{{s}} x{number}, {number}:", f" {int(number) * 2}")
    assert (task.metric.name, task.metric.primary) == ("text/generation", "exact_match")


@pytest.fixture(scope="module")
def model() -> Any:
    cell = composed(Path("none.csv"))
    loaded = backbones.load_backbone(cell.backbone, create_task(cell.task).head, 0)
    return loaded.model.eval(), loaded.processor


@pytest.mark.parametrize("choices", [FIXED, "task.choices=options"])
def test_the_likeliest_choice_is_that_of_each_sequence_alone(choices: str, model: Any, tmp_path: Path) -> None:
    backbone, tokenizer = model
    rows = own_files.quiz(40)
    if choices.endswith("options"):  # rows of two and of three choices
        rows = [{**row, "options": row["options"][: 2 + i % 2]} for i, row in enumerate(rows)]
    task, parts = loaded(own_files.write(tmp_path / "quiz.jsonl", rows), choices)
    assert (task.metric.name, task.metric.primary) == ("text/choices", "accuracy")
    encoded = task.encode(parts["train"], tokenizer)
    batch = task.collate(encoded, range(12), "dynamic")
    with torch.inference_mode():
        losses = task.predict(backbone, batch)
    predicted, _ = task.to_score(losses.numpy(), encoded.references[:12])
    prompts, _ = task.texts(parts["train"])
    for row in range(12):
        own = task.choices(parts["train"])[row]
        likelihoods = []
        for choice in own:
            start, end = (
                tokenizer(text, add_special_tokens=False)["input_ids"] for text in (prompts[row], f" {choice}")
            )
            ids = torch.tensor([[*start, *end, tokenizer.eos_token_id]])
            with torch.inference_mode():
                logs = backbone(input_ids=ids).logits[0, :-1].log_softmax(-1)
            likelihoods.append(float(logs[range(len(logs)), ids[0, 1:]][len(start) - 1 :].sum()))
        best = max(range(len(own)), key=likelihoods.__getitem__)
        assert predicted[row] == best
        assert own[encoded.references[row]] == parts["train"]["answer"][row]
    share = sum(a == b for a, b in zip(predicted, encoded.references, strict=False)) / 12
    assert task.score(losses.numpy(), encoded.references[:12]) == {"accuracy": share}


def test_what_is_written_is_scored_against_the_answer(model: Any, tmp_path: Path) -> None:
    backbone, tokenizer = model
    task, parts = loaded(own_files.write(tmp_path / "quiz.jsonl", own_files.quiz()), "task.max_new_tokens=4")
    encoded = task.encode(parts["dev"], tokenizer)
    with torch.inference_mode():
        made = task.predict(backbone, task.collate(encoded, range(len(encoded)), "dynamic")).numpy()
    texts = task.outputs(made)
    assert task.to_score(made, encoded.references) == (texts, list(parts["dev"]["answer"]))
    assert set(task.score(made, encoded.references)) == {"exact_match", "f1", "rouge_l", "bleu", "chrf"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["task.template='{none}?'"], "quiz.jsonl has no column 'none', its columns are question, answer, options"),
        (["task.template='say'"], "names no column"),
        (["task.template='{answer}'"], "which is the answer"),
        (["task.template='{question'"], "a brace that is text is written twice"),
        (["task.template='{question.real}'"], "a column is named as {column}, nothing else"),
        (["task.template='{question!r}'"], "a column is named as {column}, nothing else"),
        (['task.choices=["1"]'], "two or more answers"),
        (['task.choices=["1","2"]'], "the answer '0' in row 1 of quiz.jsonl is none of its choices"),
        (["task.choices=question"], "column 'question' of quiz.jsonl must hold a list of texts"),
        (["task.answer=options"], "column 'options' of quiz.jsonl must hold texts or numbers"),
        (["task.metric.primary=accuracy"], "text/generation has no 'accuracy'"),
    ],
)
def test_what_is_wrong_is_one_line(words: list[str], message: str, tmp_path: Path) -> None:
    path = own_files.write(tmp_path / "quiz.jsonl", own_files.quiz())
    with pytest.raises(UserError, match=message) as error:
        loaded(path, *words)
    assert "\n" not in str(error.value)

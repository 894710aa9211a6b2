"""MT-Bench's answers of a tiny random LLaMA: conversations, sampling, batches, where an answer ends."""

from __future__ import annotations

import math
from functools import cache
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from tests.support.mt_bench_questions import ASKED
from uora_bench.config.cell import Cell
from uora_bench.config.compose import compose
from uora_bench.errors import CellError
from uora_bench.export.loading import Loaded
from uora_bench.methods import create_method
from uora_bench.mt_bench import kept
from uora_bench.mt_bench.generate import Writer
from uora_bench.mt_bench.judge import answers
from uora_bench.mt_bench.questions import Question
from uora_bench.mt_bench.sampling import Ending, Sampler
from uora_bench.tasks import task_class
from uora_bench.tasks.instruct import Instruct
from uora_bench.training.inject import inject

CHAT = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</{{ m.role }}>{% endfor %}<assistant>"


@cache
def tokenizer() -> Any:
    """Byte-level, with a beginning-of-text token in front as LLaMA's has."""
    core = Tokenizer(models.BPE())
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=["<s>", "</s>"], show_progress=False, initial_alphabet=alphabet
    )
    core.train_from_iterator([turn for q in ASKED for turn in q.turns] * 2, trainer)
    core.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    return PreTrainedTokenizerFast(tokenizer_object=core, bos_token="<s>", eos_token="</s>", chat_template=CHAT)


def cell_of(*words: str) -> Cell:
    base = ["task=instruct/alpaca", "recipe=none", "backbone.dtype=float32", *words]
    return compose(base).cell


def instruct(*words: str) -> Instruct:
    task: Instruct = task_class("instruct")(cell_of(*words).task)
    task.processor = tokenizer()
    return task


def loaded(positions: int = 512, dtype: str = "float32", method: tuple[str, ...] = ("method=lora",)) -> Loaded:
    """A two-block LLaMA with an adapter, both random."""
    cell = cell_of(f"backbone.dtype={dtype}", *method)
    torch.manual_seed(3)
    model: Any = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(
            "llama", vocab_size=len(tokenizer()), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, intermediate_size=48, max_position_embeddings=positions,
        )
    )  # fmt: skip
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    model.to(getattr(torch, dtype)).eval().head_modules = ()
    adapter = create_method(cell.method, 0)
    inject(cell, model, adapter)
    for parameter in adapter.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    head = task_class("instruct")(cell.task).head
    return Loaded(model.eval(), tokenizer(), cell, adapter, head, {}, frozenset(), False, True)


def writer(
    *words: str, asked: tuple[Question, ...] = ASKED, turns: str = "both", longest: int = 24, **model: Any
) -> Any:
    temperatures = {q.question_id: answers.temperature_of(q.category) for q in asked}
    facts = {"turns": turns, "cell_id": "c"}
    want = kept.Asked({q.question_id: q for q in asked}, temperatures, facts)
    return Writer(loaded(**model), instruct(*words), want, 0, longest)


# --- conversations ------------------------------------------------------------------------------------------------


def test_a_dialogue_is_the_template_the_answer_and_the_template_again() -> None:
    task = instruct()
    assert task.dialogue(["A?"], []) == task.prompt("A?")
    assert task.dialogue(["A?", "B?"], ["yes \n"]) == (
        "### Instruction:\nA?\n\n### Response:\nyes\n\n### Instruction:\nB?\n\n### Response:\n"
    )
    short = instruct("task.template=human_assistant")
    assert short.dialogue(["A?", "B?"], ["yes"]) == "### Human: A?\n### Assistant: yes\n### Human: B?\n### Assistant: "
    assert instruct("task.template=plain").dialogue(["A?", "B?"], ["y"]) == "A?\n\nAnswer:\ny\n\nB?\n\nAnswer:\n"
    chat = instruct("task.template=chat")
    assert (
        chat.dialogue([" A? ", "B?"], ["yes"]) == "<user>A?</user><assistant>yes</assistant><user>B?</user><assistant>"
    )
    assert chat.dialogue(["A? "], []) == chat.prompt("A? ")
    with pytest.raises(ValueError, match="zip"):
        task.dialogue(["A?", "B?"], [])


def test_what_a_new_prompt_begins_with() -> None:
    marks = {t: instruct(f"task.template={t}").new_prompt for t in ("alpaca", "human_assistant", "plain", "chat")}
    assert marks == {"alpaca": "### Instruction:", "human_assistant": "### Human:", "plain": None, "chat": None}


# --- sampling -----------------------------------------------------------------------------------------------------


def draws(temperature: float, seed: int, scores: torch.Tensor, steps: int) -> list[int]:
    """``steps`` tokens drawn one after the other from one row of ``scores``."""
    sampler = Sampler([temperature], [seed], 0, steps, "cpu")
    return [int(sampler(torch.zeros(1, t, dtype=torch.long), scores[None]).argmax()) for t in range(steps)]


def test_draws_have_the_tempered_distribution() -> None:
    scores = torch.tensor([1.0, 0.0, -torch.inf, 2.0, -1.0])
    for temperature in (0.7, 1.5):
        count = 5_000
        found = torch.bincount(torch.tensor(draws(temperature, 5, scores, count)), minlength=5) / count
        expected = (scores / temperature).softmax(dim=0)
        assert found[2] == 0
        assert (found - expected).abs().max() < 4 * math.sqrt(0.25 / count)
    assert set(draws(0.0, 5, scores, 50)) == {3}
    assert set(draws(1e-4, 5, scores, 50)) == {3}


def test_a_stream_is_the_rows_own() -> None:
    scores = torch.randn(3, 40, generator=torch.Generator().manual_seed(0))
    sampler = Sampler([0.7, 0.0, 0.7], [1, 2, 3], 4, 6, "cpu")
    together = [sampler(torch.zeros(3, 4 + t, dtype=torch.long), scores).argmax(dim=1).tolist() for t in range(6)]
    for row, (temperature, seed) in enumerate(((0.7, 1), (0.0, 2), (0.7, 3))):
        assert [step[row] for step in together] == draws(temperature, seed, scores[row], 6)
    assert draws(0.7, 1, scores[0], 6) == draws(0.7, 1, scores[0], 30)[:6]
    assert draws(0.7, 1, scores[0], 30) != draws(0.7, 2, scores[0], 30)
    with pytest.raises(CellError, match="not finite"):
        draws(0.0, 1, torch.tensor([0.0, torch.nan]), 1)


def test_a_row_ends_where_it_begins_a_prompt_of_its_own_but_not_in_its_prompt() -> None:
    encode = tokenizer().encode
    prompt = encode("### Human: hello\n### Human:", add_special_tokens=False)
    said = encode(" well\n### Human: and", add_special_tokens=False)
    ending = Ending(tokenizer(), 1, "### Human:", len(prompt), 1)
    stops = [bool(ending(torch.tensor([prompt + said[:n]]), None)) for n in range(1, len(said) + 1)]
    first = stops.index(True)
    assert "### Human:" in tokenizer().decode(said[: first + 1])
    assert "### Human:" not in tokenizer().decode(said[:first])
    assert (ending.ended, ending.lengths) == (["new_prompt"], [first + 1])
    assert all(stops[first:])


# --- whole answers ------------------------------------------------------------------------------------------------


def test_the_same_question_gets_the_same_answer_alone_and_in_any_batch() -> None:
    one = writer()
    together = one.answer(ASKED)
    assert [a.question_id for a in together] == [1, 2, 3, 4]
    assert [len(a.answers) for a in together] == [2, 2, 1, 2]
    assert [a.temperature for a in together] == [0.7, 0.0, 0.1, 0.7]
    assert len({a.answers[0] for a in together}) == 4
    apart = [one.answer([q])[0] for q in ASKED]
    assert apart == together
    assert one.answer(ASKED[::-1]) == together[::-1]
    assert writer().answer(ASKED) == together


@pytest.mark.parametrize(
    "method", [("method=lora",), ("method=peft", "peft.type=prompt_tuning", "peft.num_virtual_tokens=5")]
)
@pytest.mark.filterwarnings("ignore:Position ids are not supported")
def test_greedy_answers_are_those_of_the_unpadded_model(method: tuple[str, ...]) -> None:
    """Turn by turn by hand: one token after the other, no padding, no cache, the adapter not merged."""
    one, question = writer(method=method), ASKED[1]
    batches = [[ASKED[i] for i in batch] for batch in one.batches(ASKED, 4)]
    assert sorted(len(batch) for batch in batches) == ([4] if method == ("method=lora",) else [1, 1, 1, 1])
    (made,) = [a for batch in batches for a in one.answer(batch) if a.question_id == question.question_id]
    reference, task = loaded(method=method).model, instruct()
    said: list[str] = []
    for turn in range(2):
        ids = tokenizer()(task.dialogue(question.turns[: turn + 1], said))["input_ids"]
        assert ids[0] == 0
        new: list[int] = []
        while len(new) < 24:
            with torch.no_grad():
                given = torch.tensor([ids + new])
                logits = reference(input_ids=given, attention_mask=torch.ones_like(given)).logits
            token = int(logits[0, -1].argmax())
            if token == 1:
                break
            new.append(token)
        said.append(tokenizer().decode(new, skip_special_tokens=True).strip())
        assert made.generation["tokens"][turn] == len(new)
    assert made.answers == tuple(said)


def test_seeds_and_temperatures_decide() -> None:
    base = writer()
    other = writer()
    other.seed = 1
    first, second = base.answer(ASKED), other.answer(ASKED)
    assert [a.answers == b.answers for a, b in zip(first, second, strict=True)][:2] == [False, True]
    assert first[0].answers[0] != first[0].answers[1]
    assert writer(turns="1").answer(ASKED[:1])[0].answers == first[0].answers[:1]


def test_an_answer_ends_at_the_end_of_text() -> None:
    one = writer()
    _force(one.model, tokenizer().encode("Yes", add_special_tokens=False), [1])
    made = one.answer(ASKED[:2])
    assert [a.answers for a in made] == [("Yes", "Yes")] * 2
    count = len(tokenizer().encode("Yes", add_special_tokens=False))
    assert made[0].generation["tokens"] == [count, count]
    assert made[0].generation["ended"] == ["end_of_text", "end_of_text"]


def test_an_answer_ends_where_a_new_prompt_begins_and_at_its_greatest_length() -> None:
    own = tokenizer().encode("Blue.\n\n### Instruction:\nNext", add_special_tokens=False)
    one = writer(longest=60)
    _force(one.model, own, own)
    (made,) = one.answer(ASKED[2:3])
    assert made.answers == ("Blue.",)
    assert made.generation["ended"] == ["new_prompt"]
    assert made.generation["tokens"][0] < len(own)
    other = writer("task.template=chat", longest=5)
    _force(other.model, own, own)
    (made,) = other.answer(ASKED[2:3])
    assert (made.generation["ended"], made.generation["tokens"]) == (["length"], [5])


def _force(model: Any, first: list[int], then: list[int]) -> None:
    """Let ``model`` say ``first`` and then ``then`` after every prompt, whatever it is given."""
    own = model.forward
    said = [*first, *then]
    step = [0]

    def forward(*args: Any, **kwargs: Any) -> Any:
        output = own(*args, **kwargs)
        new = kwargs["input_ids"].shape[1] > 1  # the whole prompt: an answer begins
        step[0] = 0 if new else step[0] + 1
        output.logits[:, -1] = -1e4
        output.logits[:, -1, said[step[0] % len(said)]] = 1e4
        return output

    model.forward = forward


def test_long_prompts_lose_their_earliest_tokens_after_the_first() -> None:
    one = writer(positions=64, longest=1024)
    assert (one.longest, one.positions) == (32, 64)
    made = one.answer(ASKED)
    assert {a.generation["max_new_tokens"] for a in made} == {32}
    whole = one.task.prompts([one.task.dialogue(ASKED[2].turns, ())], torch.zeros(1).numpy(), tokenizer())
    cut, lost = one.fit(whole)
    before, after = whole.features["input_ids"][0].tolist(), cut.features["input_ids"][0].tolist()
    assert (len(after), lost) == (32, [len(before) - 32])
    assert made[2].generation["prompt_tokens_dropped"] == lost
    assert after == [before[0], *before[-31:]]
    roomy = writer(positions=512, longest=24)
    assert roomy.longest == 24
    assert {n for a in roomy.answer(ASKED) for n in a.generation["prompt_tokens_dropped"]} == {0}


def test_half_precision_keeps_the_adapter_beside_the_weights() -> None:
    one = writer(dtype="bfloat16", longest=4)
    assert (one.merged, writer().merged) == (False, True)
    (made,) = one.answer(ASKED[:1])
    assert (made.generation["dtype"], made.generation["merged"]) == ("bfloat16", False)


def test_the_backbones_own_generation_settings_do_not_reach_in() -> None:
    base = writer().answer(ASKED)
    model = loaded()
    own = model.model.generation_config
    own.repetition_penalty, own.no_repeat_ngram_size, own.top_k, own.do_sample, own.eos_token_id = (
        9.0,
        2,
        1,
        True,
        [2, 5],
    )
    want = writer().asked
    assert Writer(model, instruct(), want, 0, 24).answer(ASKED) == base

"""Packing: several examples in one sequence count as they do alone, for every kind of causal model of the suite."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

from uora_bench.config.compose import compose
from uora_bench.tasks import create_task
from uora_bench.tasks.causal import IGNORED, Packed, pack

ROWS = [
    {"instruction": f"Say {word} {n} times.", "input": "" if n % 2 else "now", "output": f"{word} " * n}
    for n, word in enumerate(["a", "bee", "sea", "dee", "e"], 1)
]
SIZES = {"num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 48}
MODELS: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256, "resid_pdrop": 0.0, "embd_pdrop": 0.0,
             "attn_pdrop": 0.0, "bos_token_id": 0, "eos_token_id": 0},
    "llama": {"hidden_size": 32, **SIZES},
    "qwen2": {"hidden_size": 32, **SIZES},
}  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    core = Tokenizer(
        models.BPE(
            vocab={c: i for i, c in enumerate(["</s>", *sorted(pre_tokenizers.ByteLevel.alphabet())])}, merges=[]
        )
    )
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    return PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>")


def task(*words: str) -> Any:
    cell = compose(["method=lora", "task=instruct/alpaca", "recipe=none", *words]).cell
    return create_task(cell.task)


def model(kind: str) -> Any:
    torch.manual_seed(0)
    made = AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, vocab_size=257, **MODELS[kind]))
    for parameter in made.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return made.to(torch.float64)


@pytest.mark.parametrize("padding", ["dynamic", "max_length"])
@pytest.mark.parametrize("kind", MODELS)
def test_the_loss_and_its_gradient_are_those_of_the_examples_alone(
    kind: str, padding: str, tokenizer: PreTrainedTokenizerFast
) -> None:
    rows, net = Dataset.from_list(ROWS), model(kind)
    found = []
    for packing in ("true", "false"):
        own = task(f"task.packing={packing}", "task.max_length=200")
        encoded = own.encode(rows, tokenizer, training=True)
        assert isinstance(encoded, Packed) == (packing == "true")
        net.zero_grad()
        if packing == "true":
            assert 1 < len(encoded) < len(rows)  # some share a sequence, some batches have room left
            assert int(encoded.lengths.max()) <= 200
            loss, weight = own.loss(net, own.collate(encoded, range(len(encoded)), padding))
            loss.backward()
        else:
            pairs = [own.loss(net, own.collate(encoded, [i], padding)) for i in range(len(encoded))]
            loss, weight = (sum(column) for column in zip(*pairs, strict=True))
            loss.backward()
        found.append((loss.item(), weight.item(), [p.grad.clone() for p in net.parameters()]))
    (loss, weight, gradients), (alone, tokens, expected) = found
    assert weight == tokens
    assert loss == pytest.approx(alone, rel=1e-10)
    for a, b in zip(gradients, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-8, atol=1e-10)


def test_only_rows_to_learn_from_are_packed(tokenizer: PreTrainedTokenizerFast) -> None:
    own = task("task.packing=true", "task.max_length=200")
    dev = own.encode(Dataset.from_list(ROWS), tokenizer)
    assert not isinstance(dev, Packed)
    assert len(dev) == len(ROWS)


def test_no_example_is_asked_to_foretell_the_next(tokenizer: PreTrainedTokenizerFast) -> None:
    own = task("task.packing=true", "task.max_length=200", "task.loss_on_prompt=true")
    encoded = own.encode(Dataset.from_list(ROWS), tokenizer, training=True)
    for places, labels in zip(encoded.features["position_ids"], encoded.features["labels"], strict=True):
        assert (labels[places == 0] == IGNORED).all()
        assert (labels[places > 0] != IGNORED).all()


@given(st.lists(st.integers(1, 20), max_size=40), st.integers(20, 50))
def test_packs_keep_the_order_and_the_room_and_none_is_empty(lengths: list[int], room: int) -> None:
    groups = pack(lengths, room)
    assert [i for group in groups for i in group] == list(range(len(lengths)))
    assert all(group and sum(lengths[i] for i in group) <= room for group in groups)
    for first, second in pairwise(groups):
        assert sum(lengths[i] for i in first) + lengths[second[0]] > room  # begun only where it had to be


def test_packing_is_off_by_default_and_part_of_the_id() -> None:
    words = ["method=lora", "task=instruct/alpaca", "recipe=none"]
    off, on = (compose([*words, *extra]).cell for extra in ([], ["task.packing=true"]))
    assert off.task.options.packing is False
    assert off.cell_id("d") != on.cell_id("d")

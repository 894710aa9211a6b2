"""backbone.pooling: what the head of an encoder reads."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
import transformers

from uora_bench.config.cell import Cell
from uora_bench.config.compose import compose
from uora_bench.errors import UserError
from uora_bench.models import backbones, pooling
from uora_bench.models.heads import HeadSpec
from uora_bench.training import cpu_ops

HEAD = HeadSpec("AutoModelForSequenceClassification", {"num_labels": 2})


def cell(*words: str) -> Cell:
    return compose(["method=lora", "task=glue/mrpc", *words]).cell


def small() -> Any:
    config = transformers.BertConfig(
        vocab_size=50, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32, num_labels=2
    )
    return transformers.BertForSequenceClassification(config).eval()


def test_the_mean_is_over_the_tokens_that_are_not_padding() -> None:
    model = small()
    pooling.set_pooling(cell("backbone=minilm", "backbone.pooling=mean").backbone, model)
    ids = torch.tensor([[5, 6, 7, 0, 0], [8, 9, 10, 11, 12]])
    mask = torch.tensor([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]])
    hidden = model.bert(input_ids=ids, attention_mask=mask).last_hidden_state
    expected = model.classifier(torch.stack([hidden[0, :3].mean(0), hidden[1].mean(0)]))
    torch.testing.assert_close(model(input_ids=ids, attention_mask=mask).logits, expected)
    # padding changes nothing
    alone = model(input_ids=ids[:1, :3], attention_mask=mask[:1, :3]).logits
    torch.testing.assert_close(alone, expected[:1])
    assert not [name for name, _ in model.named_parameters() if "pooler" in name]


def test_own_leaves_the_model_as_it_is() -> None:
    model = small()
    pooling.set_pooling(cell("backbone=minilm").backbone, model)
    assert type(model.bert.pooler).__name__ == "BertPooler"


def test_a_model_without_a_pooler_is_refused() -> None:
    model = small()
    model.bert.pooler = None
    with pytest.raises(UserError, match=r"backbone.pooling=mean: backbone=minilm has no pooler"):
        pooling.set_pooling(cell("backbone=minilm", "backbone.pooling=mean").backbone, model)


def test_a_pooler_that_reads_something_else_than_all_tokens_is_refused() -> None:
    sizes = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 32}
    albert = transformers.AlbertConfig(**sizes, num_attention_heads=2, embedding_size=8)
    models = (
        transformers.AlbertForSequenceClassification(albert),  # its pooler is given the first token
        transformers.FNetForSequenceClassification(transformers.FNetConfig(**sizes)),  # knows of no padding
        transformers.SwinForImageClassification(
            transformers.SwinConfig(image_size=32, patch_size=4, embed_dim=8, depths=[1], num_heads=[2], window_size=4)
        ),  # width and length the other way round
    )
    backbone = cell("backbone=minilm", "backbone.pooling=mean").backbone
    for model in models:
        with pytest.raises(UserError, match="no pooler before its head that reads all tokens; use own"):
            pooling.set_pooling(backbone, model)
    with pytest.raises(UserError, match="use own"):
        pooling.set_pooling(replace(backbone, kind="vision"), small())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_text_without_a_token_has_the_mean_zero_and_harms_no_other(dtype: torch.dtype) -> None:
    model = small()
    pooling.set_pooling(cell("backbone=minilm", "backbone.pooling=mean").backbone, model)
    hidden, mask = torch.randn(3, 5, 16).to(dtype), torch.tensor([[0] * 5, [0, 0, 1, 1, 1], [1] * 5])
    model.bert.pooler.mask = mask
    found = model.bert.pooler(hidden)
    expected = torch.stack([torch.zeros(16), hidden[1, 2:].float().mean(0), hidden[2].float().mean(0)])
    torch.testing.assert_close(found.float(), expected, atol=1e-2 if dtype != torch.float32 else 1e-6, rtol=1e-2)


def test_pooling_is_part_of_the_cell_only_where_it_is_not_the_models_own() -> None:
    own, mean = cell("backbone=minilm"), cell("backbone=minilm", "backbone.pooling=mean")
    assert "pooling" not in own.canonical()["backbone"]
    assert mean.canonical()["backbone"]["pooling"] == "mean"
    assert own.key != mean.key


def test_the_counts_leave_the_pooler_out() -> None:
    own = backbones.skeleton(cell("backbone=minilm").backbone, HEAD)
    mean = backbones.skeleton(cell("backbone=minilm", "backbone.pooling=mean").backbone, HEAD)
    total = [sum(p.numel() for p in model.parameters()) for model in (own, mean)]
    assert total[0] - total[1] == 384 * 384 + 384


def test_the_faster_operations_of_a_cpu_give_the_same_logits() -> None:
    backbone = cell("backbone=minilm", "backbone.pooling=mean").backbone
    torch.manual_seed(0)
    model = small()
    pooling.set_pooling(backbone, model)
    ids = torch.tensor([[5, 6, 7, 0, 0], [8, 9, 10, 11, 12]])
    mask = (ids != 0).long()
    expected = model(input_ids=ids, attention_mask=mask).logits
    assert cpu_ops.install(model)
    torch.testing.assert_close(model(input_ids=ids, attention_mask=mask).logits, expected, rtol=1e-5, atol=1e-6)

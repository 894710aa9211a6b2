"""Attention and dropout of `cpu_passes` against naive float64 references and the libraries' own."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    GPT2Config,
    LlamaConfig,
    RobertaConfig,
)

from uora_bench.training import cpu_ops
from uora_bench.training.cpu_ops import attend, dropout


def make(kind: str, p: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    if kind == "roberta":
        config = RobertaConfig(
            vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
            max_position_embeddings=40, hidden_dropout_prob=p, attention_probs_dropout_prob=p, num_labels=2,
        )  # fmt: skip
        return AutoModelForSequenceClassification.from_config(config)
    if kind == "gpt2":
        config = GPT2Config(
            vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=40, attn_pdrop=p, embd_pdrop=p, resid_pdrop=p
        )
    else:  # grouped keys and values
        config = LlamaConfig(
            vocab_size=64, hidden_size=32, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            intermediate_size=64, max_position_embeddings=40, attention_dropout=p,
        )  # fmt: skip
    return AutoModelForCausalLM.from_config(config)


def batch(padded: bool) -> dict[str, torch.Tensor]:
    ids = torch.randint(5, 64, (3, 12), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    if padded:
        mask[0, 8:] = 0
        mask[2, 3:] = 0
    return {"input_ids": ids, "attention_mask": mask}


def gradients(model: nn.Module, inputs: dict[str, torch.Tensor], low: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        logits = model(**inputs).logits.float()
    keep = inputs["attention_mask"].bool() if logits.ndim == 3 else slice(None)
    logits[keep].square().sum().backward()
    return logits[keep].detach(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("kind", ["roberta", "gpt2", "llama"])
def test_a_model_computes_the_same_map(kind, padded):
    """In bfloat16 the passes differ by rounding only: both are as near to the float32 model as each other."""
    own, library, exact = make(kind).train(), make(kind).train(), make(kind).train()
    assert cpu_ops.install(own)["attention"] == "cpu"
    inputs = batch(padded)
    found, found_grads = gradients(own, inputs, low=True)
    plain, plain_grads = gradients(library, inputs, low=True)
    truth, true_grads = gradients(exact, inputs, low=False)
    scale = truth.abs().max()
    assert (found - truth).abs().max() <= 2 * (plain - truth).abs().max() + 1e-3 * scale
    size = torch.cat([g.flatten() for g in true_grads]).norm()
    error = torch.cat([(a - b).flatten() for a, b in zip(found_grads, true_grads, strict=True)]).norm()
    other = torch.cat([(a - b).flatten() for a, b in zip(plain_grads, true_grads, strict=True)]).norm()
    assert error <= 1.5 * other + 1e-3 * size
    assert error < 0.05 * size


@pytest.mark.parametrize("kind", ["roberta", "gpt2", "llama"])
def test_in_float32_without_dropout_nothing_changes(kind):
    own, library = make(kind).train(), make(kind).train()
    cpu_ops.install(own)
    for a, b in zip(gradients(own, batch(True), False)[1], gradients(library, batch(True), False)[1], strict=True):
        assert torch.equal(a, b)


def naive(q, k, v, mask, scaling):
    """softmax(scaling q kᵀ + mask) v, one query at a time, in float64."""
    q, k, v = (t.double() for t in (q, k, v))
    y = torch.zeros(q.shape[0], q.shape[2], q.shape[1], q.shape[3], dtype=torch.float64)
    for b in range(q.shape[0]):
        for h in range(q.shape[1]):
            for i in range(q.shape[2]):
                scores = scaling * (k[b, h] @ q[b, h, i])
                scores[~mask[b, 0, i]] = -math.inf
                y[b, i, h] = scores.softmax(0) @ v[b, h]
    return y


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("given", [False, True])
def test_the_products_against_a_naive_reference(monkeypatch, given, causal):
    """The path with dropout, the dropout itself taken out."""
    monkeypatch.setattr(cpu_ops, "dropout", lambda x, p: x)
    torch.manual_seed(3)
    q, k, v = (torch.randn(2, 3, 5, 4, requires_grad=True) for _ in range(3))
    mask = torch.ones(2, 1, 5, 5, dtype=torch.bool)
    if given:
        mask[1, :, :, 3:] = False
    if causal:
        mask = mask & torch.ones(5, 5, dtype=torch.bool).tril()
    passed = mask if given else None
    y, weights = attend(nn.Identity(), q, k, v, passed, dropout=0.5, scaling=0.3, is_causal=causal)
    assert weights is None
    reference = naive(q, k, v, mask, 0.3)
    torch.testing.assert_close(y.double(), reference, rtol=1e-5, atol=1e-6)
    additive = torch.zeros(mask.shape).masked_fill(~mask, torch.finfo(torch.float32).min)
    again, _ = attend(nn.Identity(), q, k, v, additive, dropout=0.5, scaling=0.3)
    torch.testing.assert_close(again, y)
    g = torch.randn_like(y)
    got = torch.autograd.grad(y, (q, k, v), g)
    want = torch.autograd.grad(reference, (q, k, v), g.double())
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_keeps_the_share_and_the_mean(dtype, p):
    torch.manual_seed(0)
    x = torch.ones(401, 503, dtype=dtype, requires_grad=True)  # no multiple of four
    y = dropout(x, p)
    kept = y != 0
    count, share = x.numel(), kept.double().mean().item()
    assert abs(share - (1 - p)) < 5 * math.sqrt(p * (1 - p) / count) + 2**-16
    assert y[kept].unique().tolist() == pytest.approx([1 / (1 - p)], rel=2**-7 if dtype is torch.bfloat16 else 1e-4)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())  # ∂y/∂x is the factor itself
    # neighbours, and the four that share a draw, are independent
    z = (kept.flatten()[: count // 4 * 4].double() - (1 - p)).view(-1, 4)
    for i in range(4):
        for j in range(i):
            assert abs((z[:, i] * z[:, j]).mean().item()) < 5 * p * (1 - p) / math.sqrt(len(z))


def test_dropout_is_drawn_from_torchs_generator():
    x = torch.ones(64, 64)
    torch.manual_seed(5)
    first, second = dropout(x, 0.3), dropout(x, 0.3)
    torch.manual_seed(5)
    assert torch.equal(dropout(x, 0.3), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("p", [0.0, 1.0, 1e-9])
def test_dropout_at_the_ends(p):
    x = torch.randn(8, 8)
    assert torch.equal(dropout(x, p), torch.zeros_like(x) if p == 1 else x)


def test_install_changes_plain_dropout_alone_and_only_in_training():
    class Own(nn.Dropout):
        pass

    model = nn.Sequential(nn.Dropout(0.5), Own(0.5), nn.Dropout(0.5, inplace=True), nn.Linear(4, 4))
    names = list(model.state_dict())
    assert cpu_ops.install(model) == {"dropout": "cpu"}
    assert [type(m) for m in model][:3] == [cpu_ops.Dropout, Own, nn.Dropout]
    assert list(model.state_dict()) == names
    x = torch.randn(3, 4)
    assert torch.equal(model[0].eval()(x), x)
    assert cpu_ops.install(nn.Linear(2, 2)) == {}


def test_the_saved_configuration_does_not_name_it(tmp_path):
    model = make("roberta")
    cpu_ops.install(model)
    model.save_pretrained(tmp_path)
    assert cpu_ops.ATTENTION not in (tmp_path / "config.json").read_text(encoding="utf-8")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert again.config._attn_implementation == "sdpa"


def test_gradient_checkpointing_draws_the_same_masks():
    inputs = batch(True)
    results = []
    for checkpointing in (False, True):
        model = make("roberta", p=0.3).train()
        cpu_ops.install(model)
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        torch.manual_seed(7)
        results.append(gradients(model, inputs, low=False)[1])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b)


def test_generation_is_the_librarys():
    own, library = make("llama").eval(), make("llama").eval()
    cpu_ops.install(own)
    inputs = {k: v[:, :6] for k, v in batch(False).items()}
    written = [m.generate(**inputs, max_new_tokens=8, do_sample=False, pad_token_id=0) for m in (own, library)]
    assert torch.equal(*written)

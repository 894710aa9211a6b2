"""Losses from hidden states against the library's pass, for causal families: which take targets, and which are left."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import AutoConfig, AutoModelForCausalLM

from uora_bench.tasks import causal
from uora_bench.tasks.causal import IGNORED, CausalLM
from uora_bench.training import chunked_loss, cpu_functions, cpu_ops
from uora_bench.training.memory import give_storage

WORDS = 61
ROTARY: dict[str, Any] = {
    "vocab_size": WORDS, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 48, "max_position_embeddings": 40, "head_dim": 8, "pad_token_id": 0,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "gpt2": {"vocab_size": WORDS, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40},
    "gpt_neox": ROTARY,
    "qwen2": ROTARY,
    "qwen3": ROTARY,
    "mistral": ROTARY,
    "gemma": ROTARY,
    "opt": {**ROTARY, "ffn_dim": 48, "word_embed_proj_dim": 32},
}
LEFT = {
    "gemma2": {**ROTARY, "final_logit_softcapping": 5.0},
    "cohere": {**ROTARY, "logit_scale": 0.5},
    "granite": {**ROTARY, "logits_scaling": 3.0},
    "phi": ROTARY,  # a bias
}


@pytest.fixture(autouse=True)
def worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny models count as large ones, and a few tokens as many."""
    monkeypatch.setattr(chunked_loss, "WORTH", 0)
    monkeypatch.setattr(cpu_functions, "CHUNK", 5)


def make(family: str, settings: dict[str, Any], own: bool) -> Any:
    torch.manual_seed(0)
    model: Any = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **settings))
    for name, parameter in model.named_parameters():
        parameter.data.add_(0.2 * torch.randn_like(parameter))  # away from the start, where scores are nothing
        parameter.requires_grad_("norm" in name or "ln_" in name)
    if own:
        cpu_ops.install(model)
    return model.eval()


def batch() -> dict[str, torch.Tensor]:
    ids = torch.randint(5, WORDS, (3, 12), generator=torch.Generator().manual_seed(1))
    mask = (torch.arange(12) < torch.tensor([12, 12, 7])[:, None]).long()
    labels = ids.masked_fill(mask == 0, IGNORED)
    labels[:, :3] = IGNORED
    return {"input_ids": ids, "attention_mask": mask, "labels": labels}


def passed(model: Any, low: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """The token losses and all gradients of their sum."""
    with torch.autocast("cpu", torch.bfloat16, enabled=low):
        losses = CausalLM._token_losses(model, batch(), 0.1)
    losses.float().sum().backward()
    return losses.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("family", FAMILIES)
def test_losses_and_gradients_are_the_librarys(family: str) -> None:
    own, library = (make(family, FAMILIES[family], it) for it in (True, False))
    assert own.takes_targets
    for found, expected in zip(passed(own), passed(library), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5 * max(1.0, float(expected.abs().max())))
    with torch.inference_mode():
        losses = CausalLM._token_losses(own, batch(), 0.0)
        torch.testing.assert_close(losses, CausalLM._token_losses(library, batch(), 0.0), rtol=1e-4, atol=1e-5)
        ids = batch()["input_ids"]
        torch.testing.assert_close(own(input_ids=ids).logits, library(input_ids=ids).logits, rtol=1e-5, atol=1e-5)


def test_in_bfloat16_gpt2_is_as_near_to_float32_as_the_librarys() -> None:
    truth = passed(make("gpt2", FAMILIES["gpt2"], False))
    own, library = (passed(make("gpt2", FAMILIES["gpt2"], it), low=True) for it in (True, False))
    for exact, found, plain in zip(truth, own, library, strict=True):
        assert (found - exact).norm() <= 1.5 * (plain - exact).norm()


@pytest.mark.parametrize("family", LEFT)
def test_a_family_that_changes_its_logits_keeps_the_librarys_pass(family: str) -> None:
    model = make(family, LEFT[family], True)
    assert not hasattr(model, "takes_targets")


@pytest.mark.parametrize(("family", "settings"), [*LEFT.items(), ("gpt2", FAMILIES["gpt2"])])
def test_an_evaluation_makes_logits_only_before_targets(
    family: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs, rows = make(family, settings, False), batch(), []
    with torch.no_grad():
        expected = CausalLM._token_losses(model, inputs, 0.1)
        model.get_output_embeddings().register_forward_hook(lambda _, given, made: rows.append(made.shape[:-1].numel()))
        monkeypatch.setattr(causal, "MANY_WORDS", WORDS)
        found = CausalLM._token_losses(model, inputs, 0.1)
        nothing = CausalLM._token_losses(model, {**inputs, "labels": torch.full_like(inputs["labels"], IGNORED)}, 0.1)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
    assert not nothing.any()
    assert rows == [int((inputs["labels"][:, 1:] != IGNORED).sum()), 0]


def test_a_trained_output_layer_and_a_small_model_are_left(monkeypatch: pytest.MonkeyPatch) -> None:
    model = make("gpt2", FAMILIES["gpt2"], False)
    model.lm_head.weight.requires_grad_(True)
    assert chunked_loss.install(model) == {}
    monkeypatch.undo()
    assert chunked_loss.install(make("gpt2", FAMILIES["gpt2"], False)) == {}


def test_shapes_alone_are_enough_to_tell() -> None:
    """Memory is foretold from a model without weights."""
    for family, settings in (("gpt2", FAMILIES["gpt2"]), ("gemma2", LEFT["gemma2"])):
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **settings))
        model.requires_grad_(False)
        with FakeTensorMode():
            give_storage(model)
            changed = cpu_ops.install(model)
        assert ("cross_entropy" in changed) == (family == "gpt2")

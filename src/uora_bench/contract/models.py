"""Tiny models of real architectures, and the shortest way to put a method on them."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from uora_bench.config.cell import BackboneConfig, build_method
from uora_bench.config.compose import compose
from uora_bench.methods import create_method
from uora_bench.methods.base import Method
from uora_bench.models.targets import Target, find_targets
from uora_bench.util.schema import build

ROBERTA: dict[str, Any] = {
    "model_type": "roberta", "vocab_size": 99, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
    "intermediate_size": 48, "max_position_embeddings": 40, "type_vocab_size": 1, "pad_token_id": 1,
    "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
}  # fmt: skip
GPT2: dict[str, Any] = {
    "model_type": "gpt2", "vocab_size": 99, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 40,
    "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0,
}  # fmt: skip


@cache
def backbone_config(name: str) -> BackboneConfig:
    """``configs/backbone/<name>.yaml`` as its dataclass."""
    return build(BackboneConfig, compose([f"backbone={name}", "task=glue/rte", "recipe=none"]).values["backbone"])


def roberta(dtype: torch.dtype = torch.float64, seed: int = 0, **changes: Any) -> Any:
    """A two-block RoBERTa classifier in eval mode, with weights large enough for its logits to differ."""
    torch.manual_seed(seed)
    model = AutoModelForSequenceClassification.from_config(
        AutoConfig.for_model(**{**ROBERTA, **changes}), trust_remote_code=False
    )
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    model.head_modules = ("classifier",)
    return model.to(dtype).eval()


def gpt2(dtype: torch.dtype = torch.float64, seed: int = 0) -> Any:
    """A two-block GPT-2 language model (fused c_attn, Conv1D) in eval mode, with large weights too."""
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**GPT2), trust_remote_code=False)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    model.head_modules = ()
    return model.to(dtype).eval()


@cache
def method_defaults(name: str) -> dict[str, Any]:
    """``configs/method/<name>.yaml`` as plain values."""
    return dict(compose([f"method={name}", "recipe=none"]).values["method"])


def make_method(name: str, seed: int = 0, **options: Any) -> Method:
    """The method with the defaults of its YAML and ``options`` over them."""
    return create_method(build_method({**method_defaults(name), **options}), seed)


def inject(method: Method, model: Any, kinds: tuple[str, ...] | None = None, seed: int = 0) -> list[Target]:
    """Put ``method`` on a model of `roberta` or `gpt2`; returns the targets."""
    config = backbone_config("gpt2_medium" if model.config.model_type == "gpt2" else "roberta_base")
    targets = find_targets(model, config, method.config.adapts if kinds is None else kinds)
    method.inject(model, targets, torch.Generator().manual_seed(seed))
    return targets


def tokens(model: Any, batch: int = 3, length: int = 11, seed: int = 1) -> dict[str, torch.Tensor]:
    """Random input ids (batch, length) int64 without padding, the same for every model."""
    generator = torch.Generator().manual_seed(seed)
    return {"input_ids": torch.randint(3, 99, (batch, length), generator=generator)}


def labelled(model: Any, batch: int = 3, seed: int = 1) -> dict[str, torch.Tensor]:
    """`tokens` with labels of the model's kind, so that a forward pass gives a loss."""
    inputs = tokens(model, batch, seed=seed)
    causal = model.config.model_type == "gpt2"
    return {**inputs, "labels": inputs["input_ids"] if causal else inputs["input_ids"][:, 0] % 2}

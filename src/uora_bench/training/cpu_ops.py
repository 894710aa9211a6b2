"""Training passes on a CPU: attention and dropout in forms that cost less there than the libraries' own.

A step in bfloat16 loses much of its time in two places:

- drawing dropout masks, one random number per entry: here 16 bits are drawn per entry, four entries to a draw, so that
  the probability is p rounded to a multiple of 2⁻¹⁶ (and the kept entries are scaled by what it was rounded to);
- torch's fused attention, whose backward pass in bfloat16 takes several times as long as in float32, and which has no
  fused form with dropout: here that backward runs in float32, and attention with dropout as two plain products.

Both are the maps the libraries compute, with other rounding and other random numbers. Large language models get more
(`cpu_llama`, `chunked_loss`). `install` puts them into a model;
on a GPU, and with ``trainer.cpu_ops=library``, nothing is touched. ``docs/decisions/0014-cpu-ops.md``.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

ATTENTION = "uora_bench_cpu"  # the name under which transformers finds `attend`
_LEVELS = 1 << 16  # of a random number of 16 bits
_PER_DRAW = 4  # such numbers in one draw of 64 bits


def install(model: Any) -> dict[str, str]:
    """Put `attend` and `Dropout` into ``model``; returns what was changed, for the record.

    Attention is replaced where the model takes it from transformers' table and stands at ``sdpa``; dropout where it is
    a plain ``nn.Dropout``. Parameters, their names and the saved configuration stay as they are.
    """
    changed = {}
    if getattr(getattr(model, "config", None), "_attn_implementation", None) == "sdpa":
        from transformers import AttentionInterface, AttentionMaskInterface
        from transformers.masking_utils import sdpa_mask

        AttentionInterface.register(ATTENTION, attend)
        AttentionMaskInterface.register(ATTENTION, sdpa_mask)
        model.set_attn_implementation(ATTENTION)
        changed["attention"] = "cpu"
    for module in model.modules():
        if type(module) is nn.Dropout and not module.inplace:
            module.__class__ = Dropout
            changed["dropout"] = "cpu"
    if type(model).__name__ == "LlamaForCausalLM":  # asked by name: the import takes a while
        from uora_bench.training import cpu_llama

        changed |= cpu_llama.install(model)
    if type(model).__name__.endswith(("ForCausalLM", "LMHeadModel")) and not getattr(model, "takes_targets", False):
        from uora_bench.training import chunked_loss

        changed |= chunked_loss.install(model)
    return changed


def dropout(x: Tensor, p: float) -> Tensor:
    """x with each entry set to 0 with probability q and multiplied by 1 / (1 − q) else, q = round(2¹⁶ p) / 2¹⁶.

    Random numbers come from torch's own generator. Where q is 0 or 1 this is torch's dropout.
    """
    level = round(p * _LEVELS)
    if not 0 < level < _LEVELS:
        return nn.functional.dropout(x, p)
    draws = torch.empty(math.ceil(x.numel() / _PER_DRAW), dtype=torch.int64, device=x.device)
    draws.random_(-(1 << 63), None)  # all 64 bits
    numbers = draws.view(torch.int16)[: x.numel()].view(x.shape)
    factors = torch.empty(x.shape, dtype=x.dtype, device=x.device)
    torch.ge(numbers, level - _LEVELS // 2, out=factors)
    return x * factors.mul_(_LEVELS / (_LEVELS - level))


class Dropout(nn.Dropout):
    """``nn.Dropout`` by way of `dropout`."""

    def forward(self, input: Tensor) -> Tensor:
        return dropout(input, self.p) if self.training else input


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    is_causal: bool | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """softmax(scaling · q kᵀ + mask) v for q, k, v of (batch, heads, tokens, width).

    Result (batch, tokens, heads, width). The signature is that of transformers' attention functions, and ``None``
    stands for the weights.

    Without dropout this is the library's own call in float32, and wherever nothing is trained. With dropout it is not:
    where nothing is trained the same random numbers have to be drawn as where something is.
    """
    from transformers.integrations.sdpa_attention import sdpa_attention_forward

    kind = query.device.type
    dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else query.dtype
    trained = torch.is_grad_enabled() and any(t.requires_grad for t in (query, key, value))
    rest = {"dropout": dropout, "scaling": scaling, "is_causal": is_causal, **others}
    special = any(others.get(name) is not None for name in ("position_bias", "cache", "softcap"))
    if special or (dropout == 0 and (not trained or dtype.itemsize >= 4)):
        y, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **rest)
        return y, None
    if dropout == 0:
        with torch.autocast(kind, enabled=False):
            mask = attention_mask
            if mask is not None and mask.is_floating_point():
                mask = mask.float()
            y, _ = sdpa_attention_forward(module, query.float(), key.float(), value.float(), mask, **rest)
        return y.to(dtype), None
    causal = getattr(module, "is_causal", True) if is_causal is None else is_causal
    return _products(module, query, key, value, attention_mask, dropout, scaling, causal), None


def _products(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    p: float,
    scaling: float | None,
    causal: bool,
) -> Tensor:
    from transformers.integrations.sdpa_attention import repeat_kv

    groups = getattr(module, "num_key_value_groups", 1)
    key, value = repeat_kv(key, groups), repeat_kv(value, groups)
    scores = (query * (query.shape[-1] ** -0.5 if scaling is None else scaling)) @ key.transpose(-1, -2)
    if mask is None and causal and query.shape[-2] > 1:
        mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=scores.device).tril()
    if mask is not None:
        if not mask.is_floating_point():
            mask = torch.zeros(mask.shape, dtype=scores.dtype, device=mask.device).masked_fill_(
                ~mask, torch.finfo(scores.dtype).min
            )
        scores = scores + mask
    weights = dropout(scores.softmax(-1), p)
    return (weights @ value).transpose(1, 2).contiguous()

"""A frozen language model of LLaMA's kind on a CPU: the passes of `cpu_functions` in the place of the library's.

A step of SmolLM2-135M in bfloat16 autocast spends most of its time on other work than matrix products: on casts of
frozen weights, made anew in every pass, on elementwise passes in float32, and on logits of 49,152 words for every
token, of which the loss needs one number. Here frozen weights are cast once and kept, norms, gates and attention are
one function each, and the loss is taken from the last hidden states of the tokens that have a target.

Models below `chunked_loss.WORTH` parameters keep the library's passes: there is nothing to gain, and their numbers stay
as they are.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers.models.llama import modeling_llama as llama

from uora_bench.methods.functional import autocast_dtype
from uora_bench.training import chunked_loss
from uora_bench.training.cpu_functions import gated_silu, rms_norm, rotary_attention


def install(model: Any) -> dict[str, str]:
    """Put the passes into ``model`` if it is of the kind; returns what was changed, for the record.

    Call it when the adapter is in place: what is trained, and what an adapter sits on, keeps the library's pass.
    """
    from torch.distributed.tensor import DTensor

    parameters = list(model.parameters())
    if type(model) is not llama.LlamaForCausalLM or sum(p.numel() for p in parameters) < chunked_loss.WORTH:
        return {}
    if any(isinstance(p, DTensor) for p in parameters):  # cut over processes: nothing whole is to be kept
        return {}
    for module in model.modules():
        own = _OWN.get(type(module))
        if own is not None and not any(p.requires_grad for p in module.parameters(recurse=False)):
            module.__class__ = own
    changed = {"norms": "one pass", "gates": "one pass", "rotary_attention": "one pass", "frozen_weights": "cast once"}
    # a forward that somebody has already put on the model (virtual tokens) is not gone around
    if type(model.lm_head) is FrozenLinear and "forward" not in vars(model):
        changed |= chunked_loss.take_targets(model, model.lm_head, skips_padding=True)
    return changed


class FrozenLinear(nn.Linear):
    """``nn.Linear`` that keeps a copy of its weight in the dtype of autocast.

    The copy is made on first use, and again when the weight is another tensor or was written to.
    """

    _kept: tuple[Tensor, int, Tensor] | None = None

    @torch.no_grad()
    @torch.inference_mode(False)  # what an evaluation keeps, training may use
    def cast_weight(self, dtype: torch.dtype) -> Tensor:
        """The weight in ``dtype``."""
        weight = self.weight.detach()
        if weight.dtype == dtype:
            return weight
        kept = self._kept
        if kept is not None:
            # the source is held, so that no other tensor can come to lie in its place
            source, version, cast = kept
            if cast.dtype == dtype and source.is_set_to(weight) and version == self.weight._version:
                return cast
        cast = weight.to(dtype)
        self._kept = (weight, self.weight._version, cast)
        return cast

    def forward(self, input: Tensor) -> Tensor:
        dtype = autocast_dtype(input)
        if dtype is None or self.weight.requires_grad:
            return super().forward(input)
        # of a slice (the last token of every prompt) the library makes a batched product, with a copied weight per row
        return F.linear(input.contiguous(), self.cast_weight(dtype), self.bias)


class Norm(llama.LlamaRMSNorm):
    """``LlamaRMSNorm`` in one pass; under autocast the result is in the dtype that the maps after it round it to."""

    def forward(self, hidden_states: Tensor) -> Tensor:
        if hidden_states.dtype != torch.float32 or self.weight.dtype != torch.float32 or self.weight.requires_grad:
            y: Tensor = super().forward(hidden_states)
            return y
        return rms_norm(
            hidden_states, self.weight, self.variance_epsilon, autocast_dtype(hidden_states) or torch.float32
        )


class Gated(llama.LlamaMLP):
    """``LlamaMLP`` that keeps the gate and what it lets through, and nothing between."""

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_proj(x), self.up_proj(x)
        inner = gated_silu(gate, up) if self.config.hidden_act == "silu" else self.act_fn(gate) * up
        y: Tensor = self.down_proj(inner)
        return y


class Attention(llama.LlamaAttention):
    """``LlamaAttention`` by way of `rotary_attention`, where there is no cache and no dropout."""

    def forward(  # type: ignore[override]
        self,
        hidden_states: Tensor,
        position_embeddings: tuple[Tensor, Tensor] | None = None,
        attention_mask: Tensor | None = None,
        past_key_values: Any = None,
        **kwargs: Any,
    ) -> tuple[Tensor, Tensor | None]:
        drops = self.training and bool(self.attention_dropout)
        mask = attention_mask
        strange = mask is not None and (mask.dtype != torch.bool or mask.ndim != 4 or mask.shape[1] != 1)
        wide = hidden_states.dtype not in (torch.float32, torch.bfloat16)
        if past_key_values is not None or position_embeddings is None or drops or strange or wide:
            found: tuple[Tensor, Tensor | None] = super().forward(
                hidden_states, position_embeddings, attention_mask, past_key_values, **kwargs
            )
            return found
        shape = hidden_states.shape[:-1]
        q, k, v = (p(hidden_states).unflatten(-1, (-1, self.head_dim)) for p in (self.q_proj, self.k_proj, self.v_proj))
        y = rotary_attention(q, k, v, *position_embeddings, mask, self.scaling)
        return self.o_proj(y.reshape(*shape, -1)), None


_OWN: dict[type, Any] = {
    nn.Linear: FrozenLinear,
    llama.LlamaRMSNorm: Norm,
    llama.LlamaMLP: Gated,
    llama.LlamaAttention: Attention,
}

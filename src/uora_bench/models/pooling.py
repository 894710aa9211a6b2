"""How an encoder's token vectors become the one vector that the task's head reads."""

from __future__ import annotations

from inspect import signature
from typing import TYPE_CHECKING, Any

from uora_bench.config.cell import BackboneConfig
from uora_bench.errors import UserError

if TYPE_CHECKING:
    from torch import nn


def set_pooling(backbone: BackboneConfig, model: nn.Module) -> None:
    """Put what ``backbone.pooling`` says in the place of the pooler of ``model``.

    ``own`` leaves the model as the library builds it: of BERT the first token's vector, through a dense layer and tanh.
    ``mean`` is the mean of the last layer's vectors over the tokens that are not padding, s = Σ_t m_t h_t / Σ_t m_t, as
    sentence encoders are trained (Reimers and Gurevych 2019, arXiv 1908.10084, section 3); nothing in it is trained,
    and the pooler's weights are dropped. Sentence encoders scale s to length 1 afterwards; here it stays as it is.

    Raises:
        UserError: for ``mean`` on a model whose head reads no pooler of tokens: none at all, one of pictures, or one
            that is given something else than all tokens and what pads them (ALBERT's, Swin's, FNet's).
    """
    from torch import nn

    if backbone.pooling == "own":
        return
    encoder: Any = model.base_model
    pooler = getattr(encoder, "pooler", None)
    of_tokens = isinstance(getattr(pooler, "dense", None), nn.Linear)  # BERT's and what descends from it
    if backbone.kind != "encoder" or not of_tokens or "attention_mask" not in signature(encoder.forward).parameters:
        raise UserError(
            f"backbone.pooling={backbone.pooling}: backbone={backbone.name} has no pooler before its head that reads "
            "all tokens; use own"
        )
    encoder.pooler = _mean_pooler()
    encoder.register_forward_pre_hook(_tell_mask, with_kwargs=True)


def _tell_mask(encoder: Any, arguments: tuple[Any, ...], named: dict[str, Any]) -> None:
    """Before each forward pass: which tokens count, of shape (batch, length), 1 or 0."""
    mask = named.get("attention_mask", arguments[1] if len(arguments) > 1 else None)
    encoder.pooler.mask = mask


def _mean_pooler() -> nn.Module:
    import torch
    from torch import nn

    class MeanPooler(nn.Module):
        mask: torch.Tensor | None = None

        def forward(self, hidden: torch.Tensor) -> torch.Tensor:
            """(batch, length, width) → (batch, width)."""
            if self.mask is None:
                return hidden.mean(dim=1)
            weight = self.mask.to(hidden.dtype)
            count = weight.sum(dim=1, keepdim=True).clamp(min=1)  # of a text without a token the mean is zero
            return torch.einsum("bl,blw->bw", weight / count, hidden)

    return MeanPooler()

"""Token losses of a causal language model from its last hidden states, so that logits of all tokens are never there.

Any family will do whose logits are nothing but its frozen output layer on its backbone's last hidden states: where a
family scales or caps them, or its layer has a bias, the library's pass stays. A look at one pass says which.
"""

from __future__ import annotations

import functools
import types
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import is_fake

from uora_bench.methods.functional import autocast_dtype
from uora_bench.training.cpu_functions import token_losses

WORTH = 20_000_000  # parameters; smaller models keep the library's passes, and their numbers stay as they are
IGNORED = -100  # the label of a token without a target


def install(model: Any) -> dict[str, str]:
    """Let ``model`` take ``targets`` if it is of the kind; returns what was changed, for the record.

    Call it when the adapter is in place: an output layer that is trained, or has an adapter on it, stays.
    """
    from torch.distributed.tensor import DTensor

    parameters = list(model.parameters())
    if sum(p.numel() for p in parameters) < WORTH or any(isinstance(p, DTensor) for p in parameters):
        return {}
    # a forward that somebody has already put on the model (virtual tokens) is not gone around
    head = model.get_output_embeddings() if hasattr(model, "get_output_embeddings") else None
    if type(head) is not nn.Linear or "forward" in vars(model) or not _is_plain(model, head):
        return {}
    return take_targets(model, head)


def take_targets(model: Any, head: Any, skips_padding: bool = False) -> dict[str, str]:
    """Give ``model`` a forward that takes ``targets`` and returns their losses; returns what was changed.

    Its logits are ``head`` on its last hidden states. ``skips_padding``: a mask that hides only the ends of rows is
    left out. Nothing is changed for a trained ``head``.
    """
    if head.bias is not None or head.weight.requires_grad:
        return {}
    model.forward = types.MethodType(_with_losses(type(model).forward, head, skips_padding), model)
    model.takes_targets = True
    return {"cross_entropy": "chunks"}


@torch.no_grad()
def _is_plain(model: Any, head: Any) -> bool:
    """Whether the logits of a pass are what ``head`` gives, and what it is given are the last hidden states."""
    ids = torch.zeros(1, 2, dtype=torch.int64, device=head.weight.device)
    seen: list[tuple[Tensor, Tensor]] = []
    hook = head.register_forward_hook(lambda _, given, made: seen.append((given[0], made)))
    was_training = model.training
    model.eval()
    try:
        logits = model(input_ids=ids, use_cache=False).logits
        hidden = model.base_model(input_ids=ids, use_cache=False)[0]
    finally:
        hook.remove()
        model.train(was_training)
    if len(seen) != 1 or seen[0][1] is not logits or model.base_model is model:
        return False
    given = seen[0][0]
    return given.shape == hidden.shape and (is_fake(given) or torch.equal(given, hidden))


def _with_losses(plain: Any, head: Any, skips_padding: bool) -> Any:
    """``forward`` of the model, which gives token losses in the place of logits where ``targets`` are given."""

    @functools.wraps(plain)
    def forward(self: Any, *args: Any, targets: Tensor | None = None, smoothing: float = 0.0, **kwargs: Any) -> Any:
        if targets is None:
            return plain(self, *args, **kwargs)
        mask = kwargs.get("attention_mask")
        if skips_padding and mask is not None and _is_at_the_end(mask):
            kwargs["attention_mask"] = None  # no token sees what comes after it, and padding has no target
        hidden = self.base_model(*args, **kwargs)[0][:, :-1]
        labels = targets[:, 1:]
        dtype = autocast_dtype(hidden) or head.weight.dtype
        weight = head.cast_weight(dtype) if hasattr(head, "cast_weight") else head.weight.detach().to(dtype)
        if is_fake(labels):  # a trace of memory, in which every token counts
            flat = hidden.flatten(0, 1).to(weight.dtype)
            return token_losses(flat, weight, labels.flatten(), smoothing).view(labels.shape)
        keep = labels != IGNORED
        losses = torch.zeros(keep.shape, dtype=torch.float32, device=hidden.device)
        losses[keep] = token_losses(hidden[keep].to(weight.dtype), weight, labels[keep], smoothing)
        return losses

    return forward


def _is_at_the_end(mask: Tensor) -> bool:
    """Whether ``mask`` (rows, tokens) hides nothing but the ends of rows."""
    return mask.ndim == 2 and (is_fake(mask) or bool((mask[:, 1:] <= mask[:, :-1]).all()))

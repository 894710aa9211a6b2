"""Functions with a gradient, each one pass where the library makes several: RMS norm, gated activation, causal
attention with rotary embedding, and cross-entropy without whole logits. They know no module and no configuration.

What is frozen gets no gradient. Sums are taken in float32; results are rounded once, to the dtype asked for.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 128  # tokens whose logits are there at a time
_FLASH = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_FLASH_BACKWARD = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def rms_norm(x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
    """w ⊙ x / √(mean(x²) + eps) over the last dimension of x (…, width) in float32, rounded to ``dtype``."""
    y: Tensor = _RMSNorm.apply(x, weight, eps, dtype)  # type: ignore[no-untyped-call]
    return y


def gated_silu(gate: Tensor, up: Tensor) -> Tensor:
    """silu(gate) ⊙ up."""
    y: Tensor = _GatedSilu.apply(gate, up)  # type: ignore[no-untyped-call]
    return y


def rotary_attention(
    q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, scale: float
) -> Tensor:
    """softmax(scale · R q (R k)ᵀ + mask) v, where R turns the two halves of the last dimension by the angles of ``cos``
    and ``sin``.

    q (batch, tokens, heads, width); k, v (batch, tokens, key heads, width), each shared by heads / key heads queries
    and copied for none; cos, sin (1 or batch, tokens, width), of two equal halves; mask: true where a key is seen,
    (batch, 1, tokens, tokens), None: the keys up to the query's own place. Result (batch, tokens, heads, width) in
    the dtype of q. Computed in float32.
    """
    y: Tensor = _RotaryAttention.apply(q, k, v, cos, sin, mask, scale)  # type: ignore[no-untyped-call]
    return y


def token_losses(hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """The cross-entropy (tokens,), float32, of hidden (tokens, width) · weightᵀ (width, words) against ``targets``
    (tokens,), with label smoothing; ``CHUNK`` tokens at a time. ``hidden`` and ``weight`` are of one dtype, to which
    logits are rounded."""
    losses: Tensor = _TokenLosses.apply(hidden, weight, targets, smoothing)  # type: ignore[no-untyped-call]
    return losses


class _RMSNorm(torch.autograd.Function):
    """Saved: x, the weight and 1 / √(…) of every row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
            y = (x * scale).mul_(weight).to(dtype)
        ctx.save_for_backward(x, weight, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False):
            g = g * weight
            shared = torch.linalg.vecdot(g, x)[..., None] * scale.pow(3).div_(x.shape[-1])
            grad = g.mul_(scale).addcmul_(x, shared, value=-1)
        return grad, None, None, None


class _GatedSilu(torch.autograd.Function):
    """Saved: the two inputs; silu(gate) is made again."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return F.silu(gate).mul_(up)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        grad_gate = torch.ops.aten.silu_backward(g * up, gate)
        return grad_gate, F.silu(gate).mul_(g)


def _turned(x: Tensor, cos: Tensor, sin: Tensor, back: bool = False) -> Tensor:
    """R x, or R⁻¹ x, of x (batch, key heads, heads of each, tokens, width) with its strides; float32, contiguous."""
    half = x.shape[-1] // 2
    first, second = x[..., :half], x[..., half:]
    cos, sin = (t[:, None, None, :, :half].float() for t in (cos, sin))
    y = torch.empty(x.shape, dtype=torch.float32, device=x.device)
    torch.mul(first, cos, out=y[..., :half]).addcmul_(second, sin, value=1 if back else -1)
    torch.mul(second, cos, out=y[..., half:]).addcmul_(first, sin, value=-1 if back else 1)
    return y


class _RotaryAttention(torch.autograd.Function):
    """Saved: the inputs, the result and the logarithm of each softmax's sum; what is turned is turned again. A key head
    and its queries make one batch entry of the fused kernel, in which the head is a dimension without a stride."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, scale: float
    ) -> Tensor:
        with torch.autocast(q.device.type, enabled=False):
            additive = _additive(mask, k.shape[2])
            y, sums = _FLASH(*_heads(q, k, v, cos, sin), 0.0, mask is None, attn_mask=additive, scale=scale)
            batch, tokens, heads, width = q.shape
            y = y.view(batch, heads, tokens, width).transpose(1, 2).to(q.dtype).contiguous()
        ctx.scale = scale
        ctx.save_for_backward(q, k, v, cos, sin, mask, y, sums)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, cos, sin, mask, y, sums = ctx.saved_tensors
        with torch.autocast(q.device.type, enabled=False):
            parts = _heads(q, k, v, cos, sin)
            g, y = (_grouped(t, k.shape[2]).float().flatten(0, 1).contiguous() for t in (g, y))
            additive = _additive(mask, k.shape[2])
            found = _FLASH_BACKWARD(g, *parts, y, sums, 0.0, mask is None, attn_mask=additive, scale=ctx.scale)
            grad_q, grad_k, grad_v = (t.unflatten(0, (len(q), k.shape[2])) for t in found)
            grad_q = _turned(grad_q, cos, sin, back=True)
            grad_k = _turned(grad_k.sum(2, keepdim=True), cos, sin, back=True)
            grads = (_flat(t, q.dtype) for t in (grad_q, grad_k, grad_v.sum(2, keepdim=True)))
        return *grads, None, None, None, None


def _grouped(x: Tensor, groups: int) -> Tensor:
    """x (batch, tokens, heads, width) as (batch, groups, heads of each, tokens, width); nothing is copied."""
    return x.unflatten(2, (groups, -1)).permute(0, 2, 3, 1, 4)


def _flat(x: Tensor, dtype: torch.dtype) -> Tensor:
    """`_grouped` taken back, in ``dtype``, contiguous."""
    return x.permute(0, 3, 1, 2, 4).to(dtype, memory_format=torch.contiguous_format).flatten(2, 3)


def _heads(q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The fused kernel's q, k, v: (batch · key heads, heads of each, tokens, width), k and v without a copy."""
    groups = k.shape[2]
    turned_q = _turned(_grouped(q, groups), cos, sin)
    each = turned_q.shape[2]
    turned_k = _turned(_grouped(k, groups), cos, sin)
    plain_v = _grouped(v, groups).float().contiguous()
    shared = (t.flatten(0, 1).expand(-1, each, -1, -1) for t in (turned_k, plain_v))
    return turned_q.flatten(0, 1), *shared  # type: ignore[return-value]


def _additive(mask: Tensor | None, groups: int) -> Tensor | None:
    """``mask`` as 0 and the least number, for every (batch entry, key head)."""
    if mask is None:
        return None
    numbers = torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, torch.finfo(torch.float32).min)
    return numbers[:, None].expand(-1, groups, -1, -1, -1).flatten(0, 1)


class _TokenLosses(torch.autograd.Function):
    """The gradient of each token's loss is taken with the loss, while its logits are there. Saved: that alone."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float) -> Tensor:
        tokens, words = len(hidden), len(weight)
        size = max(1, min(CHUNK, tokens))
        losses = torch.empty(tokens, dtype=torch.float32, device=hidden.device)
        grads = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        wide = torch.promote_types(hidden.dtype, torch.float32)
        rounded = torch.empty(size, words, dtype=hidden.dtype, device=hidden.device)
        exact = rounded if wide == hidden.dtype else torch.empty(size, words, dtype=wide, device=hidden.device)
        with torch.autocast(hidden.device.type, enabled=False):
            for start in range(0, tokens, size):
                here = slice(start, min(start + size, tokens))
                h, target = hidden[here], targets[here, None]
                low, logits = rounded[: len(h)], exact[: len(h)]
                torch.mm(h, weight.T, out=low)
                if logits is not low and exact is not rounded:
                    logits.copy_(low)
                # the plain parts of logits.logsumexp, since the exponentials are needed again
                top = logits.amax(1, keepdim=True)
                own = logits.gather(1, target) - top
                middle = logits.mean(1, keepdim=True) - top if smoothing else None
                total = logits.sub_(top).exp_().sum(1, keepdim=True)
                log_total = total.log()
                loss = log_total - own
                if middle is not None:
                    loss = (1 - smoothing) * loss + smoothing * (log_total - middle)
                losses[here] = loss[:, 0]
                if grads is None:
                    continue
                logits.div_(total)
                if smoothing:
                    logits.sub_(smoothing / words)
                logits.scatter_add_(1, target, torch.full_like(own, smoothing - 1))
                if exact is not rounded:
                    low.copy_(logits)
                torch.mm(low, weight, out=grads[here])
        ctx.save_for_backward(grads)
        return losses

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        (grads,) = ctx.saved_tensors
        return (grads * g[:, None]).to(grads.dtype), None, None, None

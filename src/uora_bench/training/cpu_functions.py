"""Functions with a gradient that need one pass where the library needs several.

RMS norm, gated activation, causal attention with rotary embedding, and cross-entropy without whole logits. They depend
on no module and no configuration.

What is frozen gets no gradient. Sums are taken in float32; results are rounded once, to the dtype asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch._subclasses.fake_tensor import is_fake
from torch.autograd.function import once_differentiable

CHUNK = 128  # tokens whose logits are there at a time
PART = 256  # tokens that elementwise passes in float32 take at a time, so that what is between them stays in the cache
QUERIES = 64  # queries of a causal mask that are given the same keys: those up to the last of them
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
    """softmax(scale · R q (R k)ᵀ + mask) v, with rotary embedding R.

    R rotates the two halves of the last dimension by the angles of ``cos`` and ``sin``.

    q (batch, tokens, heads, width); k, v (batch, tokens, key heads, width), each shared by heads / key heads queries
    and copied for none; cos, sin (1 or batch, tokens, width), of two equal halves; mask: true where a key is seen,
    (batch, 1, tokens, tokens), None: the keys up to the query's own place. Result (batch, tokens, heads, width) in
    the dtype of q. Computed in float32.
    """
    y: Tensor = _RotaryAttention.apply(q, k, v, cos, sin, mask, scale)  # type: ignore[no-untyped-call]
    return y


def token_losses(hidden: Tensor, weight: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """The cross-entropy (tokens,), float32, of hidden (tokens, width) · weightᵀ (width, words).

    ``targets`` (tokens,), with label smoothing; ``CHUNK`` tokens at a time. ``hidden`` and ``weight`` have one dtype,
    to which logits are rounded.
    """
    losses: Tensor = _TokenLosses.apply(hidden, weight, targets, smoothing)  # type: ignore[no-untyped-call]
    return losses


class _RMSNorm(torch.autograd.Function):
    """Saved: x, the weight and 1 / √(…) of every row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float, dtype: torch.dtype) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            scale = torch.linalg.vector_norm(x, dim=-1, keepdim=True).square_().div_(x.shape[-1]).add_(eps).rsqrt_()
            y = torch.empty(x.shape, dtype=dtype, device=x.device)
            for into, rows, factors in _parts(y, x, scale):
                into.copy_((rows * factors).mul_(weight))
        ctx.save_for_backward(x, weight, scale)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, scale = ctx.saved_tensors
        with torch.autocast(x.device.type, enabled=False):
            grad = torch.empty_like(x)
            for into, rows, factors, outer in _parts(grad, x, scale, g.contiguous()):
                torch.mul(outer, weight, out=into)
                shared = torch.linalg.vecdot(into, rows)[:, None] * factors.pow(3).div_(x.shape[-1])
                into.mul_(factors).addcmul_(rows, shared, value=-1)
        return grad, None, None, None


def _parts(*tensors: Tensor) -> zip[tuple[Tensor, ...]]:
    """``tensors`` (…, width) as rows of their last dimension, `PART` at a time."""
    return zip(*(t.view(-1, t.shape[-1]).split(PART) for t in tensors), strict=True)


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
    """Saved: the inputs, the result and the logarithm of each softmax's sum; what is turned is turned again.

    A key head and its queries make one batch entry of the fused kernel, in which the head is a dimension without a
    stride. Some queries at a time get the keys that they may see, where the kernel would multiply all and mask them.
    """

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor, mask: Tensor | None, scale: float
    ) -> Tensor:
        _, tokens, heads, width = q.shape
        y = torch.empty(q.shape, dtype=q.dtype, device=q.device)
        found, spans = [], _spans(mask, tokens)
        with torch.autocast(q.device.type, enabled=False):
            for rows, seen, *parts in _rows(mask, q, k, v, cos, sin):
                turned_q, turned_k, plain_v = _heads(*parts)
                for part in spans:
                    keys = slice(part.stop)
                    out, sums = _FLASH(
                        turned_q[..., part, :], turned_k[..., keys, :], plain_v[..., keys, :], 0.0, False,
                        attn_mask=seen[..., part, keys], scale=scale,
                    )  # fmt: skip
                    y[rows, part] = out.view(-1, heads, part.stop - part.start, width).transpose(1, 2)
                    found.append(sums)
        ctx.scale, ctx.spans = scale, spans
        ctx.save_for_backward(q, k, v, cos, sin, mask, y, *found)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v, cos, sin, mask, y, *found = ctx.saved_tensors
        groups, kept = k.shape[2], iter(found)
        grads = tuple(torch.empty(t.shape, dtype=t.dtype, device=t.device) for t in (q, k, v))
        with torch.autocast(q.device.type, enabled=False):
            for rows, seen, *parts in _rows(mask, q, k, v, cos, sin):
                outer, out = (_grouped(t[rows], groups).float().flatten(0, 1).contiguous() for t in (g, y))
                turned_q, turned_k, plain_v = _heads(*parts)
                own: list[Tensor] = []
                for part, sums in reversed([(part, next(kept)) for part in ctx.spans]):
                    keys = slice(part.stop)
                    of_part = _FLASH_BACKWARD(
                        outer[..., part, :], turned_q[..., part, :], turned_k[..., keys, :], plain_v[..., keys, :],
                        out[..., part, :], sums, 0.0, False, attn_mask=seen[..., part, keys], scale=ctx.scale,
                    )  # fmt: skip
                    if own:
                        own[1][..., keys, :] += of_part[1]
                        own[2][..., keys, :] += of_part[2]
                    else:  # the last queries, which see all keys
                        own = [torch.empty_like(turned_q), *of_part[1:]]
                    own[0][..., part, :] = of_part[0]
                grad_q, grad_k, grad_v = (t.unflatten(0, (-1, groups)) for t in own)
                turn = {"cos": parts[3], "sin": parts[4], "back": True}
                flat = (
                    _turned(grad_q, **turn),
                    _turned(grad_k.sum(2, keepdim=True), **turn),
                    grad_v.sum(2, keepdim=True),
                )
                for into, grad in zip(grads, flat, strict=True):
                    into[rows] = grad.permute(0, 3, 1, 2, 4).flatten(2, 3)
        return *grads, None, None, None, None


def _rows(mask: Tensor | None, *tensors: Tensor) -> Iterator[tuple[Any, ...]]:
    """Slices of the batch of about `PART` tokens, with the kernel's mask and the part of ``tensors`` for each.

    A tensor may have one entry for the whole batch. Without a ``mask``, every query sees the keys up to its place.
    """
    q, k = tensors[:2]
    if mask is None:
        mask = torch.ones(1, 1, q.shape[1], q.shape[1], dtype=torch.bool, device=q.device).tril()
    size = max(1, PART // q.shape[1])
    for start in range(0, len(q), size):
        rows = slice(start, start + size)
        seen = _additive(mask[rows] if len(mask) > 1 else mask, k.shape[2], len(q[rows]))
        yield rows, seen, *(t[rows] if len(t) > 1 else t for t in tensors)


def _spans(mask: Tensor | None, tokens: int) -> list[slice]:
    """Slices of the queries, `QUERIES` at a time; one of all where ``mask`` shows a query a key after its own place.

    A mask without content, which a trace of memory has, is taken for a causal one.
    """
    if tokens <= QUERIES or (mask is not None and not is_fake(mask) and bool(mask.triu(1).any())):
        return [slice(0, tokens)]
    return [slice(start, min(start + QUERIES, tokens)) for start in range(0, tokens, QUERIES)]


def _grouped(x: Tensor, groups: int) -> Tensor:
    """x (batch, tokens, heads, width) as (batch, groups, heads of each, tokens, width); nothing is copied."""
    return x.unflatten(2, (groups, -1)).permute(0, 2, 3, 1, 4)


def _heads(q: Tensor, k: Tensor, v: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The fused kernel's q, k, v: (batch · key heads, heads of each, tokens, width), k and v without a copy."""
    groups = k.shape[2]
    turned_q = _turned(_grouped(q, groups), cos, sin)
    each = turned_q.shape[2]
    turned_k = _turned(_grouped(k, groups), cos, sin)
    plain_v = _grouped(v, groups).float().contiguous()
    shared = (t.flatten(0, 1).expand(-1, each, -1, -1) for t in (turned_k, plain_v))
    return turned_q.flatten(0, 1), *shared  # type: ignore[return-value]


def _additive(mask: Tensor, groups: int, entries: int) -> Tensor:
    """``mask`` as 0 and the least number, for every (batch entry, key head)."""
    numbers = torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, torch.finfo(torch.float32).min)
    return numbers[:, None].expand(entries, groups, -1, -1, -1).flatten(0, 1)


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
                if exact is not rounded:
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

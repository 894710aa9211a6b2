"""Forward passes of the suite's own: y = W x + c with W = W0 + ΔW, W0 x + ΔW x with ΔW on its own, and W0 x + B A x.

Every adapter here is a list of `Term`s on rows of one frozen map: rows ``start`` to ``stop`` of

    W = Λ_α W0 + s · Λ_v B Λ_u A,        c = α ⊙ bias                (A (r × in), B (out × r), u (r,), v, α (out,))

with u, v, α as vectors of ones where they are None. LoRA has A and B, VeRA and UORA u = d and v = b, α-LoRA α.
`weight_linear` keeps nothing of size tokens × out for the backward pass: with g = ∂L/∂y (tokens × out) and G = gᵀ x
that needs

    ∂x = g W,   ∂A = s (Λ_v B Λ_u)ᵀ G,   M = G Aᵀ (out × r),   ∂B = s Λ_v M Λ_u,
    ∂u_k = s Σ_j v_j B_jk M_jk,   ∂v_j = s Σ_k B_jk u_k M_jk,   ∂α_j = Σ_i W0_ji G_ji + bias_j Σ_t g_tj

where M and (Λ_v B Λ_u)ᵀ G are made without G, from gᵀ (x Aᵀ) and (g Λ_v B Λ_u)ᵀ x, where that is less work. With
``separate`` g W is g Λ_α W0 + g ΔW. `fused_linear` never makes ΔW: it keeps A x (tokens × r), x where A is trained, and
W0 x where α is. The functions know no module: all they use is in their arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from uora_bench.methods.functional import autocast_dtype


class Term(NamedTuple):
    """What an adapter adds to rows ``start`` to ``stop`` of a frozen map; shapes as at the top, ``scale`` is s."""

    start: int
    stop: int
    A: Tensor
    B: Tensor
    u: Tensor | None = None
    v: Tensor | None = None
    alpha: Tensor | None = None
    scale: float = 1.0

    @property
    def tensors(self) -> tuple[Tensor | None, ...]:
        """A, B, u, v and α, each None where the term has none."""
        return self.A, self.B, self.u, self.v, self.alpha


Chosen = Literal["factored", "fused", "merged_weight", "delta_weight"]
_PER_TERM = 5  # tensors of a term
_KEEP_FROM = 128  # rank from which on B Λ_u A is kept rather than made again


def weight_linear(
    x: Tensor, weight: Tensor, bias: Tensor | None, terms: Sequence[Term], separate: bool = False
) -> Tensor:
    """W x + c for x (…, in) and the frozen ``weight`` (out × in), ``bias`` (out,) or None; result (…, out).

    W is made in the adapter's dtype, and rounded to autocast's where that is on (else to the weight's). With
    ``separate`` W0 and ΔW are never added up, so neither is rounded at the other's precision, and ΔW is made in
    autocast's dtype, as the factored pass makes A x. Gradients flow to x and to the terms' tensors that want one,
    never to ``weight`` and ``bias``.
    """
    tensors = [tensor for term in terms for tensor in term.tensors]
    plan = tuple((term.start, term.stop, term.scale) for term in terms)
    y: Tensor = _WeightLinear.apply(x, weight, bias, plan, separate, *tensors)  # type: ignore[no-untyped-call]
    return y


def fused_linear(x: Tensor, weight: Tensor, bias: Tensor | None, terms: Sequence[Term], cast: Tensor) -> Tensor:
    """Λ_α (W0 x + bias) + s Λ_v B Λ_u A x under autocast, for the arguments of `weight_linear`; result (…, out).

    ``cast``: ``weight`` in autocast's dtype, which the result has too. The vectors and s are multiplied into B, which
    is small, and B A x is added in the product that makes it: no elementwise pass over tokens × out, but where α is
    trained.
    """
    tensors = [tensor for term in terms for tensor in term.tensors]
    plan = tuple((term.start, term.stop, term.scale) for term in terms)
    learns = torch.is_grad_enabled() and any(t.alpha is not None and t.alpha.requires_grad for t in terms)
    y: Tensor = _FusedLinear.apply(x, weight, bias, cast, plan, learns, *tensors)  # type: ignore[no-untyped-call]
    return y


def compose(
    weight: Tensor, bias: Tensor | None, terms: Sequence[Term], products: Sequence[Tensor | None] | None = None
) -> tuple[Tensor, Tensor | None]:
    """(W, c) of a frozen ``weight`` (out × in) and its ``bias`` (out,) under ``terms``; W in the adapter's dtype.

    ``products``: B Λ_u A of the terms for which it is at hand.
    """
    W, c = _weighed(weight.to(terms[0].A.dtype, copy=True), bias, terms)
    for term, product in zip(terms, products or [None] * len(terms), strict=True):
        rows = W[term.start : term.stop]
        if product is None:
            rows.addmm_(_left(term), term.A, alpha=term.scale)
        elif term.v is None:
            rows.add_(product, alpha=term.scale)
        else:
            rows.addcmul_(product, term.v[:, None], value=term.scale)
    return W, c


def _weighed(W: Tensor, bias: Tensor | None, terms: Sequence[Term]) -> tuple[Tensor, Tensor | None]:
    """Λ_α W0 in the place of ``W``, and α ⊙ bias."""
    c = bias
    for term in terms:
        if term.alpha is not None:
            W[term.start : term.stop] *= term.alpha[:, None]
            if c is not None:
                c = c.to(term.alpha.dtype, copy=c is bias)
                c[term.start : term.stop] *= term.alpha
    return W, c


def _frozen(
    weight: Tensor, bias: Tensor | None, terms: Sequence[Term], dtype: torch.dtype
) -> tuple[Tensor, Tensor | None]:
    """Λ_α W0 and α ⊙ bias in ``dtype``; α, close to 1, is applied before it is rounded."""
    W, c = weight, bias
    if any(term.alpha is not None for term in terms):
        W, c = _weighed(weight.to(terms[0].A.dtype, copy=True), bias, terms)
    return W.to(dtype), None if c is None else c.to(dtype)


def _update(term: Term, product: Tensor | None, dtype: torch.dtype) -> Tensor:
    """ΔW of a term, s · Λ_v B Λ_u A (out × in), in ``dtype``."""
    if product is None:
        delta = _left(term).to(dtype) @ term.A.to(dtype)
    else:
        delta = product if term.v is None else product * term.v[:, None].to(dtype)
    return delta if term.scale == 1.0 else delta * term.scale


def _separate(
    x: Tensor, weight: Tensor, bias: Tensor | None, terms: Sequence[Term], deltas: Sequence[Tensor]
) -> Tensor:
    """Λ_α (W0 x + bias) + ΔW x, row range by row range, for x (…, in) in the dtype of ``deltas``."""
    y = F.linear(x, *_frozen(weight, bias, terms, x.dtype))
    flat_y, flat_x = y.view(-1, y.shape[-1]), x.reshape(-1, x.shape[-1])
    for term, delta in zip(terms, deltas, strict=True):
        flat_y[:, term.start : term.stop].addmm_(flat_x, delta.T)
    return y


def _apart_backward(g: Tensor, weight: Tensor, terms: Sequence[Term], deltas: Sequence[Tensor]) -> Tensor:
    """g Λ_α W0 + g ΔW, (tokens × in), for g (tokens × out)."""
    grad = g @ _frozen(weight, None, terms, g.dtype)[0]
    for term, delta in zip(terms, deltas, strict=True):
        grad.addmm_(g[:, term.start : term.stop], delta)
    return grad


def _product(term: Term, tokens: int, dtype: torch.dtype) -> Tensor | None:
    """B Λ_u A, (out × in) in ``dtype``, where it is worth keeping for the backward pass, else None.

    It costs as much as passing r tokens, and is smaller than what the plain pass would keep.
    """
    rank, inside = term.A.shape
    out = len(term.B)
    if not keeps_product(rank, out, inside, tokens):
        return None
    return (term.B if term.u is None else term.B * term.u).to(dtype) @ term.A.to(dtype)


def keeps_product(rank: int, out: int, inside: int, tokens: int) -> bool:
    """Whether `weight_linear` keeps B Λ_u A (``out`` × ``inside``) of such a term for the backward pass."""
    return rank >= _KEEP_FROM and out * inside <= tokens * (rank + out)


def _left(term: Term) -> Tensor:
    """Λ_v B Λ_u, (out × r)."""
    left = term.B
    if term.u is not None:
        left = left * term.u
    if term.v is not None:
        left = left * term.v[:, None]
    return left


def _terms(plan: Sequence[tuple[int, int, float]], tensors: Sequence[Tensor | None]) -> list[Term]:
    found = []
    for i, (start, stop, scale) in enumerate(plan):
        A, B, u, v, alpha = tensors[i * _PER_TERM : (i + 1) * _PER_TERM]
        assert A is not None
        assert B is not None
        found.append(Term(start, stop, A, B, u, v, alpha, scale))
    return found


class _WeightLinear(torch.autograd.Function):
    """`weight_linear`.

    Saved: x in the dtype it is multiplied in, the frozen map, the terms, B Λ_u A of high rank; W is made again.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        plan: tuple[tuple[int, int, float], ...],
        separate: bool,
        *tensors: Tensor | None,
    ) -> Tensor:
        kind = x.device.type
        ctx.dtype = autocast_dtype(x) or weight.dtype
        ctx.plan, ctx.separate, ctx.x_dtype = plan, separate, x.dtype
        x = x.to(ctx.dtype)
        with torch.autocast(kind, enabled=False):
            terms = _terms(plan, tensors)
            made = ctx.dtype if separate else terms[0].A.dtype
            products = [_product(term, x.numel() // x.shape[-1], made) for term in terms]
            if separate:
                deltas = [_update(term, product, made) for term, product in zip(terms, products, strict=True)]
                y = _separate(x, weight, bias, terms, deltas)
            else:
                W, c = compose(weight, bias, terms, products)
                y = F.linear(x, W.to(ctx.dtype), None if c is None else c.to(ctx.dtype))
        ctx.save_for_backward(x, weight, bias, *products, *tensors)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        x, weight, bias, *rest = ctx.saved_tensors
        products, tensors = rest[: len(ctx.plan)], rest[len(ctx.plan) :]
        wanted = ctx.needs_input_grad[5:]
        terms = _terms(ctx.plan, tensors)
        grads: list[Tensor | None] = []
        with torch.autocast(x.device.type, enabled=False):
            g = g.to(ctx.dtype)
            flat_g, flat_x = g.reshape(-1, g.shape[-1]), x.reshape(-1, x.shape[-1])
            for i, term in enumerate(terms):
                own = wanted[i * _PER_TERM : (i + 1) * _PER_TERM]
                rows = slice(term.start, term.stop)
                part = None if bias is None else bias[rows]
                grads += _gradients(term, flat_g[:, rows], flat_x, weight[rows], part, products[i], own)
            grad_x = None
            if ctx.needs_input_grad[0] and ctx.separate:
                deltas = [_update(term, product, g.dtype) for term, product in zip(terms, products, strict=True)]
                grad_x = _apart_backward(flat_g, weight, terms, deltas).view_as(x).to(ctx.x_dtype)
            elif ctx.needs_input_grad[0]:
                W, _ = compose(weight, None, terms, products)
                grad_x = (g @ W.to(ctx.dtype)).to(ctx.x_dtype)
        return (grad_x, None, None, None, None, *grads)


def _gradients(
    term: Term,
    g: Tensor,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    product: Tensor | None,
    wanted: Sequence[bool],
) -> list[Tensor | None]:
    """The gradients of A, B, u, v, α (None where not ``wanted``) from g (tokens × rows) and x (tokens × in)."""
    want_A, want_B, want_u, want_v, want_alpha = wanted
    want_M = want_B or want_u or want_v
    found: list[Tensor | None] = [None] * _PER_TERM
    if not any(wanted):
        return found
    dtype, A = term.A.dtype, term.A
    out, inside = weight.shape
    whole = want_alpha or through_weight(len(x), out, inside, A.shape[0], want_A + want_M)
    G = g.T @ x if whole else None
    if want_A:
        left = _left(term).to(g.dtype)
        thin = left.T @ G if G is not None else (g @ left).T @ x
        found[0] = _scaled(thin.to(dtype), term.scale)
    if want_M:
        thin_A = A.T.to(x.dtype)
        M = (G @ thin_A if G is not None else g.T @ (x @ thin_A)).to(dtype)
        found[1:4] = _of_outputs(term, M, want_B, want_u, want_v)
    if want_alpha:
        assert G is not None
        grad = (weight.to(dtype) * G.to(dtype)).sum(1)
        found[4] = grad if bias is None else grad + bias.to(dtype) * g.sum(0, dtype=dtype)
    return found


def _of_outputs(term: Term, M: Tensor, want_B: bool, want_u: bool, want_v: bool) -> list[Tensor | None]:
    """The gradients of B, u and v (None where not wanted) from M (out × r)."""
    grad_B = grad_u = grad_v = None
    if want_u or want_v:
        both = M * term.B
    if want_B:
        grad = M if term.u is None else M * term.u
        grad_B = _scaled(grad if term.v is None else grad * term.v[:, None], term.scale)
    if want_u:
        grad_u = _scaled(both.sum(0) if term.v is None else term.v @ both, term.scale)
    if want_v:
        grad_v = _scaled(both.sum(1) if term.u is None else both @ term.u, term.scale)
    return [grad_B, grad_u, grad_v]


def _scaled(grad: Tensor, scale: float) -> Tensor:
    return grad if scale == 1.0 else grad * scale


class _FusedLinear(torch.autograd.Function):
    """`fused_linear`.

    Saved: the frozen map, its and the terms' matrices in autocast's dtype, A x, x where A is trained, W0 x where α is.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        cast: Tensor,
        plan: tuple[tuple[int, int, float], ...],
        learns_alpha: bool,
        *tensors: Tensor | None,
    ) -> Tensor:
        kind, dtype, wanted = x.device.type, cast.dtype, ctx.needs_input_grad[6:]
        ctx.plan, ctx.x_dtype, ctx.x_shape = plan, x.dtype, x.shape
        ctx.learns_alpha = learns_alpha
        flat_x = x.to(dtype).reshape(-1, x.shape[-1])
        with torch.autocast(kind, enabled=False):
            terms = _terms(plan, tensors)
            weighed = any(term.alpha is not None for term in terms)
            W, c = cast, None if bias is None else bias.to(dtype)
            if weighed and not ctx.learns_alpha:
                W, c = _frozen(weight, bias, terms, dtype)
            y = F.linear(flat_x, W, c)
            frozen = y if ctx.learns_alpha else None
            if frozen is not None:
                y = _stretched(frozen, terms)
            As = [term.A.to(dtype) for term in terms]
            lefts = [_scaled(_left(term), term.scale).to(dtype) for term in terms]
            hs = [flat_x @ A.T for A in As]
            for term, left, h in zip(terms, lefts, hs, strict=True):
                y[:, term.start : term.stop].addmm_(h, left.T)
        ctx.save_for_backward(
            flat_x if any(wanted[::_PER_TERM]) else None, weight, W, frozen, *As, *lefts, *hs, *tensors
        )
        return y.view(*x.shape[:-1], -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, g: Tensor) -> tuple[Any, ...]:
        flat_x, weight, W, frozen, *rest = ctx.saved_tensors
        n = len(ctx.plan)
        As, lefts, hs, tensors = rest[:n], rest[n : 2 * n], rest[2 * n : 3 * n], rest[3 * n :]
        terms, wanted = _terms(ctx.plan, tensors), ctx.needs_input_grad[6:]
        want_x = ctx.needs_input_grad[0]
        grads: list[Tensor | None] = []
        with torch.autocast(g.device.type, enabled=False):
            flat_g = g.to(W.dtype).reshape(-1, g.shape[-1])
            if want_x:
                grad_x = flat_g @ (_frozen(weight, None, terms, W.dtype)[0] if ctx.learns_alpha else W)
            for i, (term, A, left, h) in enumerate(zip(terms, As, lefts, hs, strict=True)):
                want_A, want_B, want_u, want_v, want_alpha = wanted[i * _PER_TERM : (i + 1) * _PER_TERM]
                part, dtype = flat_g[:, term.start : term.stop], term.A.dtype
                found: list[Tensor | None] = [None] * _PER_TERM
                if want_A or want_x:
                    thin = part @ left
                if want_x:
                    grad_x.addmm_(thin, A)
                if want_A:
                    found[0] = (thin.T @ flat_x).to(dtype)
                if want_B or want_u or want_v:
                    found[1:4] = _of_outputs(term, (part.T @ h).to(dtype), want_B, want_u, want_v)
                if want_alpha:
                    assert frozen is not None
                    # a product with ones adds up in float32, and faster than a sum does
                    ones = part.new_ones(1, len(part))
                    found[4] = (ones @ (part * frozen[:, term.start : term.stop]))[0].to(dtype)
                grads += found
            x = grad_x.view(ctx.x_shape).to(ctx.x_dtype) if want_x else None
        return (x, None, None, None, None, None, *grads)


def _stretched(y: Tensor, terms: Sequence[Term]) -> Tensor:
    """Λ_α y for y (tokens × out), rounded once to its dtype."""
    if len(terms) == 1 and terms[0].alpha is not None and len(terms[0].alpha) == y.shape[1]:
        return (y * terms[0].alpha).to(y.dtype)
    stretched = y.clone()
    for term in terms:
        if term.alpha is not None:
            rows = slice(term.start, term.stop)
            stretched[:, rows] = y[:, rows] * term.alpha
    return stretched


def choose(x: Tensor, weight: Tensor, terms: Sequence[Term]) -> Chosen:
    """The path that ``forward=auto`` takes for ``x`` (…, in) through this frozen weight under ``terms``."""
    chosen = choose_path(x.numel() // x.shape[-1], x.shape[-1], autocast_dtype(x), weight.dtype, terms)
    # a weight that somebody trains after all keeps its gradient, as on the factored pass
    return "factored" if chosen == "fused" and weight.requires_grad else chosen


def choose_path(
    tokens: int, inside: int, cast: torch.dtype | None, dtype: torch.dtype, terms: Sequence[Term]
) -> Chosen:
    """`choose` for ``tokens`` inputs of ``inside`` numbers and a frozen weight of ``dtype``.

    ``cast``: the dtype of autocast; None: without. Multiplications of a step, forward and backward, for t tokens and a
    term of rank r on ``out`` rows:

    - merged_weight, only where W is not rounded below float32 (ΔW would be rounded with it): r·out·in for W against
      t·r·(out + in) for A and B; what else differs is in its favour.
    - delta_weight, only under autocast to bfloat16 (without autocast the factored pass works in the adapter's dtype,
      and small ΔW have no float16): 2·r·out·in for ΔW and M and 3·t·out·in for ΔW x, g ΔW and G, against
      2·t·r·(out + in) of fused, which else takes its place.
    """
    thin = whole = separate = 0
    for term in terms:
        out, rank = term.stop - term.start, len(term.A)
        thin += tokens * rank * (out + inside)
        whole += rank * out * inside
        separate += (3 * tokens + 2 * rank) * out * inside
    if (cast or dtype) in (torch.float32, torch.float64):
        return "merged_weight" if thin > whole else "factored"
    if cast is not torch.bfloat16:
        return "factored"
    return "delta_weight" if 2 * thin > separate else "fused"


def few_tokens(out: int, inside: int) -> int:
    """Up to how many tokens `choose_path` says ``factored`` (under autocast to bfloat16 ``fused``), whatever the rank.

    ``out``: the rows of a term.
    """
    return out * inside // (out + inside)


def through_weight(tokens: int, out: int, inside: int, rank: int, products: int) -> bool:
    """Whether G = gᵀ x and ``products`` products with it are less work than ``products`` pairs of thin products.

    Multiplications: tokens·out·in + products·rank·out·in against products·tokens·rank·(out + in).
    """
    return tokens * out * inside + products * rank * out * inside < products * tokens * rank * (out + inside)

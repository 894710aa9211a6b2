"""The pass through W0 + ΔW, and that with ΔW on its own, against the naive one: values, gradients,
dtypes, slices; in float64 to rounding."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.autograd import gradcheck
from torch.utils.checkpoint import checkpoint

from uora_bench.contract.harness import BOTH, adapted
from uora_bench.contract.models import roberta
from uora_bench.errors import UserError
from uora_bench.methods import forward_paths
from uora_bench.methods.forward_paths import Term, compose, fused_linear, through_weight, weight_linear

KINDS = {
    "lora": {"u": False, "v": False, "alpha": False},
    "vera": {"u": True, "v": True, "alpha": False},
    "alpha": {"u": False, "v": False, "alpha": True},
    "tied_u": {"u": True, "v": False, "alpha": False},
    "tied_v": {"u": False, "v": True, "alpha": False},
    "all": {"u": True, "v": True, "alpha": True},
}


def problem(
    kind: str,
    tokens: int,
    inside: int,
    out: int,
    rank: int,
    seed: int = 0,
    slices: int = 1,
    dtype: torch.dtype = torch.float64,
) -> tuple[Tensor, Tensor, Tensor, list[Term]]:
    """x, W0, bias and terms on ``slices`` disjoint row ranges with a gap before each."""
    g = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=g, dtype=torch.float64).to(dtype)

    terms, at = [], 0
    for i in range(slices):
        at += 1 if slices > 1 else 0
        has = KINDS[kind]
        terms.append(
            Term(
                at,
                at + out,
                draw(rank, inside).requires_grad_(),
                draw(out, rank).requires_grad_(),
                draw(rank).requires_grad_() if has["u"] else None,
                draw(out).requires_grad_() if has["v"] else None,
                draw(out).requires_grad_() if has["alpha"] else None,
                0.5 + i,
            )
        )
        at += out
    rows = at + (1 if slices > 1 else 0)
    return draw(tokens, inside).requires_grad_(), draw(rows, inside), draw(rows), terms


def naive(x: Tensor, weight: Tensor, bias: Tensor | None, terms: list[Term]) -> Tensor:
    """α ⊙ (W0 x + bias) + s v ⊙ (B (u ⊙ (A x))), slice by slice, by autograd alone."""
    y = x @ weight.T + (0 if bias is None else bias)
    pieces, at = [], 0
    for t in terms:
        pieces.append(y[..., at : t.start])
        part = y[..., t.start : t.stop]
        h = x @ t.A.T
        h = h if t.u is None else h * t.u
        delta = t.scale * (h @ t.B.T)
        delta = delta if t.v is None else delta * t.v
        pieces.append((part if t.alpha is None else part * t.alpha) + delta)
        at = t.stop
    return torch.cat([*pieces, y[..., at:]], -1)


def leaves(x: Tensor, terms: list[Term]) -> list[Tensor]:
    return [x, *(t for term in terms for t in term.tensors if t is not None)]


def both(
    x: Tensor, weight: Tensor, bias: Tensor | None, terms: list[Term], separate: bool = False
) -> tuple[list[Tensor], list[Tensor]]:
    """Value and gradients (of a loss that weighs every output) of the naive and of the merged pass."""
    found = []
    for f in (naive, partial(weight_linear, separate=separate)):
        y = f(x, weight, bias, terms)
        loss = (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum()
        found.append([y.detach(), *torch.autograd.grad(loss, leaves(x, terms))])
    return found[0], found[1]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(sorted(KINDS)), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.integers(1, 12),
    st.integers(1, 3), st.booleans(), st.sampled_from([1, 128]), st.booleans(),
)  # fmt: skip
def test_it_is_the_naive_pass_in_value_and_gradient(
    kind: str,
    tokens: int,
    inside: int,
    out: int,
    rank: int,
    slices: int,
    with_bias: bool,
    keep_from: int,
    separate: bool,
) -> None:
    x, weight, bias, terms = problem(kind, tokens, inside, out, rank, slices=slices)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forward_paths, "_KEEP_FROM", keep_from)  # 1: the product is kept for the backward pass
        first, second = both(x, weight, bias if with_bias else None, terms, separate)
    for a, b in zip(first, second, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(sorted(KINDS)), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.integers(1, 12),
    st.integers(1, 3), st.booleans(),
)  # fmt: skip
def test_the_fused_pass_is_the_naive_one_in_value_and_gradient(
    kind: str, tokens: int, inside: int, out: int, rank: int, slices: int, with_bias: bool
) -> None:
    x, weight, bias, terms = problem(kind, tokens, inside, out, rank, slices=slices)
    for learnt in (True, False):  # α at rest is multiplied into the weight
        terms = [t._replace(alpha=t.alpha if t.alpha is None or learnt else t.alpha.detach()) for t in terms]
        wanted = [t for t in leaves(x, terms) if t.requires_grad]
        found = []
        for f in (naive, partial(fused_linear, cast=weight)):
            y = f(x, weight, bias if with_bias else None, terms)
            found.append([y.detach(), *torch.autograd.grad((y * y.detach().roll(1)).sum(), wanted)])
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("wanting", ["A", "B", "u", "v", "alpha", "x"])
def test_the_fused_pass_gives_a_gradient_to_what_wants_one_alone(wanting: str) -> None:
    x, weight, bias, (term,) = problem("all", 6, 4, 3, 2)
    x = x.detach().requires_grad_(wanting == "x")
    rest = {k: getattr(term, k).detach() for k in ("A", "B", "u", "v", "alpha")}
    if wanting != "x":
        rest[wanting].requires_grad_()
    term = term._replace(**rest)
    grads = []
    for f in (naive, partial(fused_linear, cast=weight)):
        f(x, weight, bias, [term]).square().sum().backward()
        grads.append({k: t.grad for k, t in {"x": x, **rest}.items()})
        for t in (x, *rest.values()):
            t.grad = None
    assert [k for k, g in grads[1].items() if g is not None] == [wanting]
    torch.testing.assert_close(grads[1][wanting], grads[0][wanting], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_in_bfloat16_the_fused_pass_errs_no_more_than_the_products_and_sums_that_it_replaces(kind: str) -> None:
    x, weight, bias, terms = problem(kind, 512, 64, 48, 8, dtype=torch.float32)
    exact, _ = both(*problem(kind, 512, 64, 48, 8))
    errors = []
    for f in (naive, partial(fused_linear, cast=weight.bfloat16())):
        with torch.autocast("cpu", torch.bfloat16):
            y = f(x, weight, bias, terms)
        loss = (y.float() * torch.linspace(-1, 1, y.numel()).view_as(y)).sum()
        got = [y.detach(), *torch.autograd.grad(loss, leaves(x, terms))]
        errors.append([float((a - b).norm() / a.norm()) for a, b in zip(exact, got, strict=True)])
    # 2⁻⁹: a gradient is rounded once more where it comes out of a product in bfloat16
    assert all(ours < 1.2 * theirs + 2**-9 for theirs, ours in zip(*errors, strict=True)), errors


@pytest.mark.parametrize("make", BOTH)
@pytest.mark.parametrize("name", ["lora", "lora_fa", "vera", "uora", "tied_lora", "alpha_lora"])
def test_in_bfloat16_fused_and_factored_passes_are_as_near_to_float32(name: str, make: Callable[..., Any]) -> None:
    it = adapted(name, make, torch.float32, forward="factored")
    it.model.train()
    generator = torch.Generator().manual_seed(0)

    def gradient(low: bool, path: Any) -> Tensor:
        for layer in it.method.layers.values():
            layer.forward_path, layer.ran = path, ()
        it.model.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            it.loss().backward()
        assert set(it.method.forward_paths()) == {path}
        return torch.cat([p.grad.flatten() for p in it.method.parameters() if p.grad is not None])

    errors = torch.zeros(2)
    for _ in range(6):  # of one draw the error may be twice that of the next
        with torch.no_grad():
            for parameter in it.method.parameters():
                parameter.copy_(0.1 * torch.randn(parameter.shape, generator=generator))
        exact = gradient(False, "factored")
        errors += torch.stack([(gradient(True, p) - exact).norm() / exact.norm() for p in ("factored", "fused")])
    factored, fused = errors.tolist()
    assert fused < 1.5 * factored
    assert fused != factored  # it is another pass


def test_an_unfrozen_weight_under_autocast_keeps_its_gradient() -> None:
    it = adapted("lora", roberta, torch.float32)
    (layer, *_) = it.method.layers.values()
    layer.base.weight.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        it.loss().backward()
    assert layer.base.weight.grad is not None


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("rank", [2, 9])  # thin products, and through G
@pytest.mark.parametrize("separate", [False, True], ids=["merged_weight", "delta_weight"])
def test_gradcheck(kind: str, rank: int, separate: bool) -> None:
    x, weight, bias, terms = problem(kind, 12, 4, 3, rank)
    assert through_weight(12, 3, 4, 2, 1) != through_weight(12, 3, 4, 9, 2)
    tensors = leaves(x, terms)

    def run(x: Tensor, *flat: Tensor) -> Tensor:
        rest = iter(flat)
        made = terms[0]._replace(
            **{k: next(rest) for k in ("A", "B", "u", "v", "alpha") if getattr(terms[0], k) is not None}
        )
        return weight_linear(x, weight, bias, [made], separate)

    assert gradcheck(run, tensors)


@pytest.mark.parametrize("separate", [False, True], ids=["merged_weight", "delta_weight"])
def test_only_what_wants_a_gradient_gets_one(separate: bool) -> None:
    x, weight, bias, terms = problem("all", 5, 4, 3, 2)
    frozen = terms[0]._replace(A=terms[0].A.detach(), alpha=terms[0].alpha.detach())  # type: ignore[union-attr]
    weight.requires_grad_()  # of a layer somebody forgot to freeze: it stays without
    weight_linear(x.detach(), weight, bias, [frozen], separate).sum().backward()
    assert weight.grad is None
    assert x.grad is None
    assert all(t.grad is not None for t in (frozen.B, frozen.u, frozen.v))  # type: ignore[union-attr]


@pytest.mark.parametrize("separate", [False, True], ids=["merged_weight", "delta_weight"])
def test_batches_of_any_shape_and_checkpointing_give_the_same(separate: bool) -> None:
    x, weight, bias, terms = problem("vera", 12, 4, 3, 2)
    flat = weight_linear(x, weight, bias, terms, separate)
    cube = weight_linear(x.reshape(2, 3, 2, 4), weight, bias, terms, separate)
    assert torch.equal(cube.reshape(12, 3), flat)
    again = checkpoint(weight_linear, x, weight, bias, terms, separate, use_reentrant=False)
    wanted = torch.autograd.grad(flat.sum(), leaves(x, terms))
    for a, b in zip(wanted, torch.autograd.grad(again.sum(), leaves(x, terms)), strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize("kind", ["lora", "vera", "alpha"])
@pytest.mark.parametrize(("separate", "rank"), [(False, 4), (True, 4), (True, 128)])
def test_under_autocast_it_is_the_naive_pass_to_the_rounding_of_bfloat16(kind: str, separate: bool, rank: int) -> None:
    x, weight, bias, terms = problem(kind, 64, 32, 24, rank, dtype=torch.float32)
    exact, _ = both(x, weight, bias, terms)
    with torch.autocast("cpu", torch.bfloat16):
        y = weight_linear(x, weight, bias, terms, separate)
    assert y.dtype == torch.bfloat16
    (y.float() * torch.linspace(-1, 1, y.numel()).view_as(y)).sum().backward()
    for wanted, got in zip(exact, [y.float().detach(), *(t.grad for t in leaves(x, terms))], strict=True):
        assert got is not None
        assert got.dtype == torch.float32
        assert (got - wanted).norm() < 0.02 * wanted.norm()


@pytest.mark.parametrize("size", [1e-2, 1e-3, 1e-4])
def test_apart_a_small_update_keeps_its_precision_in_bfloat16_and_composed_it_does_not(size: float) -> None:
    # |ΔW| / |W0| = size; W0 maps to 0 what is passed through, so that the output is the update's alone
    _, weight, _, (term,) = problem("vera", 1, 32, 24, 16, dtype=torch.float32)
    half = weight[:, :16]
    weight = torch.cat([half, half], 1)
    ones = torch.cat([torch.eye(16), -torch.eye(16)], 1)  # (16 × 32): W0 x = 0
    with torch.no_grad():
        delta = forward_paths._update(term, None, torch.float32)
        term = term._replace(scale=term.scale * size * float(weight.norm() / delta.norm()))
        wanted = ones @ forward_paths._update(term, None, torch.float32).T
        with torch.autocast("cpu", torch.bfloat16):
            separate, together = (weight_linear(ones, weight, None, [term], a).float() for a in (True, False))
    assert (separate - wanted).norm() < 0.02 * wanted.norm()
    assert (together - wanted).norm() > 0.1 * wanted.norm()


@pytest.mark.parametrize("separate", [False, True], ids=["merged_weight", "delta_weight"])
def test_an_alpha_near_one_is_not_lost_in_bfloat16(separate: bool) -> None:
    # bfloat16 has no number between 0.996 and 1, and none between 1 and 1.0078
    x, weight, bias, (term,) = problem("alpha", 64, 32, 24, 4, dtype=torch.float32)
    assert term.alpha is not None
    for alpha in (0.9985, 1.003):
        with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
            frozen = torch.nn.functional.linear(x, weight, bias).float()
            flat = term._replace(alpha=torch.full_like(term.alpha, alpha), B=torch.zeros_like(term.B))
            y = weight_linear(x, weight, bias, [flat], separate).float()
            flat.alpha.requires_grad_()  # without gradients it rests all the same
            fused = fused_linear(x, weight, bias, [flat], weight.bfloat16()).float()
        for each in (y, fused):
            assert float((each * frozen).sum() / frozen.square().sum()) == pytest.approx(alpha, abs=7e-4)


def test_composing_alone_gives_the_merged_map_and_leaves_the_frozen_one() -> None:
    x, weight, bias, terms = problem("all", 5, 4, 3, 2, slices=2)
    kept = weight.clone(), bias.clone()
    with torch.no_grad():
        W, c = compose(weight, bias, terms)
        assert c is not None
        torch.testing.assert_close(x @ W.T + c, naive(x, weight, bias, terms))
    assert torch.equal(weight, kept[0])
    assert torch.equal(bias, kept[1])


@given(st.integers(1, 4096), st.integers(1, 1024), st.integers(1, 1024), st.integers(1, 1024), st.integers(1, 2))
def test_the_way_through_g_is_taken_where_it_is_less_work(t: int, o: int, i: int, r: int, n: int) -> None:
    thin, whole = n * t * r * (o + i), t * o * i + n * r * o * i
    assert through_weight(t, o, i, r, n) == (whole < thin)


@given(
    st.lists(st.tuples(st.integers(1, 40), st.integers(1, 60)), min_size=1, max_size=3), st.integers(1, 50), st.data()
)
def test_few_tokens_are_factored_whatever_else(sizes: list[tuple[int, int]], inside: int, data: st.DataObject) -> None:
    terms = [Term(0, out, torch.empty(r, inside, device="meta"), torch.empty(out, r)) for out, r in sizes]
    few = min(forward_paths.few_tokens(out, inside) for out, _ in sizes)
    tokens = data.draw(st.integers(0, few))
    for cast in (None, torch.bfloat16, torch.float16):
        for dtype in (torch.float32, torch.float64, torch.bfloat16):
            expected = "fused" if cast is torch.bfloat16 else "factored"
            assert forward_paths.choose_path(tokens, inside, cast, dtype, terms) == expected
    out = sizes[0][0]
    paths = [forward_paths.choose_path(t, inside, None, torch.float32, terms[:1]) for t in (few, 10 * out * inside)]
    assert paths == ["factored", "merged_weight"]


@pytest.mark.parametrize("make", BOTH)
def test_auto_composes_where_it_is_exact_and_pays(make: Callable[..., Any]) -> None:
    def ran(dtype: torch.dtype = torch.float64, autocast: bool = False, rows: int = 8, **options: Any) -> set[str]:
        it = adapted("lora", make, dtype, kinds=("q", "v"), **options)
        it.model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            it.model(input_ids=torch.arange(6).repeat(rows, 1) + 5)
        return set(it.method.forward_paths())

    assert ran() == {"merged_weight"}  # 48 tokens; (32 × 32) maps want more than 16
    assert ran(torch.float32) == {"merged_weight"}
    assert ran(rows=2) == {"factored"}
    assert ran(torch.float32, autocast=True) == {"fused"}
    assert ran(torch.float32, autocast=True, forward="factored") == {"factored"}
    assert ran(forward="fused") == {"fused"}
    assert ran(torch.bfloat16) == {"factored"}
    assert ran(dropout=0.1) == {"factored"}
    assert ran(forward="factored") == {"factored"}
    # rank 64 on (32 × 32): 2 · 48 · 64 · 64 multiplications against (3 · 48 + 2 · 64) · 32 · 32
    assert ran(torch.float32, autocast=True, rank=64) == {"delta_weight"}
    assert ran(torch.float32, autocast=True, rank=64, dropout=0.1) == {"factored"}
    assert ran(torch.bfloat16, rank=64) == {"factored"}
    assert ran(rank=64) == {"merged_weight"}
    assert ran(torch.float32, autocast=True, forward="merged_weight") == {"merged_weight"}
    for kernel in ("fused", "merged_weight", "delta_weight"):
        with pytest.raises(UserError, match=f"forward={kernel} has no dropout"):
            ran(forward=kernel, dropout=0.1)

"""The contract, part 2: gradients, kernels, merging, dropout and half precision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from tests.support.contract_harness import (
    adapted,
    batch_loss,
    both_models,
    checkpointed,
    every_method,
    having_option,
    logits,
    perturb,
    same,
    trains_something,
    where,
)
from tests.support.tinymodels import gpt2, roberta
from uora_bench.errors import UserError

# --- gradients --------------------------------------------------------------------------------------------------------


def silent(make):
    """Names of the parameters whose gradient is zero in this model whatever the method (a key's bias)."""
    model = make()
    batch_loss(model).backward()
    return {n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() <= 1e-9}


@where(trains_something)
def test_one_step_is_enough_for_the_gradient_to_reach_all_that_is_trained(name, make):
    it = adapted(name, make)
    trained = it.method.parameters()
    frozen = {n: p for n, p in it.model.named_parameters() if not p.requires_grad}
    before = {n: p.clone() for n, p in frozen.items()}
    optimizer = torch.optim.SGD(trained, lr=0.1)
    it.method.bind(optimizer, 2)
    it.loss().backward()
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    it.loss().backward()
    unreached = silent(make)
    exempt = {id(p) for n, p in it.own.items() if n in unreached}
    assert len(exempt) < len(trained)
    for parameter in trained:
        assert parameter.grad is not None
        assert torch.isfinite(parameter.grad).all()
        assert id(parameter) in exempt or parameter.grad.abs().max() > 1e-9
    assert same(before, {n: p.detach() for n, p in frozen.items()})
    assert all(p.grad is None for p in frozen.values())


def gradient_error(loss, parameters, step=1e-5):
    """Largest disagreement, over tensors, of autograd with central differences along a random direction.

    torch.autograd.gradcheck is not used: when it fails it computes the whole numeric Jacobian for its message, which
    takes hours for a model.
    """
    gradients = torch.autograd.grad(loss(), parameters)
    generator = torch.Generator().manual_seed(11)
    errors = []
    for parameter, gradient in zip(parameters, gradients, strict=True):
        # mostly along the gradient, so that a part in a thousand of it shows; a random part sees what autograd does not
        noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
        direction = noise / noise.norm() + gradient / gradient.norm().clamp_min(1e-12)
        with torch.no_grad():
            start = parameter.clone()
            values = []
            for sign in (1, -1):
                parameter.copy_(start + sign * step * direction)
                values.append(loss().item())
            parameter.copy_(start)
        numeric, exact = (values[0] - values[1]) / (2 * step), (gradient * direction).sum().item()
        errors.append(abs(numeric - exact) / max(abs(exact), 1e-4))
    return max(errors)


@where(trains_something)
def test_gradients_are_those_of_the_loss(name, make):
    it = adapted(name, make)
    parameters = it.method.parameters()
    perturb(it.method, 0.05)
    assert gradient_error(it.loss, parameters) < 1e-6
    # the check can fail: one tensor's gradient wrong by a part in a hundred
    loudest = max(range(len(parameters)), key=lambda i: torch.autograd.grad(it.loss(), parameters)[i].norm())
    hook = parameters[loudest].register_hook(lambda gradient: 1.01 * gradient)
    assert gradient_error(it.loss, parameters) > 1e-3
    hook.remove()


class _ForgetsTheFactor(torch.autograd.Function):
    """y = 2 x with the backward of y = x."""

    @staticmethod
    def forward(ctx, x):
        return 2 * x

    @staticmethod
    def backward(ctx, gradient):
        return gradient


def test_a_wrong_backward_does_not_pass_for_a_gradient():
    x = nn.Parameter(torch.linspace(-1, 1, 7, dtype=torch.float64))
    assert gradient_error(lambda: (2 * x).tanh().sum(), [x]) < 1e-6
    assert gradient_error(lambda: _ForgetsTheFactor.apply(x).tanh().sum(), [x]) > 0.1


@every_method
@both_models
def test_gradient_checkpointing_gives_the_same_gradients(name, make):
    gradients = []
    for prepare in (None, checkpointed):
        it = adapted(name, make, prepare=prepare)
        perturb(it.method, 0.05)
        it.model.train()
        it.method.bind(torch.optim.SGD([nn.Parameter(torch.zeros(1)), *it.method.parameters()], lr=0.1), 1)
        it.method.before_forward(1, True)
        loss = it.loss()
        if it.method.parameters():
            loss.backward()
        gradients.append([loss.detach(), *(p.grad for p in it.method.parameters())])
    for left, right in zip(*gradients, strict=True):
        torch.testing.assert_close(left, right, atol=1e-10, rtol=1e-8)


# --- kernels ----------------------------------------------------------------------------------------------------------


@having_option("forward")
@both_models
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("prepare", [None, checkpointed], ids=["kept", "checkpointed"])
def test_every_kernel_is_the_same_map_and_gives_the_same_gradients(name, make, dtype, tolerance, prepare):
    found = {}
    for kernel in ("factored", "merged_weight", "delta_weight"):
        it = adapted(name, make, dtype, prepare=prepare, forward=kernel)
        perturb(it.method, 0.05)
        it.model.train()
        loss = it.loss()
        loss.backward()
        assert it.method.forward_paths() == {kernel: len(it.method.layers)}
        it.model.eval()
        found[kernel] = [loss.detach(), it.logits(), *(p.grad for p in it.method.parameters())]
    for plain, composed, apart in zip(*found.values(), strict=True):
        torch.testing.assert_close(composed, plain, atol=tolerance, rtol=100 * tolerance)
        torch.testing.assert_close(apart, plain, atol=tolerance, rtol=100 * tolerance)


@pytest.mark.parametrize("make", [roberta, gpt2])
def test_auto_composes_where_it_is_exact_and_pays(make):
    def ran(dtype: torch.dtype = torch.float64, autocast: bool = False, rows: int = 8, **options: Any) -> set[str]:
        it = adapted("lora", make, dtype, kinds=("q", "v"), **options)
        it.model.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            it.model(input_ids=torch.arange(6).repeat(rows, 1) + 5)
        return set(it.method.forward_paths())

    assert ran() == {"merged_weight"}  # 48 tokens; (32 × 32) maps want more than 16
    assert ran(torch.float32) == {"merged_weight"}
    assert ran(rows=2) == {"factored"}
    assert ran(torch.float32, autocast=True) == {"factored"}
    assert ran(torch.bfloat16) == {"factored"}
    assert ran(dropout=0.1) == {"factored"}
    assert ran(forward="factored") == {"factored"}
    # rank 64 on (32 × 32): 2 · 48 · 64 · 64 multiplications against (3 · 48 + 2 · 64) · 32 · 32
    assert ran(torch.float32, autocast=True, rank=64) == {"delta_weight"}
    assert ran(torch.float32, autocast=True, rank=64, dropout=0.1) == {"factored"}
    assert ran(torch.bfloat16, rank=64) == {"factored"}
    assert ran(rank=64) == {"merged_weight"}
    assert ran(torch.float32, autocast=True, forward="merged_weight") == {"merged_weight"}
    for kernel in ("merged_weight", "delta_weight"):
        with pytest.raises(UserError, match=f"forward={kernel} has no dropout"):
            ran(forward=kernel, dropout=0.1)


@pytest.mark.slow
@having_option("forward")
@pytest.mark.parametrize("forward", ["factored", "merged_weight", "delta_weight", "auto"])
def test_a_compiled_model_is_the_same_map_and_gives_the_same_gradients(name, forward):
    torch.compiler.reset()
    found = []
    for compiled in (False, True):
        it = adapted(name, roberta, torch.float32, forward=forward if compiled else "factored")
        perturb(it.method, 0.05)
        it.model.train()
        if compiled:
            it.model.compile(backend="aot_eager")  # traced forward and backward, without a compiler of C++
        loss = it.loss()
        loss.backward()
        assert it.method.forward_paths() == {"factored": len(it.method.layers)}  # what the others come to there
        found.append([loss.detach(), *(p.grad for p in it.method.parameters())])
    for plain, other in zip(*found, strict=True):
        torch.testing.assert_close(other, plain, atol=1e-5, rtol=1e-3)


# --- merging ----------------------------------------------------------------------------------------------------------


@every_method
@both_models
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_merged_logits_are_the_adapters_and_unmerging_restores_every_bit(name, make, dtype, tolerance):
    it = adapted(name, make, dtype)
    start = it.logits()
    perturb(it.method)
    original, with_adapter = it.weights(), it.logits()
    if it.method.parameters():
        assert (with_adapter - start).abs().max() > 1e-2, "the adapters must matter"
    it.method.merge()
    merged = it.weights()
    it.method.merge()  # twice is once
    assert same(it.weights(), merged)
    torch.testing.assert_close(it.logits(), with_adapter, atol=tolerance * with_adapter.abs().max().item(), rtol=0)
    assert same(merged, original) != it.method.mergeable
    it.method.unmerge()
    it.method.unmerge()
    assert same(it.weights(), original)
    assert torch.equal(it.logits(), with_adapter)


@where(lambda it: it.method.mergeable)
@pytest.mark.parametrize("kinds", [None, ("q", "v")])
def test_merging_changes_the_targets_and_nothing_else(name, make, kinds):
    it = adapted(name, make, kinds=kinds)
    assert it.method.mergeable
    perturb(it.method)
    before = it.weights()
    deltas = {path: layer.delta_weight() for path, layer in it.method.layers.items()}
    it.method.merge()
    change = {n: w - before[n] for n, w in it.weights().items()}
    for path in {t.path for t in it.targets}:
        weight, bias = (change.pop(f"{path}.{part}") for part in ("weight", "bias"))
        if make is gpt2:  # Conv1D keeps (in × out)
            weight = weight.T
        if path in deltas:
            torch.testing.assert_close(weight, deltas[path], atol=1e-14, rtol=0)
            torch.testing.assert_close(it.method.layers[path].delta_weight(), deltas[path], atol=1e-14, rtol=0)
        untouched = torch.ones(len(weight), dtype=torch.bool)
        for target in (t for t in it.targets if t.path == path):
            assert weight[target.start : target.stop].any(), target.name
            untouched[target.start : target.stop] = False
        assert not weight[untouched].any(), "rows that are nobody's target"
        assert not bias[untouched].any()
    assert [n for n, c in change.items() if c.any()] == []


@every_method
@both_models
def test_factors_multiply_to_the_update(name, make):
    it = adapted(name, make)
    perturb(it.method)
    for branch in it.method.branches.values():
        try:
            A, B = branch.factors()
        except UserError:  # it has none and says so
            continue
        assert A.shape[0] == B.shape[1]
        torch.testing.assert_close(B @ A, branch.delta_weight(), atol=1e-12, rtol=1e-10)


# --- dropout ----------------------------------------------------------------------------------------------------------


@having_option("dropout")
@both_models
def test_dropout_acts_in_training_and_on_the_adapter_alone(name, make):
    without, it = adapted(name, make), adapted(name, make, dropout=0.5)
    if not it.method.starts_elsewhere:
        it.model.train()  # ΔW = 0: whatever is dropped from the adapter's input, the frozen map's own is whole
        assert torch.equal(it.logits(), logits(make()))
    for each in (without, it):
        perturb(each.method)
    it.model.eval()
    assert torch.equal(it.logits(), without.logits())
    it.model.train()
    torch.manual_seed(0)
    first, second = it.logits(), it.logits()
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(it.logits(), first)


# --- half precision ---------------------------------------------------------------------------------------------------


@every_method
@both_models
def test_half_precision_weights_keep_full_precision_adapters(name, make):
    dtype = torch.bfloat16
    it, bare = adapted(name, make, dtype), make(dtype)
    new = it.new_parameters()
    assert {p.dtype for p in new} <= {torch.float32}
    owned = {id(p) for p in it.own.values()}
    assert {v.dtype for v in it.method.adapter_state().values() if id(v) not in owned} <= {torch.float32}
    perturb(it.method, 0.5 if new else 0.01)
    original = it.weights()
    with torch.autocast("cpu", torch.bfloat16):
        with_adapter = it.logits()
        if it.method.parameters():
            it.loss().backward()
        it.method.merge()
        merged = it.logits()
    assert torch.isfinite(with_adapter).all()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in it.method.parameters())
    assert all(p.grad.dtype == torch.float32 for p in new)
    assert {p.dtype for p in it.own.values()} == {dtype}, "the backbone's tensors keep their type, merged too"
    if it.method.mergeable:
        assert (with_adapter - logits(bare)).abs().max() > 2 * (with_adapter - merged).abs().max()
    it.method.unmerge()
    assert same(it.weights(), original)
    if it.method.mergeable:
        assert same(original, dict(bare.named_parameters()))


@every_method
@both_models
def test_half_precision_weights_need_no_autocast(name, make):
    it = adapted(name, make, torch.bfloat16)
    perturb(it.method, 0.5 if it.new_parameters() else 0.01)
    assert torch.isfinite(it.logits()).all()
    if it.method.parameters():
        it.loss().backward()
    assert all(torch.isfinite(p.grad).all() for p in it.method.parameters())

"""The contract, part 2: gradients, forward paths, merging, dropout and half precision."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from uora_bench.contract.check import Checks, ensure, ensure_close
from uora_bench.contract.harness import (
    BOTH,
    Adapted,
    adapted,
    batch_loss,
    checkpointed,
    has_option,
    logits,
    perturb,
    same,
    trains_something,
    where,
)
from uora_bench.contract.models import gpt2, roberta
from uora_bench.errors import UserError

Make = Callable[..., Any]
PRECISIONS = ((torch.float64, 1e-10), (torch.float32, 1e-5))  # with the tolerance
FORWARD = ("factored", "fused", "merged_weight", "delta_weight")
check = Checks()

# --- gradients --------------------------------------------------------------------------------------------------------


def silent(make: Make) -> set[str]:
    """Names of the parameters whose gradient is zero in this model whatever the method (a key's bias)."""
    model = make()
    batch_loss(model).backward()
    return {n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().max() <= 1e-9}


def as_stored(method: Any, parameters: Sequence[Tensor]) -> list[str]:
    """The names of ``parameters`` in the adapter's state, where they have one; else their shapes."""
    names = {id(t): name for name, t in method.adapter_state().items()}
    return [names.get(id(p), f"a tensor of shape {tuple(p.shape)}") for p in parameters]


@check(make=BOTH, when=where(trains_something))
def one_step_is_enough_for_the_gradient_to_reach_all_that_is_trained(name: str, make: Make) -> None:
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
    ensure(len(exempt) < len(trained), "nothing is trained that a gradient could reach")
    lost = [p for p in trained if p.grad is None or (id(p) not in exempt and p.grad.abs().max() <= 1e-9)]
    ensure(not lost, f"no gradient reaches {as_stored(it.method, lost)[:3]}")
    endless = [p for p in trained if p.grad is not None and not torch.isfinite(p.grad).all()]
    ensure(not endless, f"the gradient of {as_stored(it.method, endless)[:3]} is not finite")
    ensure(same(before, {n: p.detach() for n, p in frozen.items()}), "a step of the optimizer changes frozen tensors")
    ensure(all(p.grad is None for p in frozen.values()), "a frozen tensor has a gradient")


def gradient_error(loss: Callable[[], Tensor], parameters: Sequence[nn.Parameter], step: float = 1e-5) -> float:
    """Largest relative disagreement, over tensors, of autograd with central differences along one direction each.

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


@check(make=BOTH, when=where(trains_something))
def gradients_are_those_of_the_loss(name: str, make: Make) -> None:
    it = adapted(name, make)
    parameters = it.method.parameters()
    perturb(it.method, 0.05)
    error = gradient_error(it.loss, parameters)
    ensure(error < 1e-6, f"autograd and finite differences differ by {error:.1e}")
    # the check can fail: one tensor's gradient wrong by a part in a hundred
    loudest = max(range(len(parameters)), key=lambda i: float(torch.autograd.grad(it.loss(), parameters)[i].norm()))
    hook = parameters[loudest].register_hook(lambda gradient: 1.01 * gradient)
    error = gradient_error(it.loss, parameters)
    ensure(error > 1e-3, "a gradient that is wrong by a part in a hundred was not seen")
    hook.remove()


@check(make=BOTH)
def gradient_checkpointing_gives_the_same_gradients(name: str, make: Make) -> None:
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
        ensure_close(right, left, "with gradient checkpointing", atol=1e-10, rtol=1e-8)


# --- forward paths ----------------------------------------------------------------------------------------------------


@check(make=BOTH, precision=PRECISIONS, prepare=(None, checkpointed), when=has_option("forward"))
def every_forward_path_is_the_same_map_and_gives_the_same_gradients(
    name: str, make: Make, precision: tuple[torch.dtype, float], prepare: Callable[[Any], None] | None
) -> None:
    (dtype, tolerance), found = precision, {}
    for path in FORWARD:
        it = adapted(name, make, dtype, prepare=prepare, forward=path)
        perturb(it.method, 0.05)
        it.model.train()
        loss = it.loss()
        loss.backward()
        ran = it.method.forward_paths()
        ensure(ran == {path: len(it.method.layers)}, f"method.forward={path} took {ran}")
        it.model.eval()
        found[path] = [loss.detach(), it.logits(), *(p.grad for p in it.method.parameters())]
    for path in FORWARD[1:]:
        for one, plain in zip(found[path], found["factored"], strict=True):
            ensure_close(one, plain, f"method.forward={path}", atol=tolerance, rtol=100 * tolerance)


@check(forward=(*FORWARD, "auto"), when=has_option("forward"), slow=True)
def a_compiled_model_is_the_same_map_and_gives_the_same_gradients(name: str, forward: str) -> None:
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
        ran = it.method.forward_paths()
        ensure(ran == {"factored": len(it.method.layers)}, f"compiled it took {ran}")  # what the others come to there
        found.append([loss.detach(), *(p.grad for p in it.method.parameters())])
    for plain, other in zip(*found, strict=True):
        ensure_close(other, plain, "the compiled model", atol=1e-5, rtol=1e-3)


# --- merging ----------------------------------------------------------------------------------------------------------


@check(make=BOTH, precision=PRECISIONS)
def merged_logits_are_the_adapters_and_unmerging_restores_every_bit(
    name: str, make: Make, precision: tuple[torch.dtype, float]
) -> None:
    dtype, tolerance = precision
    it = adapted(name, make, dtype)
    start = it.logits()
    perturb(it.method)
    original, with_adapter = it.weights(), it.logits()
    if it.method.parameters():
        ensure((with_adapter - start).abs().max() > 1e-2, "what is trained does not matter to the logits")
    it.method.merge()
    merged = it.weights()
    it.method.merge()
    ensure(same(it.weights(), merged), "merging twice is not merging once")
    largest = with_adapter.abs().max().item()
    ensure_close(it.logits(), with_adapter, "the merged model's logits", atol=tolerance * largest, rtol=0)
    ensure(same(merged, original) != it.method.mergeable, f"mergeable is {it.method.mergeable}, and merging says else")
    it.method.unmerge()
    it.method.unmerge()
    ensure(same(it.weights(), original), "unmerging does not restore the weights to the bit")
    ensure(torch.equal(it.logits(), with_adapter), "unmerging does not restore the logits to the bit")


@check(make=BOTH, kinds=(None, ("q", "v")), when=where(lambda it: it.method.mergeable))
def merging_changes_the_targets_and_nothing_else(name: str, make: Make, kinds: tuple[str, ...] | None) -> None:
    it = adapted(name, make, kinds=kinds)
    ensure(it.method.mergeable, "mergeable with its default targets, and not with these")
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
            ensure_close(weight, deltas[path], f"the change of {path} and its ΔW", atol=1e-14, rtol=0)
            again = it.method.layers[path].delta_weight()
            ensure_close(again, deltas[path], f"ΔW of {path}, merged and not", atol=1e-14, rtol=0)
        untouched = torch.ones(len(weight), dtype=torch.bool)
        for target in (t for t in it.targets if t.path == path):
            ensure(weight[target.start : target.stop].any(), f"merging does not change {target.name}")
            untouched[target.start : target.stop] = False
        ensure(not weight[untouched].any(), f"merging changes rows of {path} that are nobody's target")
        ensure(not bias[untouched].any(), f"merging changes the bias of {path} outside the targets")
    other = [n for n, c in change.items() if c.any()]
    ensure(not other, f"merging changes what is no target: {other[:3]}")


@check(make=BOTH)
def factors_multiply_to_the_update(name: str, make: Make) -> None:
    it = adapted(name, make)
    perturb(it.method)
    for key, branch in it.method.branches.items():
        with suppress(UserError):  # it has none and says so
            A, B = branch.factors()
            ensure(A.shape[0] == B.shape[1], f"factors of {key}: {tuple(B.shape)} times {tuple(A.shape)}")
            ensure_close(B @ A, branch.delta_weight(), f"B A of factors and ΔW of {key}", atol=1e-12, rtol=1e-10)


def turns_off(it: Adapted) -> bool:
    """Whether the method has a way to be turned off: one that trains the backbone's own tensors has none."""
    try:
        with it.method.turned_off():
            return True
    except UserError:
        return False


@check(make=BOTH, when=where(turns_off))
def turned_off_it_is_the_model_without_the_adapter(name: str, make: Make) -> None:
    it, bare = adapted(name, make), logits(make())
    perturb(it.method)
    with_adapter = it.logits()
    with it.method.turned_off():
        ensure(torch.equal(it.logits(), bare), "turned off, the logits are not those of the model without it")
    ensure(torch.equal(it.logits(), with_adapter), "turned on again, the logits are others")
    if it.method.parameters():
        ensure(not torch.equal(with_adapter, bare), "what is trained does not matter to the logits")


# --- dropout ----------------------------------------------------------------------------------------------------------


@check(make=BOTH, when=has_option("dropout"))
def dropout_acts_in_training_and_on_the_adapter_alone(name: str, make: Make) -> None:
    without, it = adapted(name, make), adapted(name, make, dropout=0.5)
    if not it.method.starts_elsewhere:
        it.model.train()  # ΔW = 0: whatever is dropped from the adapter's input, the frozen map's own is whole
        ensure(torch.equal(it.logits(), logits(make())), "dropout acts on the frozen map too")
    for each in (without, it):
        perturb(each.method)
    it.model.eval()
    ensure(torch.equal(it.logits(), without.logits()), "dropout acts outside training")
    it.model.train()
    torch.manual_seed(0)
    first, second = it.logits(), it.logits()
    ensure(not torch.equal(first, second), "dropout does not act in training")
    torch.manual_seed(0)
    ensure(torch.equal(it.logits(), first), "dropout does not follow torch's generator")


# --- half precision ---------------------------------------------------------------------------------------------------


@check(make=BOTH)
def half_precision_weights_keep_full_precision_adapters(name: str, make: Make) -> None:
    dtype, full = torch.bfloat16, {torch.float32}
    it, bare = adapted(name, make, dtype), make(dtype)
    new = it.new_parameters()
    ensure({p.dtype for p in new} <= full, "adapters on a half-precision backbone are not float32")
    owned = {id(p) for p in it.own.values()}
    stored = {v.dtype for v in it.method.adapter_state().values() if id(v) not in owned}
    ensure(stored <= full, "adapter_state of a half-precision backbone is not float32")
    perturb(it.method, 0.5 if new else 0.01)
    original = it.weights()
    with torch.autocast("cpu", torch.bfloat16):
        with_adapter = it.logits()
        if it.method.parameters():
            it.loss().backward()
        it.method.merge()
        merged = it.logits()
    ensure(torch.isfinite(with_adapter).all(), "the logits are not finite under autocast")
    ensure_finite(it.method, "under autocast")
    ensure({p.grad.dtype for p in new if p.grad is not None} <= full, "gradients of adapters are not float32")
    ensure({p.dtype for p in it.own.values()} == {dtype}, "the backbone's tensors change their type when merged")
    if it.method.mergeable:
        lost = (with_adapter - merged).abs().max()
        ensure((with_adapter - logits(bare)).abs().max() > 2 * lost, "merged in half precision, the adapter is lost")
    it.method.unmerge()
    ensure(same(it.weights(), original), "unmerging does not restore the weights to the bit")
    if it.method.mergeable:
        ensure(same(original, dict(bare.named_parameters())), "injection changes half-precision weights")


@check(make=BOTH)
def half_precision_weights_need_no_autocast(name: str, make: Make) -> None:
    it = adapted(name, make, torch.bfloat16)
    perturb(it.method, 0.5 if it.new_parameters() else 0.01)
    ensure(torch.isfinite(it.logits()).all(), "the logits are not finite without autocast")
    if it.method.parameters():
        it.loss().backward()
    ensure_finite(it.method, "without autocast")


def ensure_finite(method: Any, when: str) -> None:
    """Raise AssertionError unless every trained tensor has a finite gradient."""
    bad = [p for p in method.parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    ensure(not bad, f"no finite gradient {when} for {as_stored(method, bad)[:3]}")

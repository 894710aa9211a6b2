"""What every method owes the suite, asked of each name the registry knows."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.tinymodels import backbone_config, gpt2, inject, labelled, make_method, roberta, tokens
from uora_bench import backbones, registry
from uora_bench.errors import UserError
from uora_bench.methods.base import backbone_parameters

METHODS = registry.choices("method")
every_method = pytest.mark.parametrize("name", METHODS)
both_models = pytest.mark.parametrize("make", [roberta, gpt2])


def options_of(name):
    """The option names of a method."""
    return {f.name for f in dataclasses.fields(registry.method_class(name).Config)}


def small(name, seed=0, **options):
    """The method with its defaults, at a rank these models can take, without options it does not have."""
    options = {"rank": 4, **options}
    return make_method(name, seed, **{k: v for k, v in options.items() if k in options_of(name)})


def injected(name, make=roberta, dtype=torch.float64, seed=0, kinds=None, **options):
    """A model with the method on it; the cell's seed is also the generator's, as in a run."""
    model, method = make(dtype), small(name, seed, **options)
    inject(method, model, kinds, seed)
    return model, method


@torch.no_grad()
def perturb(method, scale=0.5):
    """Move everything an adapter trains away from its start."""
    generator = torch.Generator().manual_seed(7)
    for parameter in method.parameters() if method.layers else ():
        parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype), alpha=scale)


@torch.no_grad()
def logits(model):
    return model(**tokens(model)).logits


def weights(model):
    """Frozen weights by the name they have without adapters."""
    found = {n.replace(".base.", "."): p for n, p in model.named_parameters() if ".branches." not in n}
    return {n: p.detach().clone() for n, p in found.items()}


def same(left, right):
    """Equal bit for bit, names included."""
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


def backward(model):
    model(**labelled(model)).loss.backward()


@every_method
@both_models
def test_inject_trains_the_methods_parameters_and_freezes_the_rest(name, make):
    model, method = injected(name, make)
    trained = {id(p) for p in backbone_parameters(model).values() if p.requires_grad}
    assert trained == {id(p) for p in method.parameters()}
    assert len(trained) == len(method.parameters())
    grouped = [p for group in method.param_groups(1e-3, 0.01) for p in group["params"]]
    assert [id(p) for p in grouped] == [id(p) for p in method.parameters()]


@every_method
@both_models
def test_the_start_leaves_the_model_as_it_was(name, make):
    plain = make()
    model, method = injected(name, make)
    assert torch.equal(logits(model), logits(plain))
    assert same(weights(model), weights(plain))
    for layer in method.layers.values():
        assert not layer.delta_weight().any()


@every_method
@both_models
def test_one_step_is_enough_for_the_gradient_to_reach_all_that_is_trained(name, make):
    model, method = injected(name, make)
    if not method.parameters():
        return
    frozen = {n: p for n, p in model.named_parameters() if not p.requires_grad}
    before = {n: p.clone() for n, p in frozen.items()}
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1)
    backward(model)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    backward(model)
    for parameter in method.parameters():
        assert torch.isfinite(parameter.grad).all()
        if method.layers:  # the gradient of a key's bias is zero whatever the loss, so full may have zeros
            assert parameter.grad.abs().max() > 1e-9
    assert same(before, {n: p.detach() for n, p in frozen.items()})
    assert all(p.grad is None for p in frozen.values())


@every_method
@both_models
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-10), (torch.float32, 1e-5)])
def test_merged_logits_are_the_adapters_and_unmerging_restores_every_bit(name, make, dtype, tolerance):
    model, method = injected(name, make, dtype)
    start, original = logits(model), weights(model)
    perturb(method)
    adapted = logits(model)
    method.merge()
    merged_weights = weights(model)
    method.merge()  # twice is once
    assert same(weights(model), merged_weights)
    torch.testing.assert_close(logits(model), adapted, atol=tolerance * adapted.abs().max().item(), rtol=0)
    if method.layers:
        assert (adapted - start).abs().max() > 1e-2, "the adapters must matter"
        assert not same(merged_weights, original)
    method.unmerge()
    method.unmerge()
    assert same(weights(model), original)
    assert torch.equal(logits(model), adapted)


@every_method
def test_delta_weight_is_what_merging_adds(name):
    _, method = injected(name, gpt2)
    perturb(method)
    before = {path: layer.base.weight.detach().T.clone() for path, layer in method.layers.items()}
    deltas = {path: layer.delta_weight() for path, layer in method.layers.items()}
    method.merge()
    for path, layer in method.layers.items():
        torch.testing.assert_close(layer.base.weight.T - before[path], deltas[path], atol=1e-14, rtol=0)
        torch.testing.assert_close(layer.delta_weight(), deltas[path], atol=1e-14, rtol=0)
        assert not deltas[path][32:64].any(), "the key's third of c_attn is nobody's target"
        assert deltas[path][:32].any()
        assert deltas[path][64:].any()


@every_method
@both_models
def test_the_adapter_file_gives_the_adapted_model_back(name, make, tmp_path):
    model, method = injected(name, make, torch.float32, seed=0)
    perturb(method)
    save_file({k: v.detach().contiguous() for k, v in method.adapter_state().items()}, tmp_path / "adapter.safetensors")
    other, again = injected(name, make, torch.float32, seed=1)
    loaded = load_file(tmp_path / "adapter.safetensors")
    again.load_adapter_state(loaded)
    assert same(dict(again.adapter_state()), loaded)
    assert same({k: v.detach() for k, v in method.adapter_state().items()}, loaded)
    assert torch.equal(logits(other), logits(model))
    assert method.seed_tensors() <= loaded.keys()


@every_method
def test_a_state_goes_through_a_plain_file(name, tmp_path):
    model, method = injected(name, seed=0)
    method.bind(torch.optim.SGD([torch.nn.Parameter(torch.zeros(1)), *method.parameters()], lr=0.1))
    perturb(method)
    method.after_step(1)
    torch.save(method.state(), tmp_path / "state.pt")
    other, again = injected(name, seed=1)
    again.load_state(torch.load(tmp_path / "state.pt", weights_only=True))
    assert torch.equal(logits(other), logits(model))
    assert again.report() == method.report()


@every_method
def test_a_saved_state_does_not_follow_training(name):
    _, method = injected(name)
    state = method.state()["adapter"]
    before = {k: v.clone() for k, v in state.items()}
    perturb(method)
    assert same(state, before)


@every_method
def test_a_file_of_something_else_is_refused(name):
    _, method = injected(name)
    state = {k: v.detach().clone() for k, v in method.adapter_state().items()}
    with pytest.raises(UserError, match="'surplus'"):
        method.load_adapter_state({**state, "surplus": torch.zeros(1)})
    if not state:
        return
    first = next(iter(state))
    with pytest.raises(UserError, match=first):
        method.load_adapter_state({k: v for k, v in state.items() if k != first})
    with pytest.raises(UserError, match=first):
        method.load_adapter_state({**state, first: torch.zeros(1, 2, 3)})
    assert same(state, {k: v.detach() for k, v in method.adapter_state().items()}), "nothing was written"


@every_method
@both_models
@pytest.mark.parametrize("kinds", [("q", "v"), ("q", "up", "down"), ("o",)])
def test_the_closed_form_counts_what_is_trained(name, make, kinds):
    model, method = make(), small(name)
    config = backbone_config("gpt2_medium" if make is gpt2 else "roberta_base")
    shapes = [t.shape for t in backbones.targets(model, config, kinds)]
    expected = method.count(shapes, {n: p.numel() for n, p in backbone_parameters(model).items()})
    inject(method, model, kinds)
    assert sum(p.numel() for p in backbone_parameters(model).values() if p.requires_grad) == expected
    assert sum(p.numel() for p in method.parameters()) == expected


@every_method
def test_the_seed_decides_what_is_drawn(name):
    states = [injected(name, seed=seed)[1].adapter_state() for seed in (3, 3, 4)]
    assert same(states[0], states[1])
    if injected(name)[1].layers:
        assert not same(states[0], states[2])


@every_method
def test_injection_leaves_the_global_generator_alone(name):
    model, method = roberta(), small(name)
    torch.manual_seed(0)
    before = torch.get_rng_state()
    inject(method, model)
    assert torch.equal(torch.get_rng_state(), before)


@every_method
@pytest.mark.parametrize("training", [True, False])
def test_wrapping_keeps_the_models_mode(name, training):
    model, method = roberta().train(training), small(name, dropout=0.5)
    inject(method, model)
    assert {m.training for m in model.roberta.encoder.modules()} == {training}


@pytest.mark.parametrize("name", [n for n in METHODS if "dropout" in options_of(n)])
@both_models
def test_dropout_acts_in_training_and_nowhere_else(name, make):
    plain, plain_method = injected(name, make)
    model, method = injected(name, make, dropout=0.5)
    for each in (plain_method, method):
        perturb(each)
    model.eval()
    assert torch.equal(logits(model), logits(plain))
    model.train()
    torch.manual_seed(0)
    first, second = logits(model), logits(model)
    assert not torch.equal(first, second)
    torch.manual_seed(0)
    assert torch.equal(logits(model), first)
    for path, layer in method.layers.items():  # the frozen map's own input is not dropped
        layer.branches.clear()
        x = torch.ones(2, layer.in_features, dtype=torch.float64)
        assert torch.equal(layer(x), layer.base(x)), path


@every_method
@both_models
def test_half_precision_weights_keep_full_precision_adapters(name, make):
    model, method = injected(name, make, torch.bfloat16)
    if not method.layers:
        return
    plain = make(torch.bfloat16)
    assert {p.dtype for p in method.parameters()} == {torch.float32}
    assert {v.dtype for v in method.adapter_state().values()} == {torch.float32}
    perturb(method)
    with torch.autocast("cpu", torch.bfloat16):
        adapted = logits(model)
        backward(model)
        method.merge()
        merged = logits(model)
    assert all(p.grad.dtype == torch.float32 for p in method.parameters())
    assert {layer.base.weight.dtype for layer in method.layers.values()} == {torch.bfloat16}
    assert (adapted - logits(plain)).abs().max() > 2 * (adapted - merged).abs().max()
    method.unmerge()
    assert same(weights(model), weights(plain))


@every_method
def test_half_precision_weights_need_no_autocast(name):
    model, method = injected(name, roberta, torch.bfloat16)
    perturb(method)
    assert torch.isfinite(logits(model)).all()

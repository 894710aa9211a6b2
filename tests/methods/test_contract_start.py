"""The contract, part 1: what a method puts on a model, how much it trains, and where it starts."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from tests.support.contract_harness import (
    METHODS,
    adapted,
    both_models,
    every_method,
    file_of,
    having,
    having_option,
    logits,
    options_of,
    same,
    small,
    where,
)
from tests.support.tinymodels import backbone_config, gpt2, inject, make_method, roberta
from uora_bench.config.compose import compose
from uora_bench.errors import UserError
from uora_bench.execution.dry_run import describe
from uora_bench.methods.base import backbone_parameters
from uora_bench.models import backbones
from uora_bench.models.heads import HeadSpec
from uora_bench.models.targets import find_targets

HEAD = HeadSpec("AutoModelForSequenceClassification", {"num_labels": 3})
LISTS = [("q", "v"), ("q", "up", "down"), ("o",)]


@every_method
@both_models
def test_inject_trains_the_methods_parameters_and_freezes_the_rest(name, make):
    it = adapted(name, make)
    trained = {id(p) for p in backbone_parameters(it.model).values() if p.requires_grad}
    assert trained == {id(p) for p in it.method.parameters()}
    assert len(trained) == len(it.method.parameters()), "each once"
    present = {id(p) for p in it.model.parameters()}
    assert all(id(p) in present for p in it.own.values()), "the backbone's own tensors stay in the model"


@every_method
@both_models
def test_two_optimizers_hold_every_trained_parameter_between_them_once(name, make):
    method = adapted(name, make).method
    groups = method.param_groups(1e-3, 0.01)
    auxiliary = method.auxiliary()
    groups += auxiliary.param_groups if auxiliary is not None else []
    held = [id(p) for group in groups for p in group["params"]]
    assert sorted(held) == sorted(id(p) for p in method.parameters())
    assert all("lr" in group for group in groups)
    assert auxiliary is None or (auxiliary.param_groups and auxiliary.every > 0 and auxiliary.batch_size > 0)


@every_method
@both_models
def test_the_start_is_the_model_as_it_was_or_said_to_be_elsewhere(name, make):
    it = adapted(name, make)
    assert torch.equal(it.logits(), logits(make())) != bool(it.method.starts_elsewhere)


@where(lambda it: not it.method.starts_elsewhere)
def test_the_start_leaves_the_model_as_it_was(name, make):
    bare = make()
    it = adapted(name, make)
    assert torch.equal(it.logits(), logits(bare))
    assert same(it.weights(), dict(bare.named_parameters()))
    for layer in it.method.layers.values():
        assert not layer.delta_weight().any()


@every_method
@both_models
@pytest.mark.parametrize("kinds", LISTS)
def test_the_closed_form_counts_what_is_trained(name, make, kinds):
    it = adapted(name, make, kinds=kinds)
    sizes = {n: p.numel() for n, p in backbone_parameters(make()).items()}
    counted = small(name).count([t.shape for t in it.targets], sizes)  # of an instance that never saw a model
    trained = sum(p.numel() for p in backbone_parameters(it.model).values() if p.requires_grad)
    assert trained == sum(p.numel() for p in it.method.parameters())
    assert counted is None or counted == trained


@every_method
@both_models
def test_a_model_without_storage_is_enough_to_count(name, make):
    with torch.device("meta"):
        bare = make()
    method, reference = small(name), adapted(name, make)
    kinds = tuple(dict.fromkeys(t.shape.kind for t in reference.targets)) or None
    inject(method, bare, kinds)
    assert sum(p.numel() for p in method.parameters()) == sum(p.numel() for p in reference.method.parameters())
    assert {p.device.type for p in method.parameters()} <= {"meta"}


@every_method
def test_a_dry_run_describes_the_cell(name):
    words = [f"method={name}", "task=tiny/nli", "recipe=none", *(f"method.{k}=4" for k in having(name, rank=4))]
    composed = compose(words)
    text = describe(composed)
    model = backbones.skeleton(backbone_config("tiny_roberta"), HEAD)
    method = small(name)
    targets = find_targets(model, backbone_config("tiny_roberta"), method.config.adapts)
    method.inject(model, targets, torch.Generator().manual_seed(0))
    assert f"adapter {sum(p.numel() for p in method.parameters()):,} · head" in text
    assert all(f"method.{option}" in text for option in options_of(name))


# --- seeds and modes --------------------------------------------------------------------------------------------------


@every_method
@both_models
def test_a_seed_draws_the_same_again(name, make):
    first, again = (adapted(name, make, seed=3) for _ in range(2))
    assert same(file_of(first.method), file_of(again.method))


@where(lambda it: it.new_parameters())  # else what it trains is the backbone's
def test_the_seed_decides_what_is_drawn(name, make):
    first, other = (adapted(name, make, seed=seed) for seed in (3, 4))
    alike = same(file_of(first.method), file_of(other.method))
    if first.method.starts_alike:
        assert alike, "it says that every seed starts alike and draws something"
    else:
        assert not alike


@every_method
def test_injection_leaves_the_global_generators_alone(name):
    model, method = roberta(), small(name)
    torch.manual_seed(0)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    inject(method, model)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # noqa: NPY002
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]


@every_method
@both_models
@pytest.mark.parametrize("training", [True, False])
def test_wrapping_keeps_the_models_mode(name, make, training):
    it = adapted(name, make, prepare=lambda model: model.train(training), dropout=0.5)
    assert {m.training for m in it.model.base_model.modules()} == {training}


# --- options ----------------------------------------------------------------------------------------------------------

IMPOSSIBLE = [("rank", 0), ("rank", -1), ("dropout", 1.0), ("dropout", -0.1), ("target_modules", [])]


@pytest.mark.parametrize(
    ("name", "option", "value"), [(n, o, v) for n in METHODS for o, v in IMPOSSIBLE if o in options_of(n)]
)
def test_an_option_that_cannot_be_is_refused_by_name(name, option, value):
    with pytest.raises(UserError, match=rf"method\.{option}"):
        small(name, **{option: value})


@every_method
def test_an_unknown_option_is_refused(name):
    with pytest.raises(UserError, match="surplus"):
        make_method(name, surplus=1)


@having_option("target_modules")
def test_targets_that_overlap_are_refused(name):
    with pytest.raises(UserError):
        inject(small(name), gpt2(), ("qkv", "q"))

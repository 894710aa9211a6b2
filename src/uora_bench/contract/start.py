"""The contract, part 1: what a method puts on a model, how much it trains, and where it starts."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from uora_bench.config.compose import compose
from uora_bench.contract.check import Checks, ensure, refused
from uora_bench.contract.harness import (
    BOTH,
    adapted,
    file_of,
    has_option,
    having,
    logits,
    options_of,
    same,
    small,
    where,
)
from uora_bench.contract.models import backbone_config, gpt2, inject, make_method, roberta
from uora_bench.execution.dry_run import describe
from uora_bench.methods.base import backbone_parameters
from uora_bench.models import backbones
from uora_bench.models.heads import HeadSpec
from uora_bench.models.targets import find_targets

HEAD = HeadSpec("AutoModelForSequenceClassification", {"num_labels": 3})
LISTS = [("q", "v"), ("q", "up", "down"), ("o",)]
Make = Callable[..., Any]
check = Checks()


@check(make=BOTH)
def inject_trains_the_methods_parameters_and_freezes_the_rest(name: str, make: Make) -> None:
    it = adapted(name, make)
    trained = {id(p) for p in backbone_parameters(it.model).values() if p.requires_grad}
    own = [id(p) for p in it.method.parameters()]
    ensure(
        trained == set(own),
        f"{len(trained)} tensors of the model require a gradient, and parameters() has {len(set(own))} of them",
    )
    ensure(len(trained) == len(own), "parameters() has a tensor twice")
    present = {id(p) for p in it.model.parameters()}
    gone = [n for n, p in it.own.items() if id(p) not in present]
    ensure(not gone, f"the backbone's own tensors stay in the model, and {gone[:3]} do not")


@check(make=BOTH)
def two_optimizers_hold_every_trained_parameter_between_them_once(name: str, make: Make) -> None:
    method = adapted(name, make).method
    groups = method.param_groups(1e-3, 0.01)
    auxiliary = method.auxiliary()
    groups += auxiliary.param_groups if auxiliary is not None else []
    held = [id(p) for group in groups for p in group["params"]]
    ensure(
        sorted(held) == sorted(id(p) for p in method.parameters()),
        "param_groups() and auxiliary() do not hold each of parameters() once",
    )
    ensure(all("lr" in group for group in groups), "a group of parameters has no lr")
    ensure(
        auxiliary is None or (auxiliary.param_groups and auxiliary.every > 0 and auxiliary.batch_size > 0),
        "the auxiliary step has no parameters, or never comes",
    )


@check(make=BOTH)
def the_start_is_the_model_as_it_was_or_said_to_be_elsewhere(name: str, make: Make) -> None:
    it = adapted(name, make)
    alike = torch.equal(it.logits(), logits(make()))
    ensure(
        alike != bool(it.method.starts_elsewhere),
        "starts_elsewhere says why the start is another model, and it is the same"
        if alike
        else "a fresh adapter changes the logits, and starts_elsewhere does not say why",
    )


@check(make=BOTH, when=where(lambda it: not it.method.starts_elsewhere))
def the_start_leaves_the_model_as_it_was(name: str, make: Make) -> None:
    bare = make()
    it = adapted(name, make)
    ensure(torch.equal(it.logits(), logits(bare)), "a fresh adapter changes the logits")
    ensure(same(it.weights(), dict(bare.named_parameters())), "injection changes the backbone's tensors")
    for path, layer in it.method.layers.items():
        ensure(not layer.delta_weight().any(), f"ΔW of {path} is not zero at the start")


@check(make=BOTH, kinds=LISTS)
def the_closed_form_counts_what_is_trained(name: str, make: Make, kinds: tuple[str, ...]) -> None:
    it = adapted(name, make, kinds=kinds)
    sizes = {n: p.numel() for n, p in backbone_parameters(make()).items()}
    counted = small(name).count([t.shape for t in it.targets], sizes)  # of an instance that never saw a model
    trained = sum(p.numel() for p in backbone_parameters(it.model).values() if p.requires_grad)
    listed = sum(p.numel() for p in it.method.parameters())
    ensure(trained == listed, f"the model trains {trained:,} numbers, and parameters() has {listed:,}")
    ensure(counted is None or counted == trained, f"count says {counted}, and the model trains {trained}")


@check(make=BOTH)
def a_model_without_storage_is_enough_to_count(name: str, make: Make) -> None:
    with torch.device("meta"):
        bare = make()
    method, reference = small(name), adapted(name, make)
    kinds = tuple(dict.fromkeys(t.shape.kind for t in reference.targets)) or None
    inject(method, bare, kinds)
    numbers = [sum(p.numel() for p in each.parameters()) for each in (method, reference.method)]
    ensure(numbers[0] == numbers[1], f"{numbers[0]:,} numbers on the meta device, and {numbers[1]:,} on a real one")
    devices = {p.device.type for p in method.parameters()}
    ensure(devices <= {"meta"}, f"tensors on {', '.join(devices)} for a model on the meta device")


@check()
def a_dry_run_describes_the_cell(name: str) -> None:
    words = [f"method={name}", "task=tiny/nli", "recipe=none", *(f"method.{k}=4" for k in having(name, rank=4))]
    text = describe(compose(words))
    model = backbones.skeleton(backbone_config("tiny_roberta"), HEAD)
    method = small(name)
    targets = find_targets(model, backbone_config("tiny_roberta"), method.config.adapts)
    method.inject(model, targets, torch.Generator().manual_seed(0))
    count = f"adapter {sum(p.numel() for p in method.parameters()):,} · head"
    ensure(count in text, f"the dry run does not say '{count}'")
    missing = [option for option in options_of(name) if f"method.{option}" not in text]
    ensure(not missing, f"the dry run does not show the options {missing}")


# --- seeds and modes --------------------------------------------------------------------------------------------------


@check(make=BOTH)
def a_seed_draws_the_same_again(name: str, make: Make) -> None:
    first, again = (adapted(name, make, seed=3) for _ in range(2))
    ensure(same(file_of(first.method), file_of(again.method)), "the same seed starts elsewhere the second time")


@check(make=BOTH, when=where(lambda it: it.new_parameters()))  # else what it trains is the backbone's
def the_seed_decides_what_is_drawn(name: str, make: Make) -> None:
    first, other = (adapted(name, make, seed=seed) for seed in (3, 4))
    alike = same(file_of(first.method), file_of(other.method))
    if first.method.starts_alike:
        ensure(alike, "starts_alike says that every seed starts alike, and something is drawn")
    else:
        ensure(not alike, "two seeds start alike; draw from the generator, or say why not in starts_alike")


@check()
def injection_leaves_the_global_generators_alone(name: str) -> None:
    model, method = roberta(), small(name)
    torch.manual_seed(0)
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]  # noqa: NPY002
    inject(method, model)
    after = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index, union-attr]  # noqa: NPY002
    ensure(torch.equal(before[0], after[0]), "inject draws from torch's global generator; take the one it is given")
    ensure(before[1:] == after[1:], "inject draws from the global generator of random or numpy")


@check(make=BOTH, training=(True, False))
def wrapping_keeps_the_models_mode(name: str, make: Make, training: bool) -> None:
    it = adapted(name, make, prepare=lambda model: model.train(training), dropout=0.5)
    modes = {m.training for m in it.model.base_model.modules()}
    ensure(modes == {training}, f"a model with training={training} has modules of the other mode")


# --- options ----------------------------------------------------------------------------------------------------------

IMPOSSIBLE: tuple[tuple[str, Any], ...] = (
    ("rank", 0),
    ("rank", -1),
    ("dropout", 1.0),
    ("dropout", -0.1),
    ("target_modules", []),
)


@check(wrong=IMPOSSIBLE, when=lambda name, wrong: wrong[0] in options_of(name))
def an_option_that_cannot_be_is_refused_by_name(name: str, wrong: tuple[str, Any]) -> None:
    option, value = wrong
    with refused(f"method.{option}={value}", naming=f"method.{option}"):
        small(name, **{option: value})


@check()
def an_unknown_option_is_refused(name: str) -> None:
    with refused("method.surplus=1, an option that does not exist,", naming="surplus"):
        make_method(name, surplus=1)


@check(when=has_option("target_modules"))
def targets_that_overlap_are_refused(name: str) -> None:
    with refused("method.target_modules=[qkv,q], of which one holds the other,"):
        inject(small(name), gpt2(), ("qkv", "q"))

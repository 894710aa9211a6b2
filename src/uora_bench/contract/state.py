"""The contract, part 3: what is written down gives the adapted model back, bit for bit."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from uora_bench.contract.check import Checks, ensure, refused
from uora_bench.contract.harness import (
    BOTH,
    adapted,
    file_of,
    identical,
    perturb,
    plain_run,
    same,
    set_up,
    trains_something,
    where,
)

check = Checks()


@check(make=BOTH, dtype=(torch.float32, torch.bfloat16))
def the_adapter_file_gives_the_adapted_model_back(
    name: str, make: Callable[..., Any], dtype: torch.dtype, folder: Path
) -> None:
    it = adapted(name, make, dtype)
    start = it.logits()
    perturb(it.method, 0.5 if it.new_parameters() else 0.01)
    if it.method.parameters():
        ensure(not torch.equal(it.logits(), start), "other trained tensors give the same logits")
    save_file(file_of(it.method), folder / "adapter.safetensors")
    other = adapted(name, make, dtype, seed=1)
    loaded = load_file(folder / "adapter.safetensors")
    other.method.load_adapter_state(loaded)
    ensure(same(file_of(other.method), loaded), "load_adapter_state puts back other tensors than the file has")
    ensure(same(file_of(it.method), loaded), "the file has other tensors than adapter_state")
    ensure(
        torch.equal(other.logits(), it.logits()),
        "the adapter file gives other logits in a model of another seed: adapter_state lacks something",
    )
    surplus = it.method.seed_tensors() - loaded.keys()
    ensure(not surplus, f"seed_tensors names {sorted(surplus)[:3]}, which adapter_state does not have")


@check()
def a_file_of_something_else_is_refused(name: str) -> None:
    method = adapted(name).method
    state = file_of(method)
    with refused("an adapter file with a tensor too many", naming="'surplus'"):
        method.load_adapter_state({**state, "surplus": torch.zeros(1)})
    ensure(same(state, file_of(method)), "a refused adapter file was partly loaded")


@check(when=where(trains_something))
def a_file_that_lacks_a_tensor_or_has_another_is_refused(name: str) -> None:
    method = adapted(name).method
    state = file_of(method)
    first = next(iter(state))
    with refused(f"an adapter file without '{first}'", naming=first):
        method.load_adapter_state({k: v for k, v in state.items() if k != first})
    changed = {k: v + 1 for k, v in state.items()}
    with refused(f"an adapter file with '{first}' of another shape", naming=first):
        method.load_adapter_state({**changed, first: torch.zeros(1, 2, 3)})
    ensure(same(state, file_of(method)), "a refused adapter file was partly loaded")


@check()
def a_saved_state_does_not_follow_training(name: str) -> None:
    method = adapted(name).method
    state = method.state()["adapter"]
    before = {k: v.clone() for k, v in state.items()}
    perturb(method)
    ensure(same(state, before), "what state() returned changes with training; return copies")


@check()
def the_state_of_a_trained_method_goes_through_a_plain_file(name: str, folder: Path) -> None:
    trained = plain_run(name)
    torch.save({"method": trained.method.state(), "head": dict(trained.head)}, folder / "state.pt")
    state = torch.load(folder / "state.pt", weights_only=True)
    again = set_up(name, seed=1)
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        again.method.load_state(state["method"])
        for key, tensor in again.head.items():
            tensor.copy_(state["head"][key])
        found = again.model.eval()(ids).logits, trained.model.eval()(ids).logits
    ensure(torch.equal(*found), "load_state(state()) gives other logits: state lacks something")
    ensure(identical(again.method.state(), trained.method.state()), "load_state(state()) gives another state")
    ensure(again.method.report() == trained.method.report(), "load_state(state()) gives another report")


@check()
def the_record_can_hold_what_a_method_says(name: str) -> None:
    method = plain_run(name).method
    for what, said in (("report", method.report()), ("snapshot", method.snapshot())):
        ensure(json.loads(json.dumps(said, allow_nan=False)) == said, f"{what}() has values that JSON does not keep")


@check()
def a_seed_gives_back_what_it_is_said_to_give_back(name: str) -> None:
    """What is not shipped (``bytes.adapter_size``) must be there without the file, after training too."""
    trained = plain_run(name)
    after, fresh = file_of(trained.method), file_of(set_up(name).method)
    known = trained.method.seed_tensors()
    other = [key for key in known if not torch.equal(after[key], fresh[key])]
    ensure(not other, f"seed_tensors names what the seed does not give back: {sorted(other)[:3]}")
    optimized = {id(p) for p in trained.method.parameters()}
    moved = [k for k, t in trained.method.adapter_state().items() if k in known and id(t) in optimized]
    ensure(not moved, f"seed_tensors names what is trained: {moved[:3]}")

"""The contract, part 3: what is written down gives the adapted model back, bit for bit."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.support.contract_harness import (
    adapted,
    both_models,
    every_method,
    file_of,
    identical,
    perturb,
    plain_run,
    same,
    set_up,
    trains_something,
    where,
)
from tests.support.tinymodels import roberta
from uora_bench.errors import UserError


@every_method
@both_models
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_adapter_file_gives_the_adapted_model_back(name, make, dtype, tmp_path):
    it = adapted(name, make, dtype)
    start = it.logits()
    perturb(it.method, 0.5 if it.new_parameters() else 0.01)
    if it.method.parameters():
        assert not torch.equal(it.logits(), start)
    save_file(file_of(it.method), tmp_path / "adapter.safetensors")
    other = adapted(name, make, dtype, seed=1)
    loaded = load_file(tmp_path / "adapter.safetensors")
    other.method.load_adapter_state(loaded)
    assert same(file_of(other.method), loaded)
    assert same(file_of(it.method), loaded)
    assert torch.equal(other.logits(), it.logits())
    assert it.method.seed_tensors() <= loaded.keys()


@every_method
def test_a_file_of_something_else_is_refused(name):
    method = adapted(name).method
    state = file_of(method)
    with pytest.raises(UserError, match="'surplus'"):
        method.load_adapter_state({**state, "surplus": torch.zeros(1)})
    assert same(state, file_of(method)), "nothing was written"


@where(trains_something, roberta)
def test_a_file_that_lacks_a_tensor_or_has_another_is_refused(name, make):
    method = adapted(name, make).method
    state = file_of(method)
    first = next(iter(state))
    with pytest.raises(UserError, match=first):
        method.load_adapter_state({k: v for k, v in state.items() if k != first})
    changed = {k: v + 1 for k, v in state.items()}
    with pytest.raises(UserError, match=first):
        method.load_adapter_state({**changed, first: torch.zeros(1, 2, 3)})
    assert same(state, file_of(method)), "nothing was written"


@every_method
def test_a_saved_state_does_not_follow_training(name):
    method = adapted(name).method
    state = method.state()["adapter"]
    before = {k: v.clone() for k, v in state.items()}
    perturb(method)
    assert same(state, before)


@every_method
def test_the_state_of_a_trained_method_goes_through_a_plain_file(name, tmp_path):
    trained = plain_run(name)
    torch.save({"method": trained.method.state(), "head": dict(trained.head)}, tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    again = set_up(name, seed=1)
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        again.method.load_state(state["method"])
        for key, tensor in again.head.items():
            tensor.copy_(state["head"][key])
        assert torch.equal(again.model.eval()(ids).logits, trained.model.eval()(ids).logits)
    assert identical(again.method.state(), trained.method.state())
    assert again.method.report() == trained.method.report()


@every_method
def test_the_record_can_hold_what_a_method_says(name):
    method = plain_run(name).method
    for said in (method.report(), method.snapshot()):
        assert json.loads(json.dumps(said, allow_nan=False)) == said


@every_method
def test_a_seed_gives_back_what_it_is_said_to_give_back(name):
    """What is not shipped (``bytes.adapter_size``) must be there without the file, after training too."""
    trained = plain_run(name)
    after, fresh = file_of(trained.method), file_of(set_up(name).method)
    known = trained.method.seed_tensors()
    assert [key for key in known if not torch.equal(after[key], fresh[key])] == []
    optimized = {id(p) for p in trained.method.parameters()}
    assert [k for k, t in trained.method.adapter_state().items() if k in known and id(t) in optimized] == []

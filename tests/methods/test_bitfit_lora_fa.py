"""BitFit and LoRA-FA: what the contract cannot know of them."""

from __future__ import annotations

import pytest
import torch

from tests.support.architectures import shapes, skeleton
from uora_bench.config.cell import Cell
from uora_bench.config.compose import compose
from uora_bench.contract.models import gpt2, inject, labelled, make_method, roberta
from uora_bench.errors import UserError
from uora_bench.methods.base import backbone_parameters


def test_bitfit_trains_every_bias_and_nothing_else():
    model, method = roberta(), make_method("bitfit")
    inject(method, model)
    names = [n for n, p in backbone_parameters(model).items() if p.requires_grad]
    assert names == [n for n in backbone_parameters(model) if n.endswith(".bias")]
    assert any("LayerNorm" in n for n in names)
    assert set(method.adapter_state()) == set(names)


def test_bitfit_counts_the_biases_of_roberta_base():
    # per block q, k, v, o, down and two norms of 768 and one of 3,072; one norm after the embeddings
    sizes = {n: p.numel() for n, p in backbone_parameters(skeleton("roberta_base")).items()}
    assert make_method("bitfit").count([], sizes) == 12 * (7 * 768 + 3072) + 768 == 102_144
    partial = make_method("bitfit", only=("q", "up"))
    assert partial.count(shapes("roberta_base", ("q", "up")), sizes) == 12 * (768 + 3072)


def test_bitfit_on_named_kinds_leaves_the_other_biases_alone():
    model, method = roberta(), make_method("bitfit", only=("q", "up"))
    inject(method, model)
    assert {n.split("layer.")[1].split(".", 1)[1] for n in method.adapter_state()} == {
        "attention.self.query.bias",
        "intermediate.dense.bias",
    }


def test_bitfit_refuses_a_part_of_a_bias_and_a_backbone_without_any():
    with pytest.raises(UserError, match="qkv"):
        inject(make_method("bitfit", only=("q",)), gpt2())
    model = roberta()
    for module in model.modules():
        if getattr(module, "bias", None) is not None:
            module.bias = None
    with pytest.raises(UserError, match="this backbone has none"):
        inject(make_method("bitfit"), model)


def test_the_kinds_of_bitfit_are_in_the_id_by_what_they_are():
    def cell_id(*words):
        values = compose(["method=bitfit", "task=glue/rte", "recipe=none", *words]).values
        return Cell.from_config(values).cell_id("x")

    assert cell_id("method.only=[q,v]") == cell_id("method.only=[v,q]") != cell_id()
    elsewhere = "backbone.target_modules.modules.q.path=attention.self.value"
    assert cell_id("method.only=[q]") != cell_id("method.only=[q]", elsewhere)


def test_lora_fa_is_lora_with_a_frozen_a():
    ours, model = make_method("lora_fa"), roberta()
    lora, theirs = make_method("lora"), roberta()
    inject(ours, model, seed=3), inject(lora, theirs, seed=3)
    for name, branch in ours.branches.items():
        assert torch.equal(branch.A, lora.branches[name].A)
        assert not branch.A.requires_grad
    assert [p.shape for p in ours.parameters()] == [b.B.shape for b in ours.branches.values()]
    model(**labelled(model)).loss.backward()
    theirs(**labelled(theirs)).loss.backward()
    for name, branch in ours.branches.items():
        torch.testing.assert_close(branch.B.grad, lora.branches[name].B.grad, atol=0, rtol=0)
        assert branch.A.grad is None
    assert ours.seed_tensors() == {f"{name}.A" for name in ours.branches}


def test_lora_fa_keeps_the_input_of_a_out_of_the_backward_pass():
    def saved(name):
        method, model = make_method(name), roberta()
        inject(method, model)
        x = torch.randn(2, 5, 32, dtype=torch.float64)
        kept = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: (kept.append(t.shape), t)[1], lambda t: t):
            next(iter(method.branches.values())).delta(x)
        return sum(s.numel() for s in kept if s.numel() == x.numel())

    assert saved("lora") > 0
    assert saved("lora_fa") == 0


@pytest.mark.parametrize("method", ["lora", "tied_lora", "alpha_lora", "lora_fa", "vera"])
def test_the_order_in_which_targets_are_named_changes_nothing(method):
    states = []
    for kinds in (("q", "v"), ("v", "q")):
        each = make_method(method, target_modules=kinds)
        inject(each, roberta(), kinds)
        states.append(each.adapter_state())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][k], states[1][k]) for k in states[0])

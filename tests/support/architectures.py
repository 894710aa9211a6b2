"""The real architectures on the meta device: their layers, and what a method trains on them."""

from __future__ import annotations

from functools import cache

import torch

from uora_bench.contract.models import backbone_config
from uora_bench.models import backbones
from uora_bench.models.heads import HeadSpec
from uora_bench.models.targets import find_targets

HEADS = {
    "encoder": HeadSpec("AutoModelForSequenceClassification", {"num_labels": 2}),
    "causal_lm": HeadSpec("AutoModelForCausalLM", {}),
    "vision": HeadSpec("AutoModelForImageClassification", {"num_labels": 10}),
}


@cache
def skeleton(name):
    """The model of a real architecture on the meta device, made once: `trained_after_injection` leaves it as it was."""
    config = backbone_config(name)
    return backbones.skeleton(config, HEADS[config.kind])


def shapes(name, kinds):
    return [t.shape for t in find_targets(skeleton(name), backbone_config(name), kinds)]


def trained_after_injection(method, name, kinds):
    """Parameters of the model that want a gradient once ``method`` is on it; the model is put back afterwards."""
    model = skeleton(name)
    method.inject(model, find_targets(model, backbone_config(name), kinds), torch.Generator().manual_seed(0))
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert sum(p.numel() for p in method.parameters()) == trained
    for path, layer in method.layers.items():
        parent, _, leaf = path.rpartition(".")
        setattr(model.get_submodule(parent), leaf, layer.base)
    if hasattr(model, "projection_pairs"):
        del model.projection_pairs
    return trained

"""UORA against a trace of its authors' implementation: 40 steps, 245 refreshes, in the forward pass."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from uora_bench.contract.models import inject, make_method


@pytest.fixture(scope="module")
def trace(shared):
    folder = shared / "oracles" / "uora"
    return json.loads((folder / "tau005_k1.json").read_text()), load_file(folder / "tau005_k1.safetensors")


def test_authors_placement_meets_the_trace(trace):
    facts, data = trace
    config = {k: v for k, v in facts["config"].items() if v is not None}
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(**config)).double()
    model.load_state_dict({k[5:]: v for k, v in data.items() if k.startswith("base.")})
    model.head_modules = ()
    method = make_method(
        "uora", rank=facts["r"], tau=facts["tau"], k=facts["k"], alpha=facts["alpha"], d_initial=facts["d_initial"],
        timing="authors",
    )  # fmt: skip
    inject(method, model)
    (pair,), (refresher,) = method.pairs.values(), method.refreshers.values()
    pair.A, pair.B = data["A0"].clone(), data["B0"].clone()
    refresher.use_fresh(data["fresh_A"], data["fresh_B"])
    optimizer = torch.optim.Adam(method.parameters(), lr=facts["lr"])
    method.bind(optimizer)
    model.train()
    for step in range(facts["steps"]):
        method.before_forward(step + 1, last=True)
        loss = model(input_ids=data["X"][step], labels=data["Y"][step]).loss
        assert loss.item() == pytest.approx(data["losses"][step].item(), abs=1e-9)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        method.after_step(step + 1)
        hits = facts["counters"][step]
        for row, name in enumerate(method.members["shared"]):
            expected = hits["base_model.model." + name.rsplit(".", 1)[0]]
            assert refresher.counters[row].tolist() == expected
    torch.testing.assert_close(pair.A, data["A1"], atol=1e-9, rtol=0)
    torch.testing.assert_close(pair.B, data["B1"], atol=1e-9, rtol=0)
    for name, branch in method.branches.items():
        path = "base_model.model." + name.rsplit(".", 1)[0]
        torch.testing.assert_close(branch.d.detach(), data[f"d.{path}"], atol=1e-9, rtol=0)
        torch.testing.assert_close(branch.b.detach(), data[f"b.{path}"], atol=1e-9, rtol=0)
    assert method.report()["refreshes"] == 245

"""UORA against traces of its authors' implementation, refreshed in the forward pass; every matrix is drawn here."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForSequenceClassification

from tests.support.paths import ORACLES
from uora_bench.contract.models import inject, labelled, make_method, roberta

KEY = 3  # from which the authors' code drew the pair in both traces


@pytest.fixture(scope="module")
def trace():
    folder = ORACLES / "uora"
    return json.loads((folder / "tau005_k1.json").read_text()), load_file(folder / "tau005_k1.safetensors")


def test_authors_placement_meets_the_trace(trace):
    facts, data = trace
    config = {k: v for k, v in facts["config"].items() if v is not None}
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(**config)).double()
    model.load_state_dict({k[5:]: v for k, v in data.items() if k.startswith("base.")})
    model.head_modules = ()
    method = make_method(
        "uora", rank=facts["r"], tau=facts["tau"], k=facts["k"], alpha=facts["alpha"], d_initial=facts["d_initial"],
        timing="authors", projection_seed=KEY,
    )  # fmt: skip
    inject(method, model)
    (pair,), (refresher,) = method.pairs.values(), method.refreshers.values()
    for drawn, theirs in zip((pair.A, pair.B, *refresher.fresh()), ("A0", "B0", "fresh_A", "fresh_B"), strict=True):
        torch.testing.assert_close(drawn, data[theirs], atol=1e-13, rtol=0)
    optimizer = torch.optim.Adam(method.parameters(), lr=facts["lr"])
    method.bind(optimizer)
    model.train()
    for step in range(facts["steps"]):
        method.before_forward(step + 1, first=True)
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


def test_with_accumulated_gradients_the_first_forward_pass_of_a_step_refreshes():
    """The authors' layer on `roberta`, two batches to a step and k = 2: 14 steps, 51 refreshes."""
    facts = json.loads((ORACLES / "uora" / "accumulated.json").read_text())
    model = roberta().train()
    options = {name: facts[name] for name in ("rank", "tau", "k", "alpha", "projection_seed")}
    method = make_method("uora", timing="authors", **options)
    inject(method, model)
    optimizer = torch.optim.Adam(method.parameters(), lr=facts["lr"])
    losses = []
    for step in range(facts["steps"]):
        optimizer.zero_grad()
        for part in range(facts["accumulation"]):
            method.before_forward(step + 1, first=part == 0)
            loss = model(**labelled(model, seed=step * facts["accumulation"] + part)).loss
            loss.backward()
            losses.append(loss.item())
        optimizer.step()
    assert losses == pytest.approx(facts["losses"], abs=1e-9)
    (pair,), (refresher,) = method.pairs.values(), method.refreshers.values()
    assert refresher.counters.tolist() == facts["counters"]
    assert method.report()["refreshes"] == facts["events"] == 51
    own = {"A": pair.A, "B": pair.B}
    own |= {n: torch.stack([getattr(b, n).detach() for b in method.branches.values()]) for n in "db"}
    for name, tensor in own.items():
        torch.testing.assert_close(tensor, torch.tensor(facts[name], dtype=torch.float64), atol=1e-9, rtol=0)

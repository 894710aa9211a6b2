"""UORA's refresh in training: against a slow loop over layers and indices, against VeRA, and across a restart."""

from __future__ import annotations

import io

import pytest
import torch

from uora_bench.config.compose import compose
from uora_bench.config.preflight import preflight
from uora_bench.contract.models import inject, labelled, make_method, roberta
from uora_bench.errors import UserError

RANK, WIDTH = 5, 32
TAU, LR = 0.09, 0.03  # d starts at 0.1: most components pass through the window within a few steps


def uora(**options):
    model = roberta().train()
    method = make_method("uora", **{"rank": RANK, "tau": TAU, **options})
    inject(method, model)
    return model, method


def train(model, method, steps, optimizer=None, accumulation=1, first=0):
    """``steps`` optimizer steps from step number ``first``; returns the optimizer and the losses."""
    optimizer = optimizer or torch.optim.Adam(method.parameters(), lr=LR)
    method.bind(optimizer)
    losses = []
    for step in range(first, first + steps):
        optimizer.zero_grad()
        for part in range(accumulation):
            method.before_forward(step + 1, first=part == 0)
            loss = model(**labelled(model, seed=step * accumulation + part)).loss
            loss.backward()
            losses.append(loss.item())
        optimizer.step()
        method.after_step(step + 1)
    return optimizer, losses


def vectors(method):
    return [p.detach().clone() for p in method.parameters()]


# --- the slow loop ----------------------------------------------------------------------------------------------------


class SlowLayer(torch.nn.Module):
    """y = W0 x + b ⊙ (B (d ⊙ (A x))) and, index by index, what the authors' pseudo-code does to A and B."""

    def __init__(self, base, shared, options):
        super().__init__()
        self.base, self.shared, self.options = base, shared, options
        self.d = torch.nn.Parameter(torch.full((RANK,), 0.1, dtype=torch.float64))
        self.b = torch.nn.Parameter(torch.zeros(WIDTH, dtype=torch.float64))
        self.counter, self.forwards, self.events = [0] * RANK, 0, 0

    def forward(self, x):
        y = self.base(x) + ((x @ self.shared["A"].T) * self.d) @ self.shared["B"].T * self.b
        if self.training and self.options["timing"] == "authors":
            if self.forwards % self.options["accumulation"] == 0:
                self.refresh()
            self.forwards += 1
        return y

    @torch.no_grad()
    def refresh(self):
        o = self.options
        for i in range(RANK):
            if not abs(self.d[i].item()) < TAU:
                continue
            self.counter[i] += 1
            if self.counter[i] % o["k"] != 0:
                continue
            alpha = o["alpha"]
            if o["alpha_decay"]:
                alpha = max(o["alpha_floor"], alpha - o["alpha_decay"] * self.counter[i])
            A, B = self.shared["A"].clone(), self.shared["B"].clone()
            A[i, :] = alpha * A[i, :] + (1 - alpha) * self.shared["RA"][i, :]
            B[:, i] = alpha * B[:, i] + (1 - alpha) * self.shared["RB"][:, i]
            self.shared["A"], self.shared["B"] = A, B
            self.events += 1
            if o["counter_reset"]:
                self.counter[i] = 0


def orthogonal_pair(seed):
    """Thin SVD of standard normal matrices, A first, from one generator."""
    generator = torch.Generator().manual_seed(seed)
    normal_A = torch.empty(RANK, WIDTH, dtype=torch.float64).normal_(generator=generator)
    normal_B = torch.empty(WIDTH, RANK, dtype=torch.float64).normal_(generator=generator)
    return torch.linalg.svd(normal_A, full_matrices=False).Vh, torch.linalg.svd(normal_B, full_matrices=False).U


def fresh_of_the_authors(seed):
    """PyTorch's orthogonal matrices, each from a generator of its own."""
    pair = torch.empty(RANK, WIDTH, dtype=torch.float64), torch.empty(WIDTH, RANK, dtype=torch.float64)
    return [torch.nn.init.orthogonal_(m, generator=torch.Generator().manual_seed(seed)) for m in pair]


def slow(A, B, steps, **options):
    """The same training on slow layers; returns the shared matrices and the layers in order."""
    model = roberta().train()
    model.requires_grad_(False)
    make = fresh_of_the_authors if options["timing"] == "authors" else orthogonal_pair
    RA, RB = make(10 * options["k"])
    shared, layers = {"A": A.clone(), "B": B.clone(), "RA": RA, "RB": RB}, []
    for block in model.roberta.encoder.layer:
        for name in ("query", "value"):
            layers.append(SlowLayer(getattr(block.attention.self, name), shared, options))
            setattr(block.attention.self, name, layers[-1])
    optimizer = torch.optim.Adam([p for layer in layers for p in (layer.d, layer.b)], lr=LR)
    for step in range(steps):
        optimizer.zero_grad()
        for part in range(options["accumulation"]):
            model(**labelled(model, seed=step * options["accumulation"] + part)).loss.backward()
        optimizer.step()
        if options["timing"] == "optimizer_step":
            for layer in layers:
                layer.refresh()
    return shared, layers


VARIANTS = [
    {"k": 1}, {"k": 2}, {"k": 3}, {"k": 2, "counter_reset": True}, {"k": 1, "alpha": 0.0}, {"k": 2, "accumulation": 2},
    {"k": 1, "alpha": 0.9, "alpha_decay": 0.05}, {"k": 2, "alpha": 0.8, "alpha_decay": 0.05, "counter_reset": True},
]  # fmt: skip


@pytest.mark.parametrize("timing", ["optimizer_step", "authors"])
@pytest.mark.parametrize("variant", VARIANTS, ids=lambda v: "-".join(f"{k}={x}" for k, x in v.items()))
def test_refresh_equals_the_slow_loop_across_a_restart(timing, variant):
    options = {"alpha": 0.5, "alpha_decay": 0.0, "alpha_floor": 0.5, "counter_reset": False, **variant}
    options["timing"] = timing
    accumulation = options.pop("accumulation", 1)
    pair = uora(**options)[1].pairs["shared"]
    shared, layers = slow(pair.A, pair.B, 14, accumulation=accumulation, **options)
    method, _ = restarted(7, 7, accumulation, **options)
    (pair,), (refresher,) = method.pairs.values(), method.refreshers.values()
    for own, expected in ((pair.A, shared["A"]), (pair.B, shared["B"])):
        torch.testing.assert_close(own, expected, atol=1e-12, rtol=0)
    for row, (branch, layer) in enumerate(zip(method.branches.values(), layers, strict=True)):
        torch.testing.assert_close(branch.d.data, layer.d.data, atol=1e-12, rtol=0)
        torch.testing.assert_close(branch.b.data, layer.b.data, atol=1e-12, rtol=0)
        assert refresher.counters[row].tolist() == layer.counter
        assert refresher.events[row].item() == layer.events
    assert sum(layer.events > 1 for layer in layers) >= 2, "several layers must refresh several indices"
    report = method.report()
    assert report["refreshes"] == sum(layer.events for layer in layers) == sum(report["refreshes_per_layer"].values())
    assert list(report["refreshes_per_layer"]) == list(method.branches)


def restarted(before, after, accumulation=1, **options):
    """Train, save everything through a file, and go on with a fresh model, method and optimizer."""
    model, method = uora(**options)
    optimizer, losses = train(model, method, before, accumulation=accumulation)
    buffer = io.BytesIO()
    torch.save({"method": method.state(), "optimizer": optimizer.state_dict()}, buffer)
    buffer.seek(0)
    state = torch.load(buffer, weights_only=True)
    model, method = uora(**options)
    method.load_state(state["method"])
    optimizer = torch.optim.Adam(method.parameters(), lr=LR)
    optimizer.load_state_dict(state["optimizer"])
    return method, losses + train(model, method, after, optimizer, accumulation, first=before)[1]


@pytest.mark.parametrize(
    "options",
    [
        {"fresh": "per_event"}, {"periodic": 3}, {"timing": "authors", "every": 2}, {"reset_moments": True, "k": 2},
        {"timing": "authors", "periodic": 4, "fresh": "per_event"}, {"vector": "b", "tau": 0.02},
        {"scope": "mean"}, {"sharing": "layer", "rescale": True},
    ],
    ids=str,
)  # fmt: skip
def test_a_restart_changes_no_bit(options):
    model, method = uora(**options)
    losses = train(model, method, 11)[1]
    again, again_losses = restarted(5, 6, **options)
    assert again_losses == losses
    assert all(map(torch.equal, method.adapter_state().values(), again.adapter_state().values()))
    assert again.report() == method.report()
    assert method.report()["refreshes"] > 0


def test_without_refresh_uora_is_vera_on_the_same_matrices():
    model, method = uora(tau=0.0)
    other = roberta().train()
    vera = make_method("vera", rank=RANK)
    inject(vera, other)
    assert not torch.equal(vera.pairs["shared"].A, method.pairs["shared"].A)
    vera.pairs["shared"].load_state_dict(method.pairs["shared"].state_dict())
    assert train(model, method, 8)[1] == train(other, vera, 8)[1]
    assert all(map(torch.equal, vectors(method), vectors(vera)))
    assert method.report() == {
        "refreshes": 0, "refreshes_per_layer": dict.fromkeys(method.branches, 0), "redraws": 0,
    }  # fmt: skip


@pytest.mark.parametrize("timing", ["optimizer_step", "authors"])
def test_evaluation_never_refreshes(timing):
    model, method = uora(tau=1.0, timing=timing)
    before = method.pairs["shared"].A.clone()
    method.before_forward(1, first=True)
    model.eval()(**labelled(model))
    assert torch.equal(method.pairs["shared"].A, before)
    assert method.report()["refreshes"] == 0


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("timing", ["optimizer_step", "authors"])
def test_a_gpu_refreshes_as_the_cpu_does(timing):
    model, method = uora(timing=timing)
    train(model, method, 5)
    other, moved = uora(timing=timing)
    other.to("cuda")  # after injection, as a cell does
    optimizer = torch.optim.Adam(moved.parameters(), lr=LR)
    moved.bind(optimizer)
    for step in range(5):
        moved.before_forward(step + 1, first=True)
        optimizer.zero_grad()
        other(**{k: v.to("cuda") for k, v in labelled(other, seed=step).items()}).loss.backward()
        optimizer.step()
        assert moved.after_step(step + 1)["uora/refreshes"].is_cuda
    assert moved.report() == method.report()
    assert method.report()["refreshes"] > 0
    for key, tensor in moved.adapter_state().items():
        torch.testing.assert_close(tensor.detach().cpu(), method.adapter_state()[key].detach(), atol=1e-9, rtol=0)


def test_authors_placement_refuses_gradient_checkpointing():
    words = ["method=uora", "task=glue/rte", "recipe=none", "trainer.gradient_checkpointing=true"]
    with pytest.raises(UserError, match="gradient_checkpointing"):
        preflight(compose([*words, "method.timing=authors"]).cell)
    preflight(compose(words).cell)

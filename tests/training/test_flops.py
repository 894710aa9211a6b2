"""The closed form of a pass's FLOPs against torch's own counter, to the last one, for every method."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.support import peft_types
from uora_bench.config import compose, registry
from uora_bench.contract import models
from uora_bench.contract.harness import options_of
from uora_bench.errors import UserError
from uora_bench.training import work
from uora_bench.training.flops import PassFlops, pass_flops

PATHS = ("factored", "fused", "merged_weight", "delta_weight", "auto")
METHODS = [name for name in registry.choices("method") if name not in ("peft", "alpha_lora")]
SIZES = ((2, 9), (5, 12), (1, 30), (8, 32))  # none of them a point that the polynomials are made of
# of these PEFT hides products in solvers, Fourier transforms, hooks or functions with a backward pass of their own
HIDDEN = {"boft", "c3a", "frod", "loha", "oft", "osf", "psoft", "randlora", "waveft"}
PEFT = sorted(peft_types.MUST_TRAIN)


def loss(model: Any, batch: dict[str, Any]) -> Any:
    return model(**batch).loss


def batch_of(model: Any) -> Any:
    causal = model.config.model_type == "gpt2"

    def batch(rows: int, width: int) -> dict[str, Any]:
        ids = models.tokens(model, rows, width)["input_ids"]
        return {"input_ids": ids, "labels": ids if causal else ids[:, 0] % 2}

    return batch


def addmm_(mine: Any, left: Any, right: Any, *_: Any, **__: Any) -> int:
    """Torch's counter knows addmm, and not the same in place."""
    return int(2 * math.prod(left) * right[-1])


def counted(model: Any, batch: dict[str, Any]) -> tuple[int, int]:
    """(forward, backward) FLOPs by torch's counter."""
    with FlopCounterMode(display=False, custom_mapping=IN_PLACE) as forward:
        value = loss(model, batch)
    with FlopCounterMode(display=False, custom_mapping=IN_PLACE) as backward:
        value.backward()
    return forward.get_total_flops(), backward.get_total_flops()


IN_PLACE = {torch.ops.aten.addmm_: addmm_}


def adapted(name: str, make: Any = models.roberta, forward: str = "factored", **options: Any) -> Any:
    model = make(torch.float32)
    model.set_attn_implementation("eager")  # torch counts no fused attention on a CPU
    own = {k: v for k, v in {"forward": forward, **options}.items() if k in options_of(name)}
    method = models.make_method(name, **own)
    models.inject(method, model)
    for key, parameter in model.named_parameters():
        if key.startswith(tuple(model.head_modules)):
            parameter.requires_grad_(True)
    return model.train()


def agree(model: Any, sizes: Any = SIZES) -> PassFlops:
    batch = batch_of(model)
    formula = pass_flops(model, loss, batch)
    for rows, width in sizes:
        assert tuple(formula.at(rows, width)) == counted(model, batch(rows, width)), (rows, width)
    return formula


@pytest.mark.parametrize(
    ("name", "make"),
    # a language model has no head of its own: nothing would be trained
    [(n, m) for n in METHODS for m in (models.roberta, models.gpt2) if (n, m) != ("head_only", models.gpt2)],
)
def test_every_method_takes_what_torch_counts(name, make):
    agree(adapted(name, make))


@pytest.mark.parametrize("make", [models.roberta, models.gpt2])
@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("name", [n for n in METHODS if "forward" in options_of(n)] + ["alpha_lora"])
def test_every_forward_path_takes_what_torch_counts(name, path, make):
    agree(adapted(name, make, path, rank=4))


@pytest.mark.parametrize("rank", [4, 64])  # auto: fused, and where there are many tokens delta_weight
@pytest.mark.parametrize("make", [models.roberta, models.gpt2])
@pytest.mark.parametrize("name", ["lora", "lora_fa", "vera", "tied_lora", "alpha_lora"])
def test_under_autocast_auto_takes_what_torch_counts(name, make, rank):
    model = adapted(name, make, "auto", rank=rank)
    batch = batch_of(model)
    with torch.autocast("cpu", torch.bfloat16):
        formula = pass_flops(model, loss, batch, cast=torch.bfloat16)
        for rows, width in SIZES:
            assert tuple(formula.at(rows, width)) == counted(model, batch(rows, width)), (rows, width)


@pytest.mark.parametrize("make", [models.roberta, models.gpt2])
@pytest.mark.parametrize("path", ["factored", "merged_weight", "auto"])
@pytest.mark.parametrize("name", ["lora", "vera", "uora", "tied_lora"])
def test_inference_is_counted_without_a_pass_of_its_own(name, path, make):
    dropout = 0.0 if path == "merged_weight" else 0.1  # which no merged weight allows
    model = adapted(name, make, path, rank=4, dropout=dropout)
    batch = batch_of(model)
    formula = pass_flops(model, loss, batch)  # in training, where dropout keeps every layer factored
    plain = make(torch.float32)
    plain.set_attn_implementation("eager")
    model.eval()
    plain.eval()
    for rows, width in SIZES:
        with FlopCounterMode(display=False, custom_mapping=IN_PLACE) as apart:
            loss(model, batch(rows, width))
        with FlopCounterMode(display=False, custom_mapping=IN_PLACE) as alone:
            loss(plain, batch(rows, width))
        assert formula.inference(rows, width) == apart.get_total_flops()
        assert formula.merged(rows, width) == alone.get_total_flops()


def test_auto_changes_its_path_with_the_size_of_the_batch():
    model = adapted("lora", forward="auto", rank=4)
    formula, factored = agree(model), agree(adapted("lora", rank=4))
    assert formula.at(1, 8) == factored.at(1, 8)
    assert formula.at(8, 32) != factored.at(8, 32)


@pytest.mark.parametrize("rank", [4, 128])
def test_a_product_that_is_kept_is_not_made_again(rank):
    agree(adapted("vera", forward="merged_weight", rank=rank), [(1, 8), (8, 32), (32, 32)])


def with_peft(kind):
    model, *_ = peft_types.injected(kind, models.roberta)
    model.set_attn_implementation("eager")
    return model.train()


@pytest.mark.parametrize("kind", sorted(set(PEFT) - HIDDEN))
def test_every_type_of_peft_takes_what_torch_counts(kind):
    agree(with_peft(kind))


@pytest.mark.parametrize("kind", sorted(HIDDEN))
def test_types_of_peft_that_hide_work_from_the_formula_are_near_what_torch_counts(kind):
    model = with_peft(kind)
    batch = batch_of(model)
    ours, theirs = pass_flops(model, loss, batch).at(5, 12), counted(model, batch(5, 12))
    assert ours != theirs  # else it belongs to the exact ones
    assert ours.forward == pytest.approx(theirs[0], rel=0.06)
    assert ours.backward == pytest.approx(theirs[1], rel=0.26)


def test_lora_by_hand():
    """Two blocks of width 32 and 48, adapters on query and value, no gradient before the first of them."""
    formula = adapted("lora", rank=4)
    n, w, d, f, r = 3, 10, 32, 48, 4
    t = n * w
    block = 2 * t * (4 * d * d + 2 * d * f) + 4 * n * w * w * d + 2 * 2 * t * r * (d + d)
    head = 2 * n * (d * d + d * 2)
    both = pass_flops(formula, loss, batch_of(formula)).at(n, w)
    assert both.forward == 2 * block + head
    attention = 2 * n * w * w * d
    thin = 2 * t * r * d
    # of the first block's query and value: A, B and what A is given through B; of the rest x alone
    first = 2 * 3 * thin + 3 * attention + 2 * t * (d * d + 2 * d * f)
    second = 2 * 4 * thin + 4 * attention + 2 * t * (4 * d * d + 2 * d * f)
    assert both.backward == first + second + 2 * head


def test_fused_attention_counts_as_its_products():
    fused, eager = adapted("lora"), adapted("lora")
    fused.set_attn_implementation("sdpa")
    for rows, width in SIZES:
        assert pass_flops(fused, loss, batch_of(fused)).at(rows, width) == pass_flops(eager, loss, batch_of(eager)).at(
            rows, width
        )


def test_an_unused_gradient_costs_nothing():
    full, bitfit, head = (
        pass_flops(m, loss, batch_of(m)).at(4, 16) for m in map(adapted, ("full", "bitfit", "head_only"))
    )
    assert full.forward == bitfit.forward == head.forward
    assert head.backward < bitfit.backward < full.backward
    assert math.isclose(full.backward / full.forward, 2, rel_tol=0.01)


def test_a_model_that_cannot_be_followed_costs_the_flops_and_not_the_tokens(monkeypatch):
    def refuse(*_: Any) -> None:
        raise UserError("its code looks at numbers; drop dry_run=true")

    monkeypatch.setattr(work, "_flops", refuse)
    cell = compose.compose(["method=lora", "task=tiny/nli"]).cell
    task: Any = SimpleNamespace(width=lambda lengths, padding: int(lengths.max()))
    rows: Any = SimpleNamespace(lengths=np.full(3 * cell.trainer.batch_size, 7))
    history: Any = SimpleNamespace(steps=2, tokens=100)
    found = work.measure(cell, task, {"train": rows}, history, 1, "float32")
    assert (found.tokens, found.tokens_padded) == (100, 2 * cell.trainer.batch_size * 7)
    assert (found.forward, found.training) == (None, None)
    assert found.problem == "the model cannot be followed without its weights (UserError: its code looks at numbers)"

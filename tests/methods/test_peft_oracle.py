"""LoRA and VeRA against PEFT's: given the same matrices, the same logits, gradients and training losses."""

from __future__ import annotations

import math

import pytest
import torch
from peft import LoraConfig, VeraConfig, get_peft_model

from uora_bench.config import synonyms
from uora_bench.contract.models import gpt2, inject, labelled, make_method, roberta
from uora_bench.methods.projections import draw, draw_pair

RANK, ALPHA, WIDTH = 3, 6.0, 32
# adapter kinds, and the module names PEFT calls them by
ATTENTION = (("q", "v"), ["query", "value"])
ALL_SHAPES = (("down", "up", "q"), r".*(\.query|intermediate\.dense|layer\.\d\.output\.dense)")
FUSED = (("qkv",), ["c_attn"])
CASES = [pytest.param(roberta, *ATTENTION, id="roberta-qv"), pytest.param(roberta, *ALL_SHAPES, id="roberta-shapes"),
         pytest.param(gpt2, *FUSED, id="gpt2-c_attn")]  # fmt: skip


def ours(name, make, kinds, dtype, **options):
    model = make(dtype)
    method = make_method(name, rank=RANK, **options)
    inject(method, model, kinds)
    return model, method


def lora_of_peft(make, modules, dtype, rank=RANK, alpha=ALPHA):
    config = LoraConfig(r=rank, lora_alpha=alpha, target_modules=modules, fan_in_fan_out=make is gpt2)
    return get_peft_model(make(dtype), config).to(dtype).eval()


def vera_of_peft(make, modules, dtype, rank=RANK, key=0):
    config = VeraConfig(r=rank, target_modules=modules, fan_in_fan_out=make is gpt2, projection_prng_key=key)
    return get_peft_model(make(dtype), config).to(dtype).eval()


def matched(method, peft_model):
    """(our branch, PEFT's layer) of every target; every layer PEFT adapts must be among ours."""
    layers = {n.removeprefix("base_model.model."): m for n, m in peft_model.named_modules() if hasattr(m, "base_layer")}
    assert {name.rsplit(".", 1)[0] for name in method.branches} == set(layers)
    return [(branch, layers[name.rsplit(".", 1)[0]]) for name, branch in method.branches.items()]


def lora_pairs(method, peft_model):
    """(our tensor, PEFT's tensor) of everything LoRA trains."""
    for branch, layer in matched(method, peft_model):
        yield branch.A, layer.lora_A["default"].weight
        yield branch.B, layer.lora_B["default"].weight


def vera_pairs(method, peft_model):
    """(our tensor, PEFT's tensor) of everything VeRA trains."""
    for branch, layer in matched(method, peft_model):
        yield branch.d, layer.vera_lambda_d["default"]
        yield branch.b, layer.vera_lambda_b["default"]


@torch.no_grad()
def copy_matrices(method, peft_model):
    """PEFT's vera_A and vera_B into our shared pair, which has to be as large as theirs."""
    (pair,) = method.pairs.values()
    assert pair.A.shape == peft_model.vera_A["default"].shape
    assert pair.B.shape == peft_model.vera_B["default"].shape
    pair.A.copy_(peft_model.vera_A["default"]), pair.B.copy_(peft_model.vera_B["default"])


@torch.no_grad()
def copy_trained(pairs, randomise):
    """The same values on both sides: random ones, or those our side starts from."""
    generator = torch.Generator().manual_seed(5)
    for own, theirs in pairs:
        if randomise:
            own.copy_(torch.randn(own.shape, generator=generator, dtype=own.dtype) * 0.3)
        theirs.copy_(own)


def both(name, make, kinds, modules, dtype, randomise):
    """Our model and PEFT's with equal values, and the list of (our tensor, PEFT's tensor)."""
    if name == "lora":
        model, method = ours(name, make, kinds, dtype, alpha=ALPHA)
        other = lora_of_peft(make, modules, dtype)
        pairs = list(lora_pairs(method, other))
    else:
        model, method = ours(name, make, kinds, dtype)
        other = vera_of_peft(make, modules, dtype)
        copy_matrices(method, other)
        pairs = list(vera_pairs(method, other))
    copy_trained(pairs, randomise)
    assert sum(p.numel() for p in method.parameters()) == sum(p.numel() for p in other.parameters() if p.requires_grad)
    return model, method, other, pairs


def same_logits_and_backward(model, other):
    batch = labelled(model)
    out, expected = model(**batch), other(**batch)
    bare = (gpt2 if model.config.model_type == "gpt2" else roberta)(torch.float64)
    assert (out.logits - bare(**batch).logits).abs().max() > 1e-2, "the adapters must matter"
    torch.testing.assert_close(out.logits, expected.logits, atol=1e-6, rtol=0)
    out.loss.backward(), expected.loss.backward()


def losses(model, parameters, lr, steps=50):
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.01)
    out = []
    for step in range(steps):
        loss = model(**labelled(model, batch=4, seed=step % 5)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        out.append(loss.item())
    return out


def same_losses(method, model, other):
    lr = 5e-3 if method.name == "lora" else 2e-2
    own = losses(model, method.parameters(), lr)
    theirs = losses(other, [p for p in other.parameters() if p.requires_grad], lr)
    assert own == pytest.approx(theirs, rel=1e-5)
    assert sum(own[-5:]) < 0.97 * sum(own[:5]), "training must do something"


@pytest.mark.parametrize("name", ["lora", "vera"])
@pytest.mark.parametrize(("make", "kinds", "modules"), CASES)
def test_logits_and_gradients_are_pefts(name, make, kinds, modules):
    model, _, other, pairs = both(name, make, kinds, modules, torch.float64, randomise=True)
    same_logits_and_backward(model, other)
    for own, theirs in pairs:
        assert own.grad.abs().max() > 1e-4
        torch.testing.assert_close(own.grad, theirs.grad, atol=1e-6, rtol=0)


@pytest.mark.parametrize("name", ["lora", "vera"])
@pytest.mark.parametrize(("make", "kinds", "modules"), CASES)
def test_fifty_adamw_steps_lose_the_same(name, make, kinds, modules):
    model, method, other, _ = both(name, make, kinds, modules, torch.float32, randomise=False)
    same_losses(method, model, other)


# --- q and v as thirds of c_attn: PEFT adapts the whole, with a block-structured B that leaves k alone ----------------

BLOCKS = {"q": (slice(0, WIDTH), slice(0, RANK)), "v": (slice(2 * WIDTH, 3 * WIDTH), slice(RANK, 2 * RANK))}


def sliced_lora(dtype, randomise):
    """Ours on q and v, and PEFT's at twice the rank: A stacks A_q and A_v, B is [[B_q, 0], [0, 0], [0, B_v]]."""
    model, method = ours("lora", gpt2, ("q", "v"), dtype, alpha=ALPHA)
    other = lora_of_peft(gpt2, ["c_attn"], dtype, rank=2 * RANK, alpha=2 * ALPHA)
    generator = torch.Generator().manual_seed(3)
    blocks = []
    for path in method.layers:
        layer = other.get_submodule(f"base_model.model.{path}")
        A, B = layer.lora_A["default"].weight, layer.lora_B["default"].weight
        mask = torch.zeros_like(B)
        for kind, (rows, columns) in BLOCKS.items():
            branch = method.branches[f"{path}.{kind}"]
            with torch.no_grad():
                if randomise:
                    branch.B.normal_(std=0.3, generator=generator)
                A[columns], B[rows, columns] = branch.A, branch.B
            mask[rows, columns] = 1
            blocks += [(branch.A, A, columns), (branch.B, B, (rows, columns))]
        B.register_hook(lambda g, mask=mask: g * mask)
    return model, method, other, blocks


def sliced_vera(dtype, randomise):
    """Ours on q and v, and PEFT's at twice the rank on matrices [A; A] and [[B, 0], [0, 0], [0, B]]."""
    model, method = ours("vera", gpt2, ("q", "v"), dtype)
    other = vera_of_peft(gpt2, ["c_attn"], dtype, rank=2 * RANK)
    (pair,) = method.pairs.values()
    other.vera_A["default"].copy_(torch.cat([pair.A, pair.A]))
    other.vera_B["default"].zero_()
    for rows, columns in BLOCKS.values():
        other.vera_B["default"][rows, columns] = pair.B
    generator = torch.Generator().manual_seed(3)
    blocks = []
    for path in method.layers:
        layer = other.get_submodule(f"base_model.model.{path}")
        for kind, (rows, columns) in BLOCKS.items():
            branch = method.branches[f"{path}.{kind}"]
            both_sides = [(branch.d, layer.vera_lambda_d["default"], columns),
                          (branch.b, layer.vera_lambda_b["default"], rows)]  # fmt: skip
            for own, theirs, where in both_sides:
                with torch.no_grad():
                    if randomise:
                        own.normal_(generator=generator)
                    theirs[where] = own
            blocks += both_sides
    return model, method, other, blocks


@pytest.mark.parametrize("build", [sliced_lora, sliced_vera])
def test_slices_of_c_attn_are_a_block_structured_whole(build):
    model, _, other, blocks = build(torch.float64, randomise=True)
    same_logits_and_backward(model, other)
    for own, theirs, where in blocks:
        assert own.grad.abs().max() > 1e-4
        torch.testing.assert_close(own.grad, theirs.grad[where], atol=1e-6, rtol=0)


@pytest.mark.parametrize("build", [sliced_lora, sliced_vera])
def test_slices_of_c_attn_train_like_a_block_structured_whole(build):
    model, method, other, _ = build(torch.float32, randomise=False)
    same_losses(method, model, other)


# --- initial values ---------------------------------------------------------------------------------------------------


def test_vera_draws_pefts_matrices_from_pefts_key():
    other = vera_of_peft(roberta, ALL_SHAPES[1], torch.float32, key=11)
    A, B = draw_pair(RANK, 48, 48, "kaiming_uniform", 1.0, seed=11, dtype=torch.float32)
    torch.testing.assert_close(A, other.vera_A["default"], atol=0, rtol=1e-6)
    torch.testing.assert_close(B, other.vera_B["default"], atol=0, rtol=1e-6)


@pytest.mark.parametrize(("rows", "fan"), [(64, 300), (300, 64)])
def test_kaiming_uniform_fills_the_bound_root_six_by_fan(rows, fan):
    matrix = draw(rows, fan, "kaiming_uniform", 1.0, torch.Generator().manual_seed(0), torch.float64)
    bound = math.sqrt(6 / fan)
    assert 0.999 * bound < matrix.abs().max() <= bound
    assert matrix.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert matrix.mean().item() == pytest.approx(0, abs=0.02 * bound)


def test_vera_vectors_start_where_pefts_do():
    _, method = ours("vera", roberta, ATTENTION[0], torch.float64)
    for branch, layer in matched(method, vera_of_peft(roberta, ATTENTION[1], torch.float64)):
        torch.testing.assert_close(branch.d.detach(), layer.vera_lambda_d["default"].detach(), atol=1e-8, rtol=0)
        assert not branch.b.any()
        assert not layer.vera_lambda_b["default"].any()


def test_lora_starts_in_the_range_of_pefts():
    _, method = ours("lora", roberta, ("q", "v"), torch.float64)
    other = lora_of_peft(roberta, ATTENTION[1], torch.float64)
    for own, theirs in lora_pairs(method, other):
        bound = 1 / math.sqrt(WIDTH)
        if own.shape[0] == RANK:  # A
            assert 0.9 * bound < own.abs().max() <= bound
            assert theirs.abs().max() <= bound
        else:
            assert not own.any()
            assert not theirs.any()


def test_the_types_that_a_command_line_is_told_of_are_pefts() -> None:
    from peft import PeftType

    assert set(synonyms.PEFT_TYPES) <= {one.value.lower() for one in PeftType}

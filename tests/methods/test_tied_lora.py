"""Tied-LoRA: every count of the paper's tables, its variants against the methods they name, and what is stored once."""

from __future__ import annotations

import pytest
import torch

from tests.support.architectures import shapes, trained_after_injection
from uora_bench.config.compose import compose
from uora_bench.config.options.tied import VARIANTS
from uora_bench.contract.models import gpt2, inject, labelled, make_method, roberta, tokens
from uora_bench.errors import UserError

QV, QKV = ("q", "v"), ("q", "k", "v")
FUSED = {"layout": "fused", "target_modules": QKV}
# LLaMA-2-7B, fused q, k, v, r = 8
LLAMA = {
    "lora": 4_194_304, "vera": 393_472, "tl1": 32_768, "tl2": 426_240, "tl3": 98_304, "tl4": 491_776, "tl5": 131_072,
    "tl6": 524_544,
}  # fmt: skip
# TL6 in per cent of LoRA there, by rank
PERCENT = {2: 40.6, 4: 21.9, 8: 12.5, 16: 7.8, 32: 5.5, 64: 4.3, 128: 3.7}
# at r = 8: LoRA fused, TL5 fused, TL6 fused, LoRA q,v, TL5 q,v and TL6 q,v (a pair per type), TL6 q,v (a single pair)
EXAMPLES = {
    "roberta_base": (294_912, 24_576, 52_320, 294_912, 24_576, 43_200, 30_912),
    "vit_base": (294_912, 24_576, 52_320, 294_912, 24_576, 43_200, 30_912),
    "roberta_large": (786_432, 32_768, 106_688, 786_432, 32_768, 82_304, 65_920),
    "vit_large": (786_432, 32_768, 106_688, 786_432, 32_768, 82_304, 65_920),
    "gpt2_medium": (786_432, 32_768, 106_688, 786_432, 32_768, 82_304, 65_920),
    "gpt2_large": (1_474_560, 40_960, 179_488, 1_474_560, 40_960, 133_696, 113_216),
    "llama2_7b": (4_194_304, 131_072, 524_544, 4_194_304, 131_072, 393_728, 328_192),
}
COLUMNS = [
    ("lora", FUSED), ("tl5", FUSED), ("tl6", FUSED), ("lora", {}), ("tl5", {}), ("tl6", {}), ("tl6", {"pairs": "all"}),
]  # fmt: skip
# VB-LoRA's re-run lists 0.043M (base) and 0.066M (large): a pair per type at r = 8 and 4, or a single one at 16 and 8
RERUN = [
    ("roberta_base", 8, "kind", 43_200), ("roberta_large", 4, "kind", 65_728), ("roberta_base", 16, "all", 43_392),
    ("roberta_large", 8, "all", 65_920),
]  # fmt: skip


@pytest.mark.parametrize(("variant", "count"), LLAMA.items())
def test_the_papers_table_of_configurations(variant, count):
    method = make_method("tied_lora", variant=variant, **FUSED)
    assert method.count(shapes("llama2_7b", QKV), {}) == count


@pytest.mark.parametrize(("rank", "percent"), PERCENT.items())
def test_tl6_in_per_cent_of_lora_by_rank(rank, percent):
    found = shapes("llama2_7b", QKV)
    tl6, lora = (make_method("tied_lora", rank=rank, variant=v, **FUSED).count(found, {}) for v in ("tl6", "lora"))
    assert round(100 * tl6 / lora, 1) == percent


@pytest.mark.parametrize(("blocks", "percent"), [(32, 12.506), (24, 13.548)])
@pytest.mark.parametrize("rank", [2, 8, 128])
def test_tl6_is_the_closed_form_part_of_lora(blocks, percent, rank):
    width = 4096
    found = [shape for shape in shapes("llama2_7b", QKV) if shape.layer < blocks]
    tl6, lora = (make_method("tied_lora", rank=rank, variant=v, **FUSED).count(found, {}) for v in ("tl6", "lora"))
    assert tl6 / lora == pytest.approx(1 / blocks + 3 / (4 * rank) + 1 / (4 * width), rel=1e-12)
    if rank == 8:
        assert round(100 * tl6 / lora, 3) == percent


def test_counts_where_keys_and_values_are_narrower():
    # A: r in, B: r of each projection's outputs, u and v of every block: r and the outputs
    found = shapes("smollm2_135m", QKV)
    tl6, tl5, lora = (make_method("tied_lora", variant=v, **FUSED).count(found, {}) for v in ("tl6", "tl5", "lora"))
    outputs = 576 + 192 + 192
    assert tl6 == 8 * (576 + outputs) + 30 * (8 + outputs) == 41_328
    assert tl5 == 8 * (576 + outputs) == 12_288
    assert lora == 30 * 8 * (576 + outputs) == 368_640
    assert trained_after_injection(make_method("tied_lora", variant="tl6", **FUSED), "smollm2_135m", QKV) == tl6


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.parametrize("column", range(len(COLUMNS)))
def test_the_worked_examples(name, column):
    variant, options = COLUMNS[column]
    method, kinds = make_method("tied_lora", variant=variant, **options), options.get("target_modules", QV)
    count = EXAMPLES[name][column]
    assert method.count(shapes(name, kinds), {}) == count
    if name in ("roberta_base", "gpt2_medium"):
        assert trained_after_injection(method, name, kinds) == count


@pytest.mark.parametrize(("name", "rank", "pairs", "count"), RERUN)
def test_the_counts_of_a_public_rerun(name, rank, pairs, count):
    assert make_method("tied_lora", rank=rank, pairs=pairs).count(shapes(name, QV), {}) == count


def test_a_backbone_with_a_fused_projection_needs_no_fused_layout():
    whole = make_method("tied_lora", target_modules=("qkv",))
    assert whole.count(shapes("gpt2_medium", ("qkv",)), {}) == EXAMPLES["gpt2_medium"][2]


def test_one_word_names_a_variant_and_vbua_is_tl6():
    def cell(word):
        return compose(["method=tied_lora", f"method.variant={word}", "task=glue/rte"]).cell

    assert cell("vBuA") == cell("tl6") == cell("TL6")
    assert cell("vBuA").cell_id("x") == cell("tl6").cell_id("x") != cell("tl5").cell_id("x")
    for variant in VARIANTS:
        assert cell(variant).method.variant == variant


def naive(method, x, name):
    """Λ_v B Λ_u A x in the shapes of the paper, from the saved tensors alone."""
    config, state = method.config, method.adapter_state()
    kind, layer = name.rsplit(".", 1)[1], int(name.split("layer.")[1].split(".")[0])
    fused = config.layout == "fused"
    block, own = f"block_{layer}", f"{kind}_{layer}"
    pair = "shared" if config.pairs == "all" else kind
    A = state[f"A.{('fused' if fused else pair) if config.tied else (block if fused else own)}"]
    B = state[f"B.{pair if config.tied else own}"]
    u = state.get(f"u.{block if fused else own}", torch.full((config.rank,), config.u_initial, dtype=torch.float64))
    v = state.get(f"v.{own}", torch.full((len(B),), config.v_initial, dtype=torch.float64))
    return torch.diag(v[:32].double()) @ B[:32] @ torch.diag(u.double()) @ A[:, :32] @ x


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("options", [{}, {"pairs": "all"}, FUSED, {"u_initial": 0.1, "v_initial": 2.0}])
def test_layers_compute_the_equation(variant, options):
    method, model = make_method("tied_lora", variant=variant, rank=4, **options), roberta()
    inject(method, model, options.get("target_modules", QV))
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(torch.randn(parameter.shape, dtype=parameter.dtype))
    x = torch.randn(32, dtype=torch.float64)
    for name, branch in method.branches.items():
        expected = naive(method, x, name)
        assert expected.abs().max() > 1e-3
        torch.testing.assert_close(branch.delta(x), expected, atol=1e-12, rtol=1e-12)
        torch.testing.assert_close(branch.delta_weight() @ x, expected, atol=1e-12, rtol=1e-12)
        A, B = branch.factors()
        torch.testing.assert_close(B @ (A @ x), expected, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("options", [{}, {"pairs": "all"}, FUSED])
def test_every_variant_starts_at_zero_and_leaves_it(variant, options):
    method, model = make_method("tied_lora", variant=variant, rank=4, **options), roberta()
    inject(method, model, options.get("target_modules", QV))
    optimizer = torch.optim.SGD(method.parameters(), lr=0.5)
    assert all((b.delta_weight() == 0).all() for b in method.branches.values())
    for _ in range(2):
        optimizer.zero_grad()
        model(**labelled(model)).loss.backward()
        optimizer.step()
    for name, branch in method.branches.items():
        assert branch.delta_weight().abs().max() > 0, name
    assert all(p.grad.abs().max() > 0 for p in method.parameters())


@pytest.mark.parametrize(("zero", "variant"), [("A", "tl6"), ("u", "tl6"), ("v", "tl6"), ("A", "tl2"), ("v", "tl2")])
def test_the_zero_can_be_put_elsewhere(zero, variant):
    method, model = make_method("tied_lora", variant=variant, zero=zero, rank=4), roberta()
    inject(method, model)
    state = method.adapter_state()
    for name, tensor in state.items():
        assert (tensor == 0).all() == (name[0] == zero), name
    assert make_method("tied_lora", variant="tl2").config.start == "v"
    assert make_method("tied_lora", variant="tl1").config.start == "A"


def test_the_vera_variant_is_vera():
    ours, model = make_method("tied_lora", variant="vera", pairs="all", u_initial=0.1, rank=6), roberta()
    vera, theirs = make_method("vera", rank=6), roberta()
    inject(ours, model), inject(vera, theirs)
    (pair,) = vera.pairs.values()
    ours.factors["A.shared"].value.copy_(pair.A)
    ours.factors["B.shared"].value.copy_(pair.B)
    assert_same_training(model, ours, theirs, vera)


def test_the_lora_variant_is_lora():
    ours, model = make_method("tied_lora", variant="lora", rank=6), roberta()
    lora, theirs = make_method("lora", rank=6, alpha=6.0), roberta()
    inject(ours, model), inject(lora, theirs)
    for mine, yours in zip(ours.branches.values(), lora.branches.values(), strict=True):
        mine.A.value.data.copy_(yours.A)
    assert_same_training(model, ours, theirs, lora)


def assert_same_training(model, ours, theirs, other):
    pairs = [(model, ours), (theirs, other)]
    optimizers = [torch.optim.AdamW(m.parameters(), lr=0.02) for _, m in pairs]
    for step in range(10):
        losses = []
        for (each, _), optimizer in zip(pairs, optimizers, strict=True):
            optimizer.zero_grad()
            loss = each(**labelled(each, seed=step)).loss
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        assert losses[0] == pytest.approx(losses[1], abs=1e-12)
    logits = [each(**tokens(each)).logits for each, _ in pairs]
    torch.testing.assert_close(*logits, atol=1e-11, rtol=0)


@pytest.mark.parametrize("make", [roberta, gpt2])
def test_tied_tensors_are_there_once(make, tmp_path):
    from safetensors.torch import load_file, save_file

    method, model = make_method("tied_lora", rank=4), make()
    inject(method, model)
    in_model = [id(p) for p in model.parameters() if p.requires_grad]
    assert sorted(in_model) == sorted(id(p) for p in method.parameters())
    state = method.adapter_state()
    assert set(state) == {f"{f}.{k}" for f in "AB" for k in QV} | {
        f"{f}.{k}_{i}" for f in "uv" for k in QV for i in (0, 1)
    }
    # safetensors refuses tensors that share memory
    save_file({k: v.detach() for k, v in state.items()}, tmp_path / "a.safetensors")
    assert load_file(tmp_path / "a.safetensors").keys() == state.keys()
    # one name each in the model's own state, and a cast or a move reaches all who share it
    names = [n for n in model.state_dict() if n.endswith(".value")]
    assert len(names) == len(state)
    model.float()
    pointers = {b.A.value.data_ptr() for n, b in method.branches.items() if n.endswith(".q")}
    assert len(pointers) == 1
    assert {b.A.value.dtype for b in method.branches.values()} == {torch.float32}


def test_the_gradient_of_a_tied_tensor_is_clipped_once():
    method, model = make_method("tied_lora", rank=4), roberta()
    inject(method, model)
    model(**labelled(model)).loss.backward()
    parameters = method.parameters()
    norm = torch.stack([p.grad.norm() for p in {id(p): p for p in parameters}.values() if p.grad is not None]).norm()
    assert torch.nn.utils.clip_grad_norm_(parameters, 1e9).item() == pytest.approx(norm.item(), rel=1e-12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "tl7"}, "tl6"),
        ({"train_A": False, "train_B": False, "train_u": False, "train_v": False}, "nothing would be trained"),
        ({"variant": "tl5", "zero": "v"}, "frozen factor"),
        ({"u_initial": 0.0}, "zero=u"),
        ({"layout": "fused"}, r"target_modules=\[q,k,v\]"),
        ({"layout": "fused", "target_modules": ("q", "up")}, r"target_modules=\[q,k,v\]"),
        ({**FUSED, "pairs": "all"}, "pairs=all"),
        ({"rank": 0}, "rank"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(UserError, match=message):
        make_method("tied_lora", **options)

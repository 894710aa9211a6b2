"""Numbers of trained parameters: closed form, the model itself and published tables, on the real architectures."""

from __future__ import annotations

import pytest

from tests.support.architectures import shapes, skeleton, trained_after_injection
from uora_bench.contract.models import make_method
from uora_bench.methods.base import backbone_parameters

QV, FUSED, LINEAR = ("q", "v"), ("qkv",), ("q", "k", "v", "o", "gate", "up", "down")
SMOLLM, QWEN = ("v", "o", "down", "up"), ("v", "o", "up")  # what α-LoRA's released code adapts

# Σ (out + r) over the targets, by rank
VECTORS = {
    ("roberta_base", QV): {8: 18_624, 16: 18_816, 32: 19_200, 64: 19_968, 128: 21_504, 256: 24_576, 1024: 43_008},
    ("roberta_large", QV): {8: 49_536, 16: 49_920, 32: 50_688, 64: 52_224, 128: 55_296, 256: 61_440, 1024: 98_304},
    ("gpt2_medium", QV): {8: 49_536, 16: 49_920, 32: 50_688, 64: 52_224, 128: 55_296, 256: 61_440, 1024: 98_304},
    ("gpt2_large", QV): {8: 92_736, 16: 93_312, 32: 94_464, 64: 96_768, 128: 101_376, 256: 110_592, 1024: 165_888},
    ("gpt2_medium", FUSED): {64: 75_264, 256: 79_872, 1024: 98_304},
    ("gpt2_large", FUSED): {64: 140_544, 256: 147_456, 1024: 175_104},
    ("llama2_7b", QV): {
        8: 262_656, 16: 263_168, 32: 264_192, 64: 266_240, 128: 270_336, 256: 278_528, 1024: 327_680,
    },
    ("llama2_7b", LINEAR): {16: 1_363_456, 32: 1_367_040, 64: 1_374_208, 256: 1_417_216, 1024: 1_589_248},
    ("llama2_13b", LINEAR): {16: 2_134_400, 32: 2_138_880, 64: 2_147_840, 256: 2_201_600, 1024: 2_416_640},
    ("llama_13b", LINEAR): {1024: 2_416_640},
    ("llama3_8b", LINEAR): {64: 1_390_592},
    ("qwen2_5_7b", LINEAR): {256: 1_440_768},
    ("qwen2_5_0_5b", QWEN): {256: 159_744},
    ("smollm_360m", SMOLLM): {256: 186_368},
    ("smollm2_135m", LINEAR): {256: 209_280},
    ("tiny_llama", LINEAR): {64: 5_376, 256: 10_752},
    ("vit_base", QV): {8: 18_624, 16: 18_816, 32: 19_200, 64: 19_968, 128: 21_504, 256: 24_576, 1024: 43_008},
    ("tiny_vit", QV): {64: 1_280, 256: 2_816},
    ("vit_large", QV): {8: 49_536, 16: 49_920, 32: 50_688, 64: 52_224, 128: 55_296, 256: 61_440, 1024: 98_304},
}  # fmt: skip
LORA = {
    ("roberta_base", QV): {8: 294_912},
    ("roberta_large", QV): {8: 786_432},
    ("gpt2_medium", QV): {4: 393_216},
    ("gpt2_large", QV): {4: 737_280},
    ("llama2_7b", QV): {8: 4_194_304, 64: 33_554_432},
    ("llama2_7b", LINEAR): {64: 159_907_840},
    ("llama2_13b", LINEAR): {64: 250_347_520},
    ("llama3_8b", QV): {8: 3_407_872},
    ("llama3_8b", LINEAR): {64: 167_772_160},
    ("qwen2_5_7b", LINEAR): {8: 20_185_088},
    ("qwen2_5_0_5b", QWEN): {8: 1_646_592},
    ("smollm_360m", SMOLLM): {8: 2_621_440},
    ("smollm2_135m", ("q", "k", "v")): {8: 645_120},
    ("smollm2_135m", LINEAR): {8: 2_442_240},
    ("tiny_llama", LINEAR): {8: 55_296},
    ("vit_base", QV): {8: 294_912},
    ("vit_large", QV): {8: 786_432},
    ("tiny_vit", QV): {8: 12_288},
}
# number of targets, their out widths, LoRA's count per unit of rank, Σ out
LAYOUTS = {
    ("roberta_base", QV): (24, {768}, 36_864, 18_432),
    ("vit_base", QV): (24, {768}, 36_864, 18_432),
    ("roberta_large", QV): (48, {1024}, 98_304, 49_152),
    ("vit_large", QV): (48, {1024}, 98_304, 49_152),
    ("tiny_vit", QV): (8, {96}, 8 * 192, 8 * 96),
    ("gpt2_medium", QV): (48, {1024}, 98_304, 49_152),
    ("gpt2_large", QV): (72, {1280}, 184_320, 92_160),
    ("llama2_7b", QV): (64, {4096}, 524_288, 262_144),
    ("llama2_7b", LINEAR): (224, {4096, 11008}, 2_498_560, 1_359_872),
    ("llama2_13b", LINEAR): (280, {5120, 13824}, 3_911_680, 2_129_920),
    ("llama_13b", LINEAR): (280, {5120, 13824}, 3_911_680, 2_129_920),
    # keys and values are narrower where several query heads share them; by hand: blocks x the sum over kinds
    ("llama3_8b", QV): (64, {4096, 1024}, 32 * (8192 + 5120), 32 * (4096 + 1024)),
    ("llama3_8b", LINEAR): (224, {4096, 1024, 14336}, 2_621_440, 32 * (2 * 4096 + 2 * 1024 + 2 * 14336 + 4096)),
    ("qwen2_5_7b", QV): (56, {3584, 512}, 28 * (7168 + 4096), 28 * (3584 + 512)),
    ("qwen2_5_7b", LINEAR): (196, {3584, 512, 18944}, 2_523_136, 28 * (2 * 3584 + 2 * 512 + 2 * 18944 + 3584)),
    ("qwen2_5_0_5b", QWEN): (72, {128, 896, 4864}, 24 * (1024 + 1792 + 5760), 24 * (128 + 896 + 4864)),
    ("qwen2_5_0_5b", LINEAR): (168, {128, 896, 4864}, 549_888, 304_128),
    ("smollm_360m", SMOLLM): (128, {320, 960, 2560}, 32 * (1280 + 1920 + 2 * 3520), 32 * (320 + 2 * 960 + 2560)),
    ("smollm_360m", LINEAR): (224, {320, 960, 2560}, 542_720, 276_480),
    ("smollm2_135m", LINEAR): (
        210,
        {192, 576, 1536},
        30 * (2 * 1152 + 2 * 768 + 3 * 2112),
        30 * (3 * 576 + 2 * 192 + 2 * 1536),
    ),
    ("tiny_llama", LINEAR): (28, {48, 96, 256}, 4 * (2 * 192 + 2 * 144 + 3 * 352), 4 * (3 * 96 + 2 * 48 + 2 * 256)),
}
DEFAULTS = {**{k: v for k, v in LAYOUTS if v == QV}, "qwen2_5_0_5b": QWEN, "smollm_360m": SMOLLM}
# parameters of the whole model, in units of 0.1 M, as the configurations state them
SIZES = {
    "roberta_base": 1246, "roberta_large": 3554, "gpt2_medium": 3548, "gpt2_large": 7740, "llama2_7b": 67384,
    "llama_7b": 67384, "llama2_13b": 130159, "llama_13b": 130159, "llama3_8b": 80303, "qwen2_5_7b": 76156,
    "qwen2_5_0_5b": 4940, "smollm_360m": 3618, "smollm2_135m": 1345, "vit_base": 858, "vit_large": 3033, "minilm": 227,
}  # fmt: skip


def cells(table):
    return [
        pytest.param(name, kinds, rank, count, id=f"{name}-{'+'.join(kinds)}-{rank}")
        for (name, kinds), row in table.items()
        for rank, count in row.items()
    ]


@pytest.mark.parametrize(("name", "kinds", "rank", "count"), cells(VECTORS))
@pytest.mark.parametrize("method_name", ["uora", "vera"])
def test_vector_methods_train_what_the_table_says(method_name, name, kinds, rank, count):
    # the init draws nothing but the frozen pair, and the decomposition of a large one takes seconds
    method = make_method(method_name, rank=rank, init="uniform")
    assert method.count(shapes(name, kinds), {}) == count
    assert trained_after_injection(method, name, kinds) == count


@pytest.mark.parametrize("method_name", ["uora", "vera"])
def test_vector_methods_train_the_same_with_their_own_init(method_name):
    method = make_method(method_name, rank=16)
    assert trained_after_injection(method, "roberta_base", QV) == 18_816


@pytest.mark.parametrize("sharing", ["all", "shape", "layer"])
def test_frozen_pairs_are_never_counted(sharing):
    method = make_method("uora", rank=8, init="uniform", sharing=sharing)
    count = method.count(shapes("roberta_base", ("q", "up", "down")), {})
    assert count == 12 * (768 + 3072 + 768 + 3 * 8)
    assert trained_after_injection(method, "roberta_base", ("q", "up", "down")) == count


@pytest.mark.parametrize(("name", "kinds", "rank", "count"), cells(LORA))
def test_lora_trains_what_the_paper_says(name, kinds, rank, count):
    method = make_method("lora", rank=rank)
    assert method.count(shapes(name, kinds), {}) == count
    assert trained_after_injection(method, name, kinds) == count


@pytest.mark.parametrize(("name", "kinds"), LAYOUTS)
def test_standard_layouts(name, kinds):
    number, widths, per_rank, floor = LAYOUTS[name, kinds]
    found = shapes(name, kinds)
    assert (len(found), {s.out_features for s in found}) == (number, widths)
    assert make_method("lora", rank=1).count(found, {}) == per_rank
    for vectors in ("uora", "vera"):
        assert make_method(vectors, rank=1).count(found, {}) == floor + number


@pytest.mark.parametrize("name", ["llama2_7b", "llama2_13b"])
def test_llama_blocks_have_five_narrow_and_two_wide_outputs(name):
    wide = {"llama2_7b": 11008, "llama2_13b": 13824}[name]
    outs = [s.out_features for s in shapes(name, LINEAR) if s.layer == 3]
    assert (len(outs), outs.count(wide)) == (7, 2)


@pytest.mark.parametrize(("name", "kinds"), DEFAULTS.items())
def test_the_default_targets_are_the_published_ones(name, kinds):
    assert shapes(name, None) == shapes(name, kinds)


@pytest.mark.parametrize(
    ("name", "heads"),
    [
        ("llama3_8b", 8),
        ("qwen2_5_7b", 4),
        ("qwen2_5_0_5b", 2),
        ("smollm_360m", 5),
        ("smollm2_135m", 3),
        ("tiny_llama", 2),
    ],
)
def test_grouped_queries_make_keys_and_values_narrow(name, heads):
    config = skeleton(name).config
    width = {s.kind: s.out_features for s in shapes(name, ("q", "k", "v")) if s.layer == 0}
    assert width["k"] == width["v"] == heads * width["q"] // config.num_attention_heads
    assert config.num_key_value_heads == heads


@pytest.mark.parametrize("name", ["qwen2_5_0_5b", "smollm_360m", "smollm2_135m", "tiny_llama"])
def test_a_tied_output_layer_is_one_matrix_with_the_embedding(name):
    model = skeleton(name)
    assert model.get_output_embeddings().weight is model.get_input_embeddings().weight


def test_alpha_lora_adds_the_outputs_of_its_targets():
    for name, kinds, expected in (("smollm_360m", SMOLLM, 2_775_040), ("qwen2_5_0_5b", QWEN, 1_787_904)):
        method = make_method("alpha_lora", rank=8)
        assert method.count(shapes(name, kinds), {}) == expected


@pytest.mark.parametrize("name", SIZES)
def test_the_architectures_are_as_large_as_the_published_models(name):
    assert round(sum(p.numel() for p in skeleton(name).parameters()) / 1e5) == SIZES[name]


def test_full_counts_the_backbone_and_head_only_nothing():
    model = skeleton("roberta_base")
    sizes = {n: p.numel() for n, p in backbone_parameters(model).items()}
    backbone = sum(sizes.values())
    head = 768 * 768 + 768 + 2 * 768 + 2
    assert backbone == sum(p.numel() for p in model.parameters()) - head
    assert make_method("full").count(shapes("roberta_base", QV), sizes) == backbone
    assert make_method("head_only").count(shapes("roberta_base", QV), sizes) == 0

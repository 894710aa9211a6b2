"""A backbone in 4 bits: what is quantised, what adapters make of it, and what is refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, PreTrainedTokenizerFast

from uora_bench.config.cell import BackboneConfig, Cell
from uora_bench.config.compose import compose
from uora_bench.config.preflight import preflight
from uora_bench.contract.models import backbone_config, make_method
from uora_bench.errors import UserError
from uora_bench.methods.base import size_of
from uora_bench.models import backbones
from uora_bench.models.heads import HeadSpec, head_parameters
from uora_bench.models.targets import find_targets
from uora_bench.training.inject import inject

pytest.importorskip("bitsandbytes", reason="needs the extra qlora")

CAUSAL = HeadSpec("AutoModelForCausalLM", {})
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama2_7b": {
        "model_type": "llama", "vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 128,
    },
    "gpt2_medium": {
        "model_type": "gpt2", "vocab_size": 300, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 64,
        "resid_pdrop": 0.0, "embd_pdrop": 0.0, "attn_pdrop": 0.0, "bos_token_id": 0, "eos_token_id": 0,
    },
    "roberta_base": {
        "model_type": "roberta", "vocab_size": 300, "hidden_size": 64, "num_hidden_layers": 2,
        "num_attention_heads": 4, "intermediate_size": 128, "max_position_embeddings": 40, "type_vocab_size": 1,
        "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0,
    },
}  # fmt: skip
ADAPTERS = ("lora", "vera", "uora", "tied_lora", "alpha_lora", "lora_fa")


@pytest.fixture(scope="module", params=["llama2_7b", "gpt2_medium"])
def backbone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> BackboneConfig:
    return saved(request.param, tmp_path_factory.mktemp(request.param), AutoModelForCausalLM)


def saved(name: str, folder: Path, auto: Any) -> BackboneConfig:
    """A random tiny model in ``folder``, under the name of a real backbone, to be loaded in 4 bits."""
    torch.manual_seed(0)
    auto.from_config(AutoConfig.for_model(**ARCHITECTURES[name])).save_pretrained(folder)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    core = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(["</s>", *alphabet])}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    PreTrainedTokenizerFast(tokenizer_object=core, eos_token="</s>").save_pretrained(folder)
    config = backbone_config(name)
    return replace(config, path=str(folder), architecture=None, dtype="float32", quantisation="nf4")


def loaded(backbone: BackboneConfig, head: HeadSpec = CAUSAL) -> Any:
    return backbones.load_backbone(backbone, head, seed=0).model


IDS = torch.randint(1, 256, (2, 9), generator=torch.Generator().manual_seed(0))


def put(name: str, model: Any, backbone: BackboneConfig, **options: Any) -> Any:
    method = make_method(name, **options)
    targets = find_targets(model, backbone, ("q", "v", "up"))
    method.inject(model, targets, torch.Generator().manual_seed(0))
    return method


def test_linear_maps_are_near_the_originals_and_embeddings_and_the_output_layer_are_the_originals(
    backbone: BackboneConfig,
) -> None:
    packed, whole = loaded(backbone), loaded(replace(backbone, quantisation="none"))
    kept, packed_names = dict(whole.named_parameters()), []
    for name, parameter in packed.named_parameters():
        assert size_of(parameter) == kept[name].numel()
        if parameter.is_floating_point():
            assert torch.equal(parameter, kept[name]), name
        else:
            assert parameter.numel() * 2 == size_of(parameter)  # two values a byte
            packed_names.append(name)
    assert len(packed_names) == (14 if "llama" in backbone.name else 8)  # every map of two blocks
    ours, theirs = packed(IDS).logits, whole(IDS).logits
    error = float(((ours - theirs).norm() / theirs.norm()).detach())
    assert 1e-4 < error < 0.2


def test_a_classification_head_is_not_quantised_and_comes_from_the_seed(tmp_path: Path) -> None:
    config = saved("roberta_base", tmp_path, AutoModel)
    head = HeadSpec("AutoModelForSequenceClassification", {"num_labels": 3})
    model, plain = loaded(config, head), loaded(replace(config, quantisation="none"), head)
    for name, parameter in head_parameters(model).items():
        assert torch.equal(parameter, dict(plain.named_parameters())[name])
    assert type(model.roberta.encoder.layer[0].attention.self.query).__name__ == "Linear4bit"


@pytest.mark.parametrize("name", ADAPTERS)
def test_an_adapter_starts_at_the_base_and_trains_as_its_equation_on_the_dequantised_weights(
    name: str, backbone: BackboneConfig
) -> None:
    from bitsandbytes.functional import dequantize_4bit

    model = loaded(backbone)
    base = model(IDS).logits.detach()
    method = put(name, model, backbone, rank=4)
    assert torch.equal(model(IDS).logits, base)
    # the same model with the weights that the codes stand for, in full
    reference = loaded(replace(backbone, quantisation="none"))
    for path, module in loaded(backbone).named_modules():
        if type(module).__name__ == "Linear4bit":
            weight = dequantize_4bit(module.weight.data, module.weight.quant_state)
            plain = reference.get_submodule(path)
            plain.weight.data = weight.T.contiguous() if type(plain).__name__ == "Conv1D" else weight
    twin = put(name, reference, backbone, rank=4)
    for m in (method, twin):
        with torch.no_grad():
            for i, p in enumerate(m.parameters()):
                p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(i)), alpha=0.1)
    for made in (model, reference):
        made(IDS).logits.logsumexp(-1).sum().backward()
    for ours, theirs in zip(method.parameters(), twin.parameters(), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-3, atol=1e-3 * float(theirs.grad.abs().max()))


def test_an_evaluation_between_changes_no_gradient(backbone: BackboneConfig) -> None:
    model = loaded(backbone)
    method = put("lora", model, backbone, rank=4)
    with torch.no_grad():
        for branch in method.branches.values():
            branch.B.add_(0.1)

    def gradients() -> list[torch.Tensor]:
        model.train()
        model.zero_grad()
        model(IDS).logits.logsumexp(-1).sum().backward()
        return [p.grad.clone() for p in method.parameters()]

    before = gradients()
    model.eval()
    with torch.inference_mode():
        model(IDS)
    for a, b in zip(before, gradients(), strict=True):
        assert torch.equal(a, b)
        assert float(a.abs().max()) > 0


def test_counts_are_those_of_the_model_behind_the_codes(backbone: BackboneConfig) -> None:
    words = ["method=lora", "task=instruct/alpaca", f"backbone={backbone.name}", "recipe=none"]
    cell = replace(compose(words).cell, backbone=backbone)
    counts = [
        inject(replace(cell, backbone=b), loaded(b), make_method("lora"))[1]
        for b in (backbone, replace(backbone, quantisation="none"))
    ]
    assert counts[0] == counts[1]


def test_nothing_is_merged_into_codes(backbone: BackboneConfig) -> None:
    model = loaded(backbone)
    method = put("lora", model, backbone, rank=4)
    assert not method.mergeable
    with pytest.raises(UserError, match="quantised"):
        method.merge()
    model = loaded(backbone)
    tuned = make_method("peft", type="lora")
    tuned.inject(model, find_targets(model, backbone, ("up",)), torch.Generator().manual_seed(0))
    assert not tuned.mergeable


def cell_with(*words: str) -> Cell:
    return compose(["task=instruct/alpaca", "backbone=llama2_7b", "recipe=none", *words]).cell


NF4 = "backbone.quantisation=nf4"


def test_full_fine_tuning_is_refused_before_anything_is_loaded() -> None:
    with pytest.raises(UserError, match=r"method=full trains.*quantisation=none"):
        preflight(cell_with("method=full", NF4))
    for name in (*ADAPTERS, "bitfit", "peft"):
        preflight(cell_with(f"method={name}", NF4))


def test_without_bitsandbytes_the_message_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uora_bench.config.preflight.importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"bitsandbytes.*pip install 'uora_bench\[qlora\]'"):
        preflight(cell_with("method=lora", NF4))
    preflight(cell_with("method=lora"))


def test_float64_is_refused() -> None:
    with pytest.raises(UserError, match=r"backbone.dtype=float32"):
        preflight(cell_with("method=lora", NF4, "backbone.dtype=float64"))


def test_the_id_knows_of_it_and_a_plain_backbone_leaves_no_trace() -> None:
    words = ["method=lora", "task=instruct/alpaca", "backbone=llama2_7b", "recipe=none"]
    plain = compose(words).cell
    packed = compose([*words, "backbone.quantisation=nf4"]).cell
    assert "quantisation" not in plain.canonical()["backbone"]
    assert packed.canonical()["backbone"]["quantisation"] == "nf4"
    assert plain.cell_id("d") != packed.cell_id("d")

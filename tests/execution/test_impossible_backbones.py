"""Sizes that no model has and target modules that a model lacks are one line, from a dry run as from a run."""

from __future__ import annotations

import pytest

from uora_bench.config.compose import compose
from uora_bench.config.preflight import preflight
from uora_bench.errors import UserError
from uora_bench.execution.dry_run import describe

TINY = ["task=tiny/nli", "method=lora"]
MINILM = ["task=glue/rte", "backbone=minilm", "method=lora"]
ARCHITECTURE, Q = "backbone.architecture", "backbone.target_modules.modules.q"


def refusal(*words, cell=TINY):
    """The one line that a dry run refuses ``words`` with."""
    with pytest.raises(UserError) as error:
        describe(compose([*cell, *words]))
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("rank", [0, -1, 1 << 31, (1 << 63) - 1, 1 << 64])
@pytest.mark.parametrize("method", ["lora", "vera", "uora", "tied_lora", "alpha_lora", "lora_fa"])
def test_a_rank_that_no_map_has(method, rank):
    with pytest.raises(UserError, match=f"method.rank={rank} must be at least 1 and at most 65536$"):
        preflight(compose([f"method={method}", f"method.rank={rank}"]).cell)


@pytest.mark.parametrize(
    "word",
    [
        f"{ARCHITECTURE}.hidden_size=-384", f"{ARCHITECTURE}.intermediate_size=-1", f"{ARCHITECTURE}.model_type=null",
        f"{ARCHITECTURE}.num_hidden_layers=-6", f"{ARCHITECTURE}.num_hidden_layers={(1 << 63) - 1}",
        f"{ARCHITECTURE}.vocab_size={1 << 64}", f"{ARCHITECTURE}={{}}", f"{Q}.path=x", f"{Q}.path=''",
        f"{Q}.path=encoder.layer.{{layer}}.{{layer}}", "method.target_modules=[zz]", "method.target_modules=[q,q]",
        "backbone.target_modules.default=[zz]", "backbone.target_modules.default=[]",
        "backbone.target_modules.default=[q,q]", f"seed={1 << 63}",
    ],
)  # fmt: skip
def test_what_can_be_told_without_a_model_is_told_by_preflight(word):
    with pytest.raises(UserError) as error:
        preflight(compose([*MINILM, word]).cell)
    assert word.split("=")[0] in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([f"{Q}.path=encoder.layer.{{layer}}.attention.self.qery"], ".attention.self.query'?"),
        ([f"{Q}.path=encoder.layer.{{layer}}"], "is a RobertaLayer, and an adapter sits on a linear map"),
        ([f"{Q}.path=encoder.layer.{{layer}}.output.LayerNorm"], "is a LayerNorm"),
        (
            ["method=peft", "peft.type=lora", f"{Q}.path=encoder.layer.{{layer}}.x"],
            "has no such module",
        ),
        (["backbone.head=[clasifier]"], "no module 'clasifier'; did you mean 'classifier'?"),
        (["method=head_only", "backbone.head=[nothing]"], "no module 'nothing'"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_the_model_lacks_is_told_by_a_dry_run(words, said):
    assert said in refusal(*words)


@pytest.mark.parametrize(
    "size",
    ["hidden_size=0", "hidden_size=1.5", "hidden_size=x", "hidden_size=385", "num_attention_heads=0", "vocab_size=x",
     "intermediate_size=1.5", "num_hidden_layers=x", "model_type=brt", "num_labels=3"],
)  # fmt: skip
def test_an_architecture_that_is_no_model_is_one_line(size):
    architecture = {"model_type": "bert", "hidden_size": 384, "num_attention_heads": 12}
    key, value = size.split("=")
    words = ", ".join(f"{k}: {v}" for k, v in {**architecture, key: value}.items())
    assert "backbone.architecture: transformers builds no model" in refusal(f"{ARCHITECTURE}={{{words}}}", cell=MINILM)


def test_a_fused_projection_is_cut_into_equal_parts():
    words = ["task=e2e", "backbone=gpt2_medium", "method=lora"]
    for part, of in ((3, 3), (-1, 3), (0, 0)):
        with pytest.raises(UserError, match=f"part={part} of={of}: part must be from 0 to of - 1"):
            preflight(compose([*words, f"{Q}.part={part}", f"{Q}.of={of}"]).cell)
    with pytest.raises(UserError, match="are not so many equal parts"):
        describe(compose([*words, f"{Q}.of=5"]))


def test_a_folder_with_another_model_is_known_before_anything_is_loaded(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert", "hidden_size": 64}', "utf-8")
    said = refusal(f"backbone.path={tmp_path}", cell=["task=glue/rte", "method=lora"])
    assert "has model_type=bert, backbone=roberta_base has roberta" in said
    assert "backbone=hf" in said

"""Folders with tiny models of many architectures, as a user may have them: random weights and a small tokenizer."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
import transformers

import uora_bench

ASSETS = Path(uora_bench.__file__).parent / "assets"
_TEXT = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}
_TOKENS = {"vocab_size": 142, "pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2, "cls_token_id": 0,
           "sep_token_id": 2}  # fmt: skip
_ENCODER = {**_TEXT, **_TOKENS, "max_position_embeddings": 64, "type_vocab_size": 1}
_DECODER = {**_TEXT, "vocab_size": 1536, "pad_token_id": 2, "bos_token_id": 0, "eos_token_id": 1}
_SHARED = {**_DECODER, "num_key_value_heads": 2, "max_position_embeddings": 4096}
_SMALL = {"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 1536, "bos_token_id": 0, "eos_token_id": 1}
_PICTURES = {**_TEXT, "image_size": 32, "patch_size": 8}
_DROP = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}

# model type -> (what the weights are saved as, its configuration)
ENCODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "bert": ("AutoModelForMaskedLM", {**_ENCODER, **_DROP}),  # so saved, BERT has no pooler
    "roberta": ("AutoModelForMaskedLM", {**_ENCODER, **_DROP}),
    "deberta": ("AutoModelForMaskedLM", {**_ENCODER, **_DROP}),
    "deberta-v2": ("AutoModelForMaskedLM", {**_ENCODER, **_DROP, "relative_attention": True, "pos_att_type": ["p2c"]}),
    "modernbert": ("AutoModelForMaskedLM", {**_ENCODER, "attn_implementation": "eager"}),
    "electra": ("AutoModelForPreTraining", {**_ENCODER, **_DROP, "embedding_size": 32}),
    "distilbert": ("AutoModelForMaskedLM", {**_TOKENS, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}),
    "albert": ("AutoModelForMaskedLM", {**_ENCODER, "embedding_size": 32}),
}  # fmt: skip
DECODERS: dict[str, tuple[str, dict[str, Any]]] = {
    "gpt2": ("AutoModelForCausalLM", {**_SMALL, "n_positions": 4096}),
    "gpt_neox": ("AutoModelForCausalLM", {**_DECODER, "max_position_embeddings": 4096}),
    "llama": ("AutoModelForCausalLM", _SHARED),
    "qwen2": ("AutoModelForCausalLM", _SHARED),
    "qwen3": ("AutoModelForCausalLM", {**_SHARED, "head_dim": 8}),
    "gemma": ("AutoModelForCausalLM", {**_SHARED, "head_dim": 8}),
    "phi3": ("AutoModelForCausalLM", _SHARED),
    "opt": ("AutoModelForCausalLM", {**_DECODER, "ffn_dim": 48, "word_embed_proj_dim": 32}),
    "bloom": ("AutoModelForCausalLM", {**_DECODER, "n_layer": 2, "n_head": 4}),
    "mpt": ("AutoModelForCausalLM", {"d_model": 32, "n_heads": 4, "n_layers": 2, "vocab_size": 1536}),
    "gpt_bigcode": ("AutoModelForCausalLM", {**_SMALL, "n_positions": 4096}),
}  # fmt: skip
PICTURES: dict[str, tuple[str, dict[str, Any]]] = {
    "vit": ("AutoModel", _PICTURES),
    "deit": ("AutoModelForImageClassification", {**_PICTURES, "architectures": ["DeiTForImageClassification"]}),
    "beit": ("BeitForMaskedImageModeling", {**_PICTURES, "vocab_size": 20, "use_mask_token": True}),
    "swin": ("AutoModel", {"embed_dim": 16, "depths": [1, 2], "num_heads": [2, 4], "image_size": 32, "patch_size": 4,
                           "window_size": 4}),
    "dinov2": ("AutoModel", _PICTURES),
}  # fmt: skip
REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "t5": ("AutoModelForSeq2SeqLM", {"vocab_size": 142, "d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 2,
                                     "num_heads": 4}),
    "rwkv": ("AutoModelForCausalLM", {"hidden_size": 32, "num_hidden_layers": 2, "vocab_size": 1536,
                                      "context_length": 512}),
    "convnext": ("AutoModel", {"depths": [1, 1], "hidden_sizes": [8, 16], "num_stages": 2, "image_size": 32}),
}  # fmt: skip
ALL = {**ENCODERS, **DECODERS, **PICTURES, **REFUSED}


def own_model(folder: Path, name: str, weights: bool = True, saved_as: str | None = None) -> Path:
    """A folder with a model of type ``name``, its random weights (unless ``weights`` is false), and what turns rows
    into its inputs."""
    auto, settings = ALL[name]
    auto = saved_as or auto
    config = transformers.AutoConfig.for_model(name, **settings)
    torch.manual_seed(0)
    made = getattr(transformers, auto)
    model = made.from_config(config) if auto.startswith("Auto") else made(config)
    for key, parameter in model.named_parameters():
        if parameter.ndim > 1 and "norm" not in key:
            torch.nn.init.normal_(parameter, std=0.1)
    model.save_pretrained(folder)
    if not weights:
        (folder / "model.safetensors").unlink()
    kind = (
        "tiny_vit"
        if name in (*PICTURES, "convnext")
        else "tiny_llama"
        if name in (*DECODERS, "rwkv")
        else "tiny_roberta"
    )
    for path in (ASSETS / kind).iterdir():
        if path.name.startswith(("token", "chat", "preprocessor")):
            shutil.copy(path, folder)
    return folder


def edit_json(path: Path, **changes: Any) -> None:
    """Change keys of a JSON file; None takes one away."""
    values = {**json.loads(path.read_text("utf-8")), **changes}
    path.write_text(json.dumps({k: v for k, v in values.items() if v is not None}), "utf-8")

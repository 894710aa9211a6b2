"""A frozen backbone in 4 bits (QLoRA, Dettmers et al. 2023, arXiv 2305.14314), through bitsandbytes.

``backbone.quantisation=nf4`` holds every linear map but the head in blocks of 64 NF4 values with double quantisation of
the blocks' scales; the maps are computed in ``backbone.dtype``. Embeddings, norms and biases stay as they are.
"""

from __future__ import annotations

from typing import Any

from uora_bench.config.cell import BackboneConfig
from uora_bench.errors import UserError


def check_device() -> None:
    """Raise `UserError` where a quantised backbone cannot be had on this machine's device; imports torch."""
    import torch

    if torch.backends.mps.is_available():
        raise UserError(
            "backbone.quantisation works on CUDA devices and on the CPU, not on this one (mps); set it to none"
        )


def loading(backbone: BackboneConfig) -> dict[str, Any]:
    """What ``from_pretrained`` is to be told: nothing without ``quantisation``; raises as `check_device`."""
    if backbone.quantisation == "none":
        return {}
    check_device()
    import torch
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type=backbone.quantisation,
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=getattr(torch, backbone.dtype),
        # the library leaves a language model's output layer alone; a task's head it does not know
        llm_int8_skip_modules=["lm_head", *backbone.head],
    )
    # quantised where it will be used, one matrix after the other: the whole model is nowhere in full precision
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    return {"quantization_config": config, "device_map": {"": device}}


def keep_layout(model: Any) -> None:
    """Hold bitsandbytes to one layout of the weights, and to the dtype asked for.

    On processors with AVX512-BF16 its first pass in eval mode would repack them, round their scales to bfloat16, and
    from then on multiply by a kernel without a gradient: training after an evaluation would go wrong and say nothing.
    Anywhere it would compute in the dtype of the first input it sees.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
            module.compute_type_is_set = True

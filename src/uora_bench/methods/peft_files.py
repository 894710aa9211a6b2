"""A tuner of PEFT's on a model of ours, written as the folder that ``PeftModel.from_pretrained`` reads."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from uora_bench.config.options.peft import ADAPTER
from uora_bench.errors import UserError
from uora_bench.methods.peft_places import head_prefixes
from uora_bench.util.words import clause

_PREFIX = "base_model.model."  # what PEFT's own wrapper puts before the names of the model it wraps


def save(model: Any, config: Any, folder: Path, task_type: str | None) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors``, the trained head in both.

    What PEFT does not count among an adapter's tensors (weights of the backbone that a start such as PiSSA's changed)
    is not in the folder: whoever calls this has to compare the reloaded model.

    Raises:
        UserError: for a tuner whose tensors PEFT does not give out by themselves.
    """
    from peft import get_peft_model_state_dict
    from safetensors.torch import save_file

    heads = tuple(name.rstrip(".") for name in head_prefixes(model))
    written = copy.deepcopy(config)
    if written.peft_type == "ADALORA":
        written.rank_pattern = None  # all ranks, those without budget at zero: nothing to cut out, nothing to rebuild
    own = {n: t for n, t in model.state_dict().items() if not n.startswith(head_prefixes(model))}
    if written.peft_type == "VERA" and written.save_projection:  # its wrapper holds the pair, and so does every layer
        layer: Any = next(m for m in model.modules() if ADAPTER in getattr(m, "vera_A", ()))
        own |= {f"base_model.{name}.{ADAPTER}": getattr(layer, name)[ADAPTER] for name in ("vera_A", "vera_B")}
    model.peft_config = {ADAPTER: written}  # where PEFT looks
    try:
        tensors = get_peft_model_state_dict(model, own, ADAPTER, save_embedding_layers=False)
    except (AttributeError, KeyError, NotImplementedError, ValueError) as error:
        raise UserError(f"PEFT cannot save an adapter of this type: {clause(error)}; use format=native") from error
    finally:
        del model.peft_config
    tensors = {n if n.startswith("base_model.") else f"{_PREFIX}{n}": t for n, t in tensors.items()}
    tensors |= {f"{_PREFIX}{n}": t for n, t in model.state_dict().items() if n.startswith(head_prefixes(model))}
    tensors = {n: t.detach().cpu().clone().contiguous() for n, t in tensors.items()}
    save_file(tensors, folder / "adapter_model.safetensors")
    written.modules_to_save, written.task_type, written.inference_mode = list(heads) or None, task_type, True
    written.save_pretrained(str(folder))

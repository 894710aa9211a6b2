"""What every export is measured by: the logits of the adapter model on random inputs, and the distance to them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uora_bench.errors import CellError
from uora_bench.models import backbones

if TYPE_CHECKING:
    import torch
    from torch import Tensor

LIMIT = 1e-5  # of a difference of logits, relative to the largest logit
_DOUBLE = 1_000_000_000  # parameters up to which logits are computed in float64
_BATCH, _LENGTH = 4, 16


def probe(model: Any) -> dict[str, Tensor]:
    """Random inputs of the model's kind, the same for every call: 4 sequences of up to 16 tokens, or images."""
    import torch

    generator = torch.Generator().manual_seed(0)
    config = model.config
    if model.main_input_name == "pixel_values":
        size = config.image_size
        return {"pixel_values": torch.randn(_BATCH, config.num_channels, size, size, generator=generator)}
    length = min(_LENGTH, backbones.max_tokens(model) or _LENGTH)
    tokens = torch.randint(0, config.vocab_size, (_BATCH, length), generator=generator)
    pad = getattr(config, "pad_token_id", None)
    if pad is not None:  # some models count positions, or look for the last token, by it
        tokens[tokens == pad] = (pad + 1) % config.vocab_size
    return {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}


def stored_dtype(model: Any) -> torch.dtype:
    """The dtype an exact export is stored in: the model's widest, and at least float32."""
    import torch

    dtype = torch.float32
    for parameter in model.parameters():
        dtype = torch.promote_types(dtype, parameter.dtype)
    return dtype


def widen(model: Any) -> Any:
    """``model`` itself, in float64 (a huge one in float32): stored values are compared, not the way they are summed."""
    import torch

    size = sum(p.numel() for p in model.parameters())
    return model.to(torch.float64 if size <= _DOUBLE else stored_dtype(model))


def logits(model: Any, inputs: dict[str, Tensor]) -> Tensor:
    """The model's logits for ``inputs`` in eval mode, as float64 on the CPU."""
    import torch

    first = next(p for p in model.parameters() if p.is_floating_point())
    given = {k: v.to(first.dtype if v.is_floating_point() else v.dtype).to(first.device) for k, v in inputs.items()}
    with torch.inference_mode():
        out: Tensor = model.eval()(**given).logits.double().cpu()
    return out


def compare(expected: Tensor, found: Tensor, what: str) -> float:
    """The largest difference, relative to the largest expected logit.

    Raises:
        CellError: when it is above `LIMIT` (or no number), or the shapes differ.
    """
    if expected.shape != found.shape:
        raise CellError(f"{what} gives logits of shape {tuple(found.shape)}, the run's model {tuple(expected.shape)}")
    error = float((expected - found).abs().max() / expected.abs().max().clamp_min(1e-12))
    if not error <= LIMIT:
        raise CellError(
            f"{what} differs from the run's model: logits by {error:.1e} of the largest, {LIMIT:g} is allowed; nothing "
            "was written"
        )
    return error

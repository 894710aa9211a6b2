"""Which number format the forward pass runs in: asked for by the cell, resolved once for the hardware at hand."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from uora_bench.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

Resolved = Literal["float32", "bfloat16", "float16"]
ACCELERATE_NAMES = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}


def resolve(requested: str) -> Resolved:
    """``auto`` becomes bfloat16 autocast where the hardware computes in it, else float32; other requests are checked.

    Raises:
        UserError: for float16 on a CPU (no gradient scaling there), or bfloat16 on a GPU without it.
    """
    import torch

    cuda = torch.cuda.is_available()
    if requested == "float16" and not cuda:
        raise UserError("trainer.precision=float16 needs a CUDA GPU; use trainer.precision=auto, bfloat16 or float32")
    if requested == "bfloat16" and cuda and not torch.cuda.is_bf16_supported():
        raise UserError(
            "trainer.precision=bfloat16 is not supported by this GPU; use trainer.precision=auto or float16"
        )
    if requested != "auto":
        return requested  # type: ignore[return-value]
    fast = torch.cuda.is_bf16_supported(including_emulation=False) if cuda else _cpu_has_bfloat16()
    return "bfloat16" if fast else "float32"


def remedy(lr: float, accelerator: Any) -> str:
    """What may help where numbers are no longer finite, at the adapter's learning rate ``lr``."""
    lower = f"try a lower trainer.lr_adapter ({lr:g})"
    exact = accelerator.mixed_precision == ACCELERATE_NAMES["float32"]
    return lower if exact else f"{lower} or trainer.precision=float32"


def are_finite(tensors: list[Tensor]) -> bool:
    """Whether every number in ``tensors`` is finite."""
    import torch

    norms = torch._foreach_norm(tensors) if tensors else []
    return not norms or bool(torch.isfinite(torch.stack(list(norms))).all())


def _cpu_has_bfloat16() -> bool:
    """Whether this CPU multiplies bfloat16 matrices natively (AVX512-BF16 or AMX on x86, BF16 on Arm)."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    flags = next(
        (line.split(":", 1)[1].split() for line in text.splitlines() if line.startswith(("flags", "Features"))), []
    )
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", "bf16"))

"""The maths of the adapters' forward pass, on plain tensors.

Shapes: x is (…, in), A (r × in), B (out × r), d (r,), b (out,); results are (…, out) in the dtype of the products.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def autocast_dtype(x: Tensor) -> torch.dtype | None:
    """The dtype of autocast on the device of ``x``; None where it is off."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None


def _as(x: Tensor, A: Tensor) -> Tensor:
    """x in the adapter's dtype where the backbone runs in another one by itself; autocast sees to it on its own."""
    return x if x.dtype == A.dtype or torch.is_autocast_enabled(x.device.type) else x.to(A.dtype)


def low_rank(x: Tensor, A: Tensor, B: Tensor, scale: float) -> Tensor:
    """scale · B A x, the update of LoRA (arXiv 2106.09685 eq. 3)."""
    out = F.linear(F.linear(_as(x, A), A), B)
    return out if scale == 1.0 else out * scale


def scaled_pair(x: Tensor, A: Tensor, B: Tensor, d: Tensor, b: Tensor) -> Tensor:
    """Λ_b B Λ_d A x (VeRA, arXiv 2310.11454 eq. 2; UORA uses the same product)."""
    h = F.linear(_as(x, A), A)
    out = F.linear(h * d.to(h.dtype), B)
    return out * b.to(out.dtype)


def tied_pair(x: Tensor, A: Tensor, B: Tensor, u: Tensor | None, v: Tensor | None, scale: float) -> Tensor:
    """scale · Λ_v B Λ_u A x (Tied-LoRA, arXiv 2311.09578); u (r,) or v (out,) may be None: ones."""
    h = F.linear(_as(x, A), A)
    out = F.linear(h if u is None else h * u.to(h.dtype), B)
    out = out if v is None else out * v.to(out.dtype)
    return out if scale == 1.0 else out * scale
